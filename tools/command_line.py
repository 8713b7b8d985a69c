"""Tools as programs."""

import sys
from collections.abc import Callable

from tfeff.errors import Interrupted, UserError


def run(main: Callable[[], None]) -> None:
    """Runs a tool. Errors that the user can fix end with a message and exit code 2, interruptions as those of verbs."""
    try:
        main()
    except (OSError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stop:
        print(f"interrupted: {stop}; rerun the same command to resume", file=sys.stderr)
        sys.exit(128 + stop.signal_number)
