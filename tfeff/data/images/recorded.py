"""Image files as the records of ArrayRecord files, read by their places.

ArrayRecord files consist of blocks, each with a header, that interrupt whatever they meet:
https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md. A file of uncompressed groups of one
record has the bytes of each record in one piece but for these headers. Reading them from there takes a tenth of the
time of the package's reader, and waits for the disk without Python's lock. The package is needed to write them.
"""

import errno
import functools
import os
import resource
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfeff.data.images.storage import ImageStorage, content_digest
from tfeff.errors import UserError

ADVICE = "copy the directory again, or write it again with tfeff.pack"
"""What to do about damaged records."""
WRITER_OPTIONS = "group_size:1,uncompressed"
"""Options of the writer of files that can be read by place; image files are compressed already."""
_BLOCK, _BLOCK_HEADER = 1 << 16, 24
_CHUNK_HEADER = struct.Struct("<8xQ8xQ8x")
"""Size of the data; type of the chunk in the lowest byte, and number of its records."""
_SIMPLE = ord("r")
_FIRST_CHUNK = 64
_OPEN_FILES = 64
"""Files that a storage keeps open at least; a process may open 256 on macOS, and usually 1,024 on Linux."""


@dataclass(frozen=True)
class Shard:
    """A file of records.

    Attributes:
        path: the file.
        size: its size in bytes.
        records: number of its records.
    """

    path: Path
    size: int
    records: int


class RecordedImages(ImageStorage):
    """n image files in shards, one after the other.

    Args:
        shards: the files.
        places: int64 [n, 2], where each image starts in its file, and its length in bytes.
        digests: uint8 [n, 16], `content_digest` of each image.
        origins: uint8 [n, 8], `origin` of each image in the source that was packed.
        sizes: int32 [n, 2], (height, width) of each image, upright; (0, 0) if its header cannot be read.
        undecodable: int64 [m], the images that cannot be decoded.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        places: np.ndarray,
        digests: np.ndarray,
        origins: np.ndarray,
        sizes: np.ndarray,
        undecodable: np.ndarray,
    ) -> None:
        super().__init__()
        self._shards, self._owners = shards, np.repeat(np.arange(len(shards)), [shard.records for shard in shards])
        self._places, self._known, self._sizes, self._undecodable = places, digests, sizes, undecodable
        self._origins = origins
        self._checked = np.zeros(len(digests), np.int64)  # the version of its file with which each image was compared
        self._opened = functools.lru_cache(_open_files())(_open)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the files itself."""
        return RecordedImages, (
            self._shards, self._places, self._known, self._origins, self._sizes, self._undecodable
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._known)

    def encoded(self, index: int) -> bytes:
        """See `ImageStorage`. The first reading of an image from a file is compared with its digest.

        Raises:
            UserError: the file is missing or damaged, or not the one that was packed; too many files are open.
        """
        path, (start, length) = self._shards[int(self._owners[index])].path, self._places[index].tolist()
        try:
            file, version = self._opened(path)
            content = read_record(file, start, length)
        except OSError as error:
            advice = (
                "raise the limit of open files (ulimit -n)" if error.errno in (errno.EMFILE, errno.ENFILE) else ADVICE
            )
            raise UserError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
        if self._checked[index] != version:
            if content_digest(content) != self.digest(index):
                raise UserError(
                    f"{path}: damaged or replaced, at byte {start:,} is another image than that which was packed; "
                    f"{ADVICE}"
                )
            self._checked[index] = version
        return content

    def size(self, index: int) -> tuple[int, int]:
        """See `ImageStorage`; reads nothing."""
        height, width = self._sizes[index].tolist()
        if not height:
            raise UserError(f"image {index}: not an image, or a corrupt one")
        return height, width

    def sizes(self) -> np.ndarray:
        """See `ImageStorage`."""
        return self._sizes

    def digest(self, index: int) -> bytes:
        """See `ImageStorage`; reads nothing."""
        return self._known[index].tobytes()

    def origin(self, index: int) -> bytes:
        """See `ImageStorage`; that of the packed source, so that its other datasets recognize the image."""
        return self._origins[index].tobytes()

    def outline(self, index: int) -> bytes:
        """See `ImageStorage`; the digest, which costs nothing."""
        return self.digest(index)

    def undecodable(self) -> np.ndarray:
        """See `ImageStorage`."""
        return self._undecodable

    def fingerprint(self, channels: int) -> str:
        """Computes the fingerprint from the digests."""
        return content_digest(self._known.tobytes()).hex()


def _open_files() -> int:
    """Returns how many files a storage keeps open: a quarter of those that this process may open, or `_OPEN_FILES`."""
    return max(_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)


def _open(path: Path) -> tuple[BinaryIO, int]:
    """Returns a file, and a number that changes if it has been replaced or written since it was opened before."""
    file = path.open("rb", buffering=0)
    status = os.fstat(file.fileno())
    return file, hash((status.st_dev, status.st_ino, status.st_mtime_ns))


def read_record(file: BinaryIO, start: int, length: int) -> bytes:
    """Returns `length` bytes that start at a place, without headers of blocks; fewer if the file ends before."""
    end = _after(start, length)
    content = os.pread(file.fileno(), end - start, start)
    inside = -start % _BLOCK  # where the next block begins
    if inside >= len(content):
        return content
    pieces = [content[:inside]]
    pieces += (content[at + _BLOCK_HEADER : at + _BLOCK] for at in range(inside, len(content), _BLOCK))
    return b"".join(pieces)


def places(path: Path, lengths: Sequence[int]) -> np.ndarray:
    """Returns where records are in a file, int64 [n, 2]: start and length.

    Args:
        path: a file that was written with `WRITER_OPTIONS`.
        lengths: length of each record.

    Raises:
        ValueError: the file does not have such records.
    """
    found, chunk = list[tuple[int, int]](), _FIRST_CHUNK
    with path.open("rb", buffering=0) as file:
        for length in lengths:
            header = _beyond_header(chunk)
            size, kind = _CHUNK_HEADER.unpack(read_record(file, header, _CHUNK_HEADER.size))
            if kind != (1 << 8 | _SIMPLE) or size < length:
                raise ValueError(f"{path}: not an ArrayRecord file of uncompressed groups of one record")
            data = _after(header, _CHUNK_HEADER.size)
            found.append((_beyond_header(_after(data, size - length)), length))  # before it, its length is written
            chunk = _after(data, size)
    return np.array(found, np.int64).reshape(-1, 2)


def _beyond_header(place: int) -> int:
    """Returns where the content at a place begins: at the beginning of a block, it follows the header."""
    return place if place % _BLOCK else place + _BLOCK_HEADER


def _after(start: int, length: int) -> int:
    """Returns where `length` bytes that start at a place end; headers of blocks interrupt them."""
    if not length:
        return start
    start = _beyond_header(start)
    further = length - (_BLOCK - start % _BLOCK)
    return start + length + _BLOCK_HEADER * max(0, -(-further // (_BLOCK - _BLOCK_HEADER)))
