"""What processes share that decode the same images: the decoded images, or the list of corrupt ones."""

import errno
import logging
import os
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfeff import checked, durable
from tfeff.data.images import pixels
from tfeff.errors import BusyError, NoRoomError, UserError, brief

_LOG = logging.getLogger(__name__)
_PIXELS, _TABLE, _INDEX = "images.uint8", "images.int64", "index.json"
_CHUNK = 1 << 24
_LEFT_BYTES = 1 << 30
"""What must stay free on the disk: checkpoints and results are often on the same."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KEY = "data.cache_directory"


@dataclass(frozen=True, eq=False)
class StoredImages:
    """The images of a complete disk cache.

    Attributes:
        index: its index file.
        version: what distinguishes this content from what a later filling writes there.
        pixels: uint8 [bytes], memory-mapped.
        layout: int64 [n, 3]: where each image starts in `pixels`, its height and its width.
        note: what was saved with them.
        checksums: CRC-32 of each image, int64 [n].
        unread: bool [n], images that have not been compared with their checksums; can be a shared tensor.
    """

    index: Path
    version: str
    pixels: np.ndarray
    layout: np.ndarray
    note: Any
    checksums: np.ndarray
    unread: np.ndarray

    def check(self, rows: np.ndarray) -> None:
        """Compares images (int64 [m]) with their checksums, each once in a process.

        Raises:
            UserError: one is damaged. The cache is invalid from then on, so that the next process rebuilds it.
        """
        for row in np.unique(rows[self.unread[rows]]).tolist():
            start = int(self.layout[row, 0])
            if zlib.crc32(self.pixels[start : self._end(row)].data) != self.checksums[row]:
                raise UserError(
                    f"{self.index.parent}: the decoded image {row} has changed since it was written; check the disk. "
                    f"{self._invalidated()}"
                )
            self.unread[row] = False

    def _invalidated(self) -> str:
        """Lets the next process decode the images again, unless one has; returns what to do."""
        try:
            if _read_index(self.index)["version"] == self.version:
                self.index.unlink(missing_ok=True)
        except UserError:  # another process has
            pass
        except OSError as error:
            return f"Delete the folder, which this process cannot change ({brief(error)}), and rerun the same command"
        return "Rerun the same command: all images are decoded again"

    def _end(self, row: int) -> int:
        return int(self.layout[row + 1, 0]) if row + 1 < len(self.layout) else len(self.pixels)


@dataclass(frozen=True)
class _Shared:
    """A folder that one process fills while others wait.

    Attributes:
        folder: the folder; its name changes with the images.
    """

    folder: Path

    @contextmanager
    def locked(self, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Locks the folder against other processes; waits for one that fills it.

        Args:
            waiting: called a few times a second meanwhile; it may raise.

        Raises:
            UserError: the folder cannot be created.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(durable.locked(self.folder, _KEY))
            except BusyError:
                _LOG.warning("waiting for another process that decodes the same images (%s)", self.folder)
                stack.enter_context(durable.locked(self.folder, _KEY, wait=True, waiting=waiting))
            yield


class UnreadableList(_Shared):
    """The images that could not be read when all of them were decoded once."""

    def indices(self) -> list[int] | None:
        """Returns their indices, or None if the images have not all been decoded."""
        path = self.folder / _INDEX
        if not path.is_file():
            return None
        try:
            return [
                int(index) for index in checked.read_json(path, "all images are decoded", {"corrupt": dict})["corrupt"]
            ]
        except (UserError, ValueError) as error:
            _LOG.warning("%s", error)
            return None

    def write(self, reasons: Mapping[int, str]) -> None:
        """Saves index -> reason; the folder must be locked."""
        checked.write_json(self.folder / _INDEX, {"corrupt": {str(index): why for index, why in reasons.items()}})


class DiskCache(_Shared):
    """Decoded images: the pixels, a table of places and checksums, and an index.

    The index is written last, once everything else is on the disk.
    """

    def opened(self) -> StoredImages | None:
        """Returns the images, or None if the cache is not complete; reads the table, but no image.

        Raises:
            UserError: its files cannot be read.
        """
        index = self.folder / _INDEX
        while index.is_file():
            try:
                kept = _read_index(index)
                stored, table = pixels.mapped(self.folder / _PIXELS), np.fromfile(self.folder / _TABLE, np.int64)
                if _read_index(index) != kept:  # another process has filled it in between
                    continue
                if len(stored) == kept["bytes"] and zlib.crc32(table.data) == kept["table_crc32"]:
                    table = table.reshape(-1, 4)
                    unread = pixels.allocate(len(table)).view(bool)
                    unread[:] = True
                    note, version = kept.get("note"), kept["version"]
                    return StoredImages(index, version, stored, table[:, :3], note, table[:, 3], unread)
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    raise UserError(f"{self.folder}: the decoded images cannot be read: {brief(error)}") from error
            except (ValueError, UserError):
                pass
            _LOG.warning("%s is damaged and will be rebuilt", self.folder)
            return None
        return None

    @contextmanager
    def filling(self, layout: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Yields memory for the images, uint8 [size], and a dict whose "note" is saved; the cache must be locked.

        Both are kept if the block ends without error.

        Args:
            layout: see `StoredImages`.
            size: bytes of all images.

        Raises:
            NoRoomError: the images do not fit on the disk.
        """
        path = self.folder / _PIXELS
        for name in (_INDEX, _PIXELS):  # other processes may still read the file of a damaged cache
            (self.folder / name).unlink(missing_ok=True)
        try:
            _reserve(path, size)
            memory = np.memmap(path, np.uint8, "r+")
            kept: dict[str, Any] = {"note": None}
            yield memory, kept
            memory.flush()
            ends = [*layout[1:, 0].tolist(), size]
            checksums = [
                zlib.crc32(memory[start:end].data) for start, end in zip(layout[:, 0].tolist(), ends, strict=True)
            ]
            table = np.column_stack([layout, checksums]).astype(np.int64)
            durable.write(self.folder / _TABLE, table.tobytes())
            durable.sync(path)
            index = {
                "bytes": size,
                "table_crc32": zlib.crc32(table.data),
                "version": secrets.token_hex(8),
                "note": kept["note"],
            }
            checked.write_json(self.folder / _INDEX, index)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _read_index(path: Path) -> dict[str, Any]:
    return checked.read_json(path, "it is rebuilt", {"bytes": int, "table_crc32": int, "version": str})


def _reserve(path: Path, size: int) -> None:
    """Allocates a file of `size` bytes; without it, a full disk would kill the process by SIGBUS on a mapped page."""
    try:
        if shutil.disk_usage(path.parent).free < size + _LEFT_BYTES:
            raise OSError(errno.ENOSPC, f"{_LEFT_BYTES >> 30} GB must stay free")
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for start in range(0, size, _CHUNK):
                    file.write(bytes(min(_CHUNK, size - start)))
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise NoRoomError(
            f"{path.parent.parent}: the cache of decoded images needs {size / 1e6:,.1f} MB, which does not fit "
            f"({error.strerror}); free some space, use another cache directory, or no disk cache"
        ) from error
