"""An array on disk that is either complete and intact, or absent."""

import errno
import logging
import math
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfeff import checked
from tfeff.checked import file_crc32
from tfeff.durable import sync
from tfeff.errors import UserError

_LOG = logging.getLogger(__name__)
_ARRAY = "images.uint8"
_INDEX = "index.json"
_PARTIAL = ".partial"
_CHUNK = 1 << 24
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class DiskCache:
    """A uint8 array with a note, in a folder whose name identifies the content.

    The array is written to a temporary folder, which is renamed atomically once everything is on the disk. A checksum
    detects damage when the array is opened again.

    Attributes:
        folder: folder of this cache; its name changes with the content.
        shape: shape of the array; None: only the note says what is in it. It is required to fill the cache.
    """

    folder: Path
    shape: tuple[int, ...] | None = None

    @property
    def array_path(self) -> Path:
        """The raw bytes of the array, in C order, without a header."""
        return self.folder / _ARRAY

    def note(self) -> Any | None:
        """Returns the note of a complete and intact cache, or None. A damaged cache is removed."""
        try:
            index = checked.read_json(self.folder / _INDEX, "it is rebuilt", {"shape": list, "array_crc32": int})
            if self.shape in (None, tuple(index["shape"])) and index["array_crc32"] == file_crc32(self.array_path):
                return index["note"]
        except (OSError, KeyError, UserError):
            if not self.folder.exists():
                return None
        _LOG.warning("%s is damaged and will be rebuilt", self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        return None

    @contextmanager
    def filling(self) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Yields a writable array, and a dict whose "note" is saved; both are valid if the block ends without error.

        Leftovers of killed processes are removed first.

        Raises:
            UserError: the array does not fit on the disk.
        """
        assert self.shape is not None
        parent = self.folder.parent
        parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(parent)
        prefix = f".{self.folder.name}.{socket.gethostname()}.{os.getpid()}."
        partial = Path(tempfile.mkdtemp(prefix=prefix, suffix=_PARTIAL, dir=parent))
        try:
            _reserve(partial / _ARRAY, math.prod(self.shape))
            array = np.memmap(partial / _ARRAY, np.uint8, "r+", shape=self.shape)
            kept: dict[str, Any] = {"note": None}
            yield array, kept
            array.flush()
            index = {"shape": self.shape, "array_crc32": file_crc32(partial / _ARRAY), "note": kept["note"]}
            checked.write_json(partial / _INDEX, index)
            sync(partial / _ARRAY)
            try:
                partial.rename(self.folder)
                sync(parent)
            except OSError:
                # Another process completed the same content first.
                if not self.folder.exists():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _reserve(path: Path, size: int) -> None:
    """Allocates a file of `size` bytes; without it, a full disk would kill the process by SIGBUS on a mapped page."""
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for start in range(0, size, _CHUNK):
                    file.write(bytes(min(_CHUNK, size - start)))
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise UserError(
            f"{path.parent.parent}: the cache of decoded images needs {size / 1e6:,.1f} MB, which does not fit "
            f"({error.strerror}); free some space, use another cache directory, or no disk cache"
        ) from error


def _clear_abandoned(parent: Path) -> None:
    """Removes partial caches of dead processes on this machine."""
    name = re.compile(rf"\..+\.{re.escape(socket.gethostname())}\.(\d+)\.[^.]+{re.escape(_PARTIAL)}")
    for path in parent.iterdir():
        match = name.fullmatch(path.name)
        if match and not _runs(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It runs as another user.
        return True
    return True
