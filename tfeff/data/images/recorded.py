"""Image files as the records of ArrayRecord files.

Such a file has an index of its records and a checksum of each, which its reader compares. The reader takes a file
without an end for an empty one, and a file with other records for the right one: so a file is compared with what is
known about it when it is opened, and each image when it is read for the first time.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.data.images.storage import ImageStorage, content_digest
from tfeff.errors import UserError, brief

ADVICE = "copy the directory again, or write it again with tfeff.pack"
"""What to do about damaged records."""
WRITER_OPTIONS = "group_size:1,uncompressed"
"""Options of files for random access: a record is read alone. Image files are compressed already."""
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_BUFFER = 1 << 15
"""Bytes that a reader keeps of its file."""
_OPEN_FILES = 256
"""Files that are kept open: opening one takes longer than reading a record, and a process may open about a thousand."""


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
        digests: uint8 [n, 16], `content_digest` of each image.
        sizes: int32 [n, 2], (height, width) of each image, upright; (0, 0) if its header cannot be read.
        undecodable: int64 [m], the images that cannot be decoded.
    """

    def __init__(
        self, shards: Sequence[Shard], digests: np.ndarray, sizes: np.ndarray, undecodable: np.ndarray
    ) -> None:
        super().__init__()
        self._shards, self._ends = shards, np.cumsum([shard.records for shard in shards])
        self._known, self._sizes, self._undecodable = digests, sizes, undecodable
        self._checked = np.zeros(len(digests), bool)
        self._reader = functools.lru_cache(_OPEN_FILES)(self._open)

    def __len__(self) -> int:
        return len(self._known)

    def encoded(self, index: int) -> bytes:
        """See `ImageStorage`.

        Raises:
            UserError: the file is damaged, or not the one that was packed.
        """
        number = int(np.searchsorted(self._ends, index, side="right"))
        shard = self._shards[number]
        place = index - int(self._ends[number]) + shard.records
        try:
            content: bytes = self._reader(number).read([place])[0]
        except RuntimeError as error:
            raise UserError(f"{shard.path}: record {place} cannot be read ({brief(error)}); {ADVICE}") from None
        if not self._checked[index]:
            if content_digest(content) != self.digest(index):
                raise UserError(f"{shard.path}: record {place} is not the image that was packed; {ADVICE}")
            self._checked[index] = True
        return content

    def _open(self, number: int) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        shard = self._shards[number]
        reader = ArrayRecordReader(str(shard.path), _READER_OPTIONS, file_reader_buffer_size=_BUFFER)
        if not reader.ok() or reader.num_records() != shard.records:
            raise UserError(f"{shard.path}: missing, incomplete or damaged; {ADVICE}")
        return reader

    def size(self, index: int) -> tuple[int, int]:
        """See `ImageStorage`; reads nothing."""
        height, width = self._sizes[index].tolist()
        if not height:
            raise UserError(f"image {index}: not an image, or a corrupt one")
        return height, width

    def digest(self, index: int) -> bytes:
        """See `ImageStorage`; reads nothing."""
        return self._known[index].tobytes()

    def outline(self, index: int) -> bytes:
        """See `ImageStorage`; the digest, which costs nothing."""
        return self.digest(index)

    def undecodable(self) -> np.ndarray:
        """See `ImageStorage`."""
        return self._undecodable

    def fingerprint(self, channels: int) -> str:
        """Computes the fingerprint from the digests."""
        return content_digest(self._known.tobytes()).hex()
