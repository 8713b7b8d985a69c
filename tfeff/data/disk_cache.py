"""An array on disk that is either complete and intact or not there."""

import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_LOG = logging.getLogger(__name__)
_ARRAY = "images.uint8"
_INDEX = "index.json"
_CHUNK = 1 << 24


@dataclass(frozen=True)
class DiskCache:
    """One uint8 array and a note that belongs to it, under a folder named by what they were made from.

    The array is written to a folder beside its own, which takes its final name in one atomic step once everything is on
    the disk. A checksum tells a damaged array from an intact one when it is opened again.

    Attributes:
        folder: The cache's own folder; its name changes with the content.
        shape: Shape of the array.
    """

    folder: Path
    shape: tuple[int, ...]

    @property
    def array_path(self) -> Path:
        """The raw bytes of the array, in C order, without a header."""
        return self.folder / _ARRAY

    def note(self) -> Any | None:
        """The note of a complete and intact cache; None where there is none. A damaged one is removed."""
        try:
            index = json.loads((self.folder / _INDEX).read_text())
            if tuple(index["shape"]) == self.shape and index["crc32"] == _crc32(self.array_path):
                return index["note"]
        except FileNotFoundError:
            if not self.folder.exists():
                return None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        _LOG.warning("%s is damaged and will be made again", self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        return None

    @contextmanager
    def filling(self) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """A writable array and a dict whose "note" is kept; both count once the block ends without an exception."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        try:
            array = np.memmap(partial / _ARRAY, np.uint8, "w+", shape=self.shape)
            kept: dict[str, Any] = {"note": None}
            yield array, kept
            array.flush()
            index = {"shape": self.shape, "crc32": _crc32(partial / _ARRAY), "note": kept["note"]}
            (partial / _INDEX).write_text(json.dumps(index))
            for name in (_ARRAY, _INDEX):
                _sync(partial / name)
            try:
                partial.rename(self.folder)
            except OSError:
                # Another process completed the same content first; theirs is as good.
                if not self.folder.exists():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
