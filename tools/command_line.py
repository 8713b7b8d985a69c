"""Tools as programs."""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder that becomes `folder` at the end; a killed or failed run leaves none.

    Raises:
        UserError: it exists.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists; give a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        filled = Path(place, "filled")
        filled.mkdir()
        yield filled
        filled.rename(folder)


def stored(file: Path, key: str | None = None) -> dict[str, Any]:
    """Returns the results that a tool has written before.

    Args:
        file: a JSON file.
        key: what it must have.

    Raises:
        UserError: it is not such a file.
    """
    try:
        found = json.loads(file.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict) or (key is not None and not isinstance(found.get(key), dict)):
        raise UserError(f"--out={file}: this file is not of this tool; give another one")
    return found


def checkout(directory: str | Path) -> Path:
    """Returns the directory of a version of the package.

    Raises:
        UserError: it has none, so that a program there would import the installed one.
    """
    found = Path(directory).resolve()
    if not (found / "tfeff" / "__init__.py").is_file():
        raise UserError(f"{directory}: no checkout of this project: it has no tfeff/__init__.py")
    return found
