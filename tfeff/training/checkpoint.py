"""Atomic checkpoints.

A checkpoint is an uncompressed `.npz` file of named arrays and a JSON record. It is written to a temporary file,
flushed to disk and renamed: if the process is killed at any moment, either the old or the new state is on disk.
"""

import errno
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfeff import durable
from tfeff.errors import UserError

RECORD = "record"
_DAMAGE = (zipfile.BadZipFile, struct.error, EOFError, KeyError, OverflowError, RuntimeError, TypeError, ValueError)
"""Errors of damaged archives; `zipfile` raises RuntimeErrors for bits that mean encryption or unknown versions."""


def save(path: Path, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    """Writes arrays and a JSON-serializable record to `path`, atomically.

    Raises:
        OSError: if the disk is full; `path` is unchanged then.
    """
    with durable.replacing(path) as file:
        np.savez(file, **{RECORD: np.array(json.dumps(record)), **arrays})  # type: ignore[arg-type]


class DamagedError(UserError):
    """A checkpoint that was read, but is damaged."""


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Loads the arrays and the record of a checkpoint.

    Raises:
        DamagedError: the file is damaged.
        UserError: it is missing or cannot be read.
    """
    return _loaded(path, lambda name: True)


def load_record(path: Path) -> dict[str, Any]:
    """Loads the record of a checkpoint, without its arrays; errors as for `load`."""
    return _loaded(path, lambda name: name == RECORD)[1]


def _loaded(path: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Loads the arrays whose names are wanted, and the record."""
    try:
        with zipfile.ZipFile(path) as file:
            size, arrays = path.stat().st_size, dict[str, np.ndarray]()
            for info in file.infolist():
                name = info.filename.removesuffix(".npy")
                if not wanted(name):
                    continue
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                    raise ValueError(info)  # else what a damaged directory states would be allocated
                # Each array is checked before NumPy reads it, which would allocate what a damaged header states.
                content = io.BytesIO(file.read(info))
                arrays[name] = np.load(content, allow_pickle=False)
        return arrays, dict(json.loads(str(arrays.pop(RECORD))))
    except OSError as error:
        if error.errno == errno.EINVAL:  # an impossible position, from a damaged directory of the archive
            raise DamagedError(f"{path}: damaged checkpoint") from None
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except _DAMAGE:
        raise DamagedError(f"{path}: damaged checkpoint") from None


class Saved(NamedTuple):
    """A checkpoint on disk: its path, arrays and record."""

    path: Path
    arrays: dict[str, np.ndarray]
    record: dict[str, Any]


class Checkpoints:
    """The checkpoints of a run: the latest ones and the best one.

    Args:
        directory: their directory; created with the first checkpoint.
        keep: number of latest checkpoints to keep.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory = directory
        self.keep = keep
        self.best = directory / "best.npz"

    def latest(self) -> Path | None:
        """Returns the path of the latest checkpoint, or None."""
        found = self._by_step()
        return found[-1] if found else None

    @property
    def step(self) -> int:
        """The step of the latest checkpoint; 0 without checkpoints."""
        latest = self.latest()
        return 0 if latest is None else int(latest.stem.removeprefix("step_"))

    def load_latest(self, report: Callable[[str], None]) -> Saved | None:
        """Loads the latest undamaged checkpoint. None if there are no checkpoints.

        Args:
            report: called with a message for each damaged checkpoint that is skipped.

        Raises:
            UserError: if all checkpoints are damaged, or the latest undamaged one cannot be read.
        """
        paths = self._by_step()
        for path in reversed(paths):
            try:
                return Saved(path, *load(path))
            except DamagedError as error:
                report(f"{error}; skipped")
        if paths:
            names = ", ".join(path.name for path in paths)
            raise UserError(
                f"{self.directory}: all checkpoints to resume from are damaged ({names}); train in a new --workdir"
            )
        return None

    def save(self, step: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
        """Writes the checkpoint of `step`, then deletes older ones and temporary files of killed processes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        save(self.directory / f"step_{step:09d}.npz", arrays, record)
        for old in self._by_step()[: -self.keep]:
            old.unlink()
        for partial in self.directory.glob(".*.partial"):
            partial.unlink()

    def save_best(self, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
        """Writes the weights of the best epoch so far."""
        self.directory.mkdir(parents=True, exist_ok=True)
        save(self.best, arrays, record)

    def _by_step(self) -> list[Path]:
        return sorted(path for path in self.directory.glob("step_*.npz") if re.fullmatch(r"step_\d+\.npz", path.name))
