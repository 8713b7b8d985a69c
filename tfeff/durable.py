"""Atomic writes of files and directories, directory locks, and journals of rows that an interrupted command keeps."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfeff.errors import BusyError, UserError

LOCK = ".lock"
"""Name of the lock file in a directory."""


def write(path: Path, text: str) -> None:
    """Writes a text file atomically: after a crash, `path` has either the old content or the new."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
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


@contextmanager
def staged(directory: str | os.PathLike[str], *, overwrite: bool, marker: str) -> Iterator[Path]:
    """Writes a directory atomically: yields an empty one, which replaces `directory` when the block succeeds.

    The empty directory is next to the target, on the same file system, so that the last step is a rename. If the
    block fails (an exception, a full disk, a kill), an existing target is unchanged. The next call removes what a
    killed process left behind.

    Args:
        directory: the target. Its parents are created; it may be an existing empty directory.
        overwrite: replace an earlier result.
        marker: name of a file that identifies an earlier result. A directory without it is never replaced.

    Raises:
        UserError: the target exists, or the staging directory cannot be created.
    """
    target = Path(directory).absolute()
    _check_target(target, overwrite, marker)
    staging = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}); choose another directory") from error
    try:
        yield staging
        _move(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_target(target: Path, overwrite: bool, marker: str) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / marker).is_file():
        raise UserError(
            f"{target} exists and is not an earlier export of this kind (no {marker}); choose another directory"
        )
    if not overwrite:
        raise UserError(f"{target} is an earlier export; choose another directory, or allow overwriting (--overwrite)")


def _move(staging: Path, target: Path) -> None:
    replaced = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if target.exists():
        target.rename(replaced)
    staging.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)


class Journal:
    """A file with one line per image, appended as soon as its row is known; damaged lines and those after are dropped.

    Args:
        path: the file. It starts empty if it was written with another key.
        key: everything that the rows depend on besides the image.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._rows = path, dict[str, tuple[list[int], dict[str, Any]]]()
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        first = json.dumps({"rows_of": key}).encode() + b"\n"
        kept = [first]
        if lines[:1] == kept:
            for line in lines[1:]:
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    self._rows[entry["image"]] = entry["file"], entry["row"]
                except (ValueError, KeyError, TypeError):
                    break
                kept.append(line)
        write(path, b"".join(kept).decode())

    def get(self, name: str, file: Path) -> dict[str, Any] | None:
        """The row of an image; None if it is not known or the file has changed."""
        state, row = self._rows.get(name, (None, None))
        return row if state == _state(file) else None

    def add(self, name: str, file: Path, row: dict[str, Any]) -> None:
        """Saves the row of an image, JSON-serializable."""
        with self._path.open("a") as lines:
            lines.write(json.dumps({"image": name, "file": _state(file), "row": row}) + "\n")


def state_of(directory: Path) -> str:
    """Sizes and modification times of all files in a directory, to detect changed contents."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return json.dumps([[path.relative_to(directory).as_posix(), *_state(path)] for path in files])


def _state(file: Path) -> list[int]:
    status = os.stat(file)
    return [status.st_size, status.st_mtime_ns]
