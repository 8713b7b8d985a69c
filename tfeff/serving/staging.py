"""Writes directories atomically."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfeff.errors import UserError


@contextlib.contextmanager
def staged(directory: str | os.PathLike[str], *, overwrite: bool, marker: str) -> Iterator[Path]:
    """Yields an empty staging directory, which replaces `directory` when the block succeeds.

    The staging directory is next to the target, on the same file system, so that the last step is a rename. If the
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
