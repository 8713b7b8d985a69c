"""Atomic writes and directory locks."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfeff.errors import BusyError, UserError

LOCK = ".lock"
"""Name of the lock file in a directory."""


def write(path: Path, text: str) -> None:
    """Writes a text file atomically: after a crash, `path` has either the old content or the new."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # not set when the disk is full
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def locked(directory: Path, flag: str = "--workdir", *, wait: bool = False) -> Iterator[None]:
    """Creates a directory and locks it against other processes while the context is active.

    Args:
        directory: the directory.
        flag: the flag that named it, for messages.
        wait: if another process has locked it, wait until it is unlocked.

    Raises:
        UserError: if it cannot be created.
        BusyError: if another process has locked it, unless `wait`.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / LOCK).open("a")
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{flag}={directory}: a file is in the way; give a directory") from None
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{flag}={directory}: cannot be written ({error.strerror}); give another directory") from None
    with lock:  # the system releases the lock when the process ends, for whatever reason
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BusyError(f"{flag}={directory}: another process is using it; wait for it or stop it") from None
        yield
