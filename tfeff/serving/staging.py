"""Directories that appear whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfeff.errors import UserError


@contextlib.contextmanager
def staged(directory: str | os.PathLike[str], *, overwrite: bool, marker: str) -> Iterator[Path]:
    """Gives an empty directory to fill, which takes the place of `directory` when the block ends well.

    The staging directory lies beside the target, on the same file system, so that the last step is a rename. Whatever
    ends the block early (an exception, a full disk, a kill) leaves an existing target as it was; what a killed process
    left in the staging directory is cleared by the next one.

    Args:
        directory: where the result goes; its parents are made. An empty directory may be there already.
        overwrite: replace an earlier result.
        marker: file name by which an earlier result is known; a directory without it is never replaced.

    Raises:
        UserError: the target is taken, or the staging directory cannot be made.
    """
    target = Path(directory).absolute()
    _refuse_taken(target, overwrite, marker)
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


def _refuse_taken(target: Path, overwrite: bool, marker: str) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / marker).is_file():
        raise UserError(f"{target} holds something else (no {marker} in it); choose another directory")
    if not overwrite:
        raise UserError(f"{target} holds an earlier export; choose another directory, or allow it to be overwritten")


def _move(staging: Path, target: Path) -> None:
    replaced = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if target.exists():
        target.rename(replaced)
    staging.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
