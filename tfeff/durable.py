"""Atomic writes of files and directories, which a power cut does not damage, and locks of directories."""

import errno
import fcntl
import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from tfeff.errors import BusyError, UserError

LOCK = ".lock"
"""Name of the lock file in a directory."""
_SECONDS_BETWEEN_TRIES = 0.3
_FIGURES = (".png", ".svg")


def write(path: Path, content: str | bytes) -> None:
    """Writes a file atomically, text as UTF-8: after a crash, `path` has either the old content or the new."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_listing(path: Path, content: str | None) -> Path | None:
    """Writes a file in which people work, such as a table to fill in; None: there is nothing to write.

    Returns:
        Where an earlier file with another content is kept, `<stem>_<number>`; None if there was none.
    """
    kept = None
    if path.exists() and (content is None or path.read_bytes() != content.encode()):
        numbered = (path.with_stem(f"{path.stem}_{number}") for number in itertools.count(1))
        kept = next(each for each in numbered if not each.exists())
        path.rename(kept)
    if content is not None:
        write(path, content)
    return kept


def write_record(path: Path, record: Mapping[str, Any], files: Iterable[Path]) -> None:
    """Writes JSON with the names of the figures that belong to it, relative to its directory; removes those of an
    earlier record that are none of them. Infinity and NaN, which JSON does not have, become null."""
    names, earlier = sorted(str(file.relative_to(path.parent)) for file in files), _figures(path)
    write(path, json.dumps(_finite({**record, "files": names}), indent=1, allow_nan=False) + "\n")
    for file in (path.parent / name for name in set(earlier) - set(names)):
        if file.resolve().is_relative_to(path.parent.resolve()):
            file.unlink(missing_ok=True)


def _figures(path: Path) -> list[str]:
    """Returns the figures that an earlier record names; none if there is no such record."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    names = record.get("files") if isinstance(record, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return []
    return [name for name in names if Path(name).suffix in _FIGURES and not Path(name).is_absolute()]


def _finite(value: Any) -> Any:
    """Returns a JSON value without infinity and NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yields a file that replaces `path` when the block succeeds; if it fails, `path` is unchanged.

    The file is on the disk before it is renamed, so that a power cut leaves the old content or the new. Processes that
    write the same file wait for each other.

    Raises:
        OSError: with the name of the file, which the system leaves out if the disk is full.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with _open_locked(partial, wait=True) as file:
            try:
                if os.fstat(file.fileno()).st_size:  # of a killed process
                    file.truncate()
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        sync(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def sync(path: Path) -> None:
    """Waits until a file, or the names of the files in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # directories of some file systems
            raise
    finally:
        os.close(descriptor)


def _open_locked(path: Path, *, wait: bool) -> IO[bytes]:
    """Opens or creates a file, for this process alone until it is closed; its content is kept.

    Raises:
        BlockingIOError: another process has opened it, unless `wait`.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            _lock(file, path, wait=wait)
            if _is_at(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # meanwhile, another process has renamed or removed it


def _lock(file: IO[Any], path: Path, *, wait: bool, waiting: Callable[[], None] | None = None) -> None:
    """Locks an open file against other processes.

    Args:
        file: the file.
        path: where it is, for messages.
        wait: if another process has locked it, wait until it is unlocked.
        waiting: called a few times a second meanwhile.

    Raises:
        BlockingIOError: another process has locked it, unless `wait`.
        UserError: the file system has no locks.
    """
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait and waiting is None else fcntl.LOCK_NB))
                return
            except BlockingIOError:
                if waiting is None:
                    raise
            waiting()
            time.sleep(_SECONDS_BETWEEN_TRIES)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise
        raise UserError(
            f"{path}: its file system has no locks ({error.strerror}); use another directory, or mount it with flock"
        ) from None


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def locked(
    directory: Path, flag: str = "--workdir", *, wait: bool = False, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Creates a directory and locks it against other processes while the context is active.

    Args:
        directory: the directory.
        flag: the flag that named it, for messages.
        wait: if another process has locked it, wait until it is unlocked.
        waiting: called a few times a second meanwhile; it may raise, such as after Ctrl-C.

    Raises:
        UserError: if it cannot be created, or its file system has no locks.
        BusyError: if another process has locked it, unless `wait`.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / LOCK).open("a")
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{flag}={directory}: a file is in the way; give a directory") from None
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise UserError(f"{flag}={directory}: cannot be written ({error.strerror}); give another directory") from None
    with lock:  # the system releases the lock when the process ends, for whatever reason
        try:
            _lock(lock, directory, wait=wait, waiting=waiting if wait else None)
        except BlockingIOError:
            raise BusyError(f"{flag}={directory}: another process is using it; wait for it or stop it") from None
        yield


@contextmanager
def staged(
    directory: str | os.PathLike[str], *, overwrite: bool, marker: str, others: Collection[str] = ()
) -> Iterator[Path]:
    """Writes a directory atomically: yields an empty one, which replaces `directory` when the block succeeds.

    If the block fails (an exception, a full disk, a kill), an existing target is unchanged. A kill in the moment when
    the target is replaced can leave the earlier result under a hidden name, from which the next call takes it back.

    Args:
        directory: the target, or a link to it. Its parents are created; it may be an existing empty directory.
        overwrite: replace an earlier result.
        marker: name of a file that identifies an earlier result. A directory without it is never replaced.
        others: names of everything else that an earlier result can hold, such as `shard-*`. A directory with more is
            never replaced.

    Raises:
        UserError: the target exists, also if others made it meanwhile, or is a mount point, or the staging directory
            cannot be created.
        BusyError: another process is writing the target.
    """
    target = Path(directory).resolve()
    if os.path.ismount(target):
        raise UserError(f"{target}: a mount point, which cannot be replaced; give a directory in it")
    replaced = target.with_name(f".{target.name}.replaced")
    with staging(target) as made:
        if replaced.exists() and not target.exists():  # a process was killed between the two renames below
            replaced.rename(target)
        _check_target(target, overwrite, marker, others)
        yield made
        for folder, _, files in os.walk(made):
            for name in files:
                sync(Path(folder, name))
            sync(Path(folder))
        _check_target(target, overwrite, marker, others)  # again: the block may have taken hours
        if replaced.is_symlink():
            replaced.unlink()
        shutil.rmtree(replaced, ignore_errors=True)
        if overwrite and target.exists():  # otherwise it is empty, and the system replaces no other directory
            target.rename(replaced)
        made.rename(target)
        sync(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Yields an empty directory next to `target`, on the same file system, so that what it contains can be renamed.

    It is removed at the end; what a killed process left in it is removed first.

    Raises:
        UserError: it cannot be created.
        BusyError: another process uses it.
    """
    made, lock = (target.with_name(f".{target.name}.{ending}") for ending in ("partial", "lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        opened = _open_locked(lock, wait=False)
    except BlockingIOError:
        raise BusyError(f"{target}: another process is writing it; wait for it, or choose another name") from None
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}); choose another directory") from error
    with opened:
        try:
            shutil.rmtree(made, ignore_errors=True)
            try:
                made.mkdir()
            except OSError as error:
                raise UserError(f"{target}: cannot be written ({error.strerror}); choose another directory") from error
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _is_any(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_target(target: Path, overwrite: bool, marker: str, others: Collection[str]) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / marker).is_file():
        raise UserError(
            f"{target} exists and is not an earlier export of this kind (no {marker}); choose another directory"
        )
    if not overwrite:
        raise UserError(f"{target} is an earlier export; choose another directory, or allow overwriting (--overwrite)")
    if added := sorted(each.name for each in target.iterdir() if not _is_any(each.name, (marker, *others))):
        raise UserError(
            f"{target} also holds what is not part of an export and would be lost: {', '.join(added[:5])}"
            f"{', ...' if len(added) > 5 else ''}; move it, or choose another directory"
        )
