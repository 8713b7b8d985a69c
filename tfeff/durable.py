"""Files that are whole or absent, and directories that one process works in."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfeff.errors import BusyError, UserError

LOCK = ".lock"
"""The file by which `held` keeps a directory."""


def write(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk comes without one
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def held(directory: Path, flag: str = "--workdir") -> Iterator[None]:
    """Makes a directory, and keeps other processes from working in it while the context lasts.

    Args:
        directory: which.
        flag: that named it, for messages.

    Raises:
        UserError: when it cannot be made.
        BusyError: when another process works in it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / LOCK).open("a")
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{flag}={directory}: a file is in the way; name a directory") from None
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{flag}={directory}: cannot be written ({error.strerror}); name another one") from None
    with lock:  # the system lets go of it when the process ends, however it ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{flag}={directory}: another process is working there; wait for it or stop it") from None
        yield
