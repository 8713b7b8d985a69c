"""Checkpoints: one file each, whole or absent.

A checkpoint is an uncompressed `.npz` of named arrays plus a JSON record. It is written beside its place, flushed to
the disk and renamed, so that a process killed at any moment leaves either the old state or the new one.
"""

import json
import os
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.errors import UserError

RECORD = "record"


def save(path: Path, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    """Writes `arrays` and the JSON-ready `record` to `path`, atomically.

    Raises:
        OSError: when the disk is full; nothing at `path` has changed then.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **{RECORD: np.array(json.dumps(record)), **arrays})  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk comes without one
        raise
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the record of a checkpoint.

    Raises:
        UserError: when the file is missing or damaged; the message names it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(str(arrays.pop(RECORD)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile):
        raise UserError(f"{path}: a damaged checkpoint") from None


class Checkpoints:
    """The checkpoints of a run: the newest `keep` by step, and the best one.

    Args:
        directory: where they lie; made when the first one is written.
        keep: how many of the newest stay.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory = directory
        self.keep = keep
        self.best = directory / "best.npz"

    def latest(self) -> Path | None:
        """The newest checkpoint, or None."""
        found = self._by_step()
        return found[-1] if found else None

    def load_latest(self, notice: Callable[[str], None]) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]] | None:
        """The newest checkpoint that is whole: its path, arrays and record; None when there is none at all.

        Args:
            notice: called with a line about each damaged one that was passed over.

        Raises:
            UserError: when every checkpoint is damaged.
        """
        paths = self._by_step()
        for path in reversed(paths):
            try:
                return path, *load(path)
            except UserError as error:
                notice(f"{error}: passed over")
        if paths:
            raise UserError(f"{self.directory}: every checkpoint is damaged; remove this directory to start over")
        return None

    def save(self, step: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
        """Writes the checkpoint of `step`, then removes those beyond the newest `keep` and what a kill left."""
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
