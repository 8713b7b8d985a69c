"""Tools as programs."""

import sys
from collections.abc import Callable

from tfeff.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Runs a tool. Errors that the user can fix end with a message and exit code 2."""
    try:
        main()
    except (OSError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
