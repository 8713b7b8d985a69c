"""Tools as programs."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tfeff.errors import Interrupted, UserError


def run(main: Callable[[], None]) -> None:
    """Runs a tool. Errors that the user can fix end with a message and exit code 2, interruptions as those of verbs."""
    try:
        main()
    except (OSError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except subprocess.CalledProcessError as failed:  # whose message is above
        command = failed.cmd if isinstance(failed.cmd, str) else shlex.join(map(str, failed.cmd))
        print(f"error: exit code {failed.returncode} of {command}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Interrupted as stop:
        print(f"interrupted: {stop}; rerun the same command to resume", file=sys.stderr)
        sys.exit(128 + stop.signal_number)


def checkout(directory: str | Path) -> Path:
    """Returns the directory of a version of the package.

    Raises:
        UserError: it has none, so that a program there would import the installed one.
    """
    found = Path(directory).resolve()
    if not (found / "tfeff" / "__init__.py").is_file():
        raise UserError(f"{directory}: no checkout of this project: it has no tfeff/__init__.py")
    return found
