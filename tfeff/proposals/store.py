"""Stores of a dataset's proposals on disk, by image id.

```
parameters.json      parameters of the proposer; a store has one proposer
shard-00000.bin ...  records, append-only; each writer has its own shard
.lock                locked by the command that writes to the store
```

Each record has its length and a checksum, so a record truncated by a killed writer, or damaged, is ignored with a
warning; reading continues at the next intact one. Records are never rewritten, so readers may use the store while it
grows.

A record is a header (`_HEADER`), the image id as bytes (`os.fsencode`), and the box corners, uint16 [n, 4]. The header
holds a digest of the encoded image: changed files are detected, and equal files are computed once.
"""

import json
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfeff import checked
from tfeff.data.dataset import Dataset
from tfeff.durable import sync
from tfeff.errors import UserError, changes
from tfeff.proposals.proposals import ProposedBoxes

PARAMETERS = "parameters.json"
_MAGIC = b"tfp1"
_HEADER = struct.Struct("<4sI16s2I2HIHI")
"""Magic, checksum of the rest, digest, image size, working size, number of boxes, length of the id, revision."""


@dataclass(frozen=True)
class _Record:
    """Position of the boxes of a record, and its header."""

    shard: Path
    start: int
    count: int
    size: tuple[int, int]
    grid: tuple[int, int]
    digest: bytes
    revision: int


class ProposalStore:
    """Stored proposals, by image id.

    Args:
        directory: directory of the store.

    Raises:
        UserError: the directory is not a store.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        path = self.directory / PARAMETERS
        if not path.is_file():
            raise UserError(f"{self.directory}: no {PARAMETERS} found; expected a directory written by tfeff.propose")
        self.parameters = checked.read_json(path, "delete the store; tfeff.propose computes the proposals again")
        self._ids: dict[str, _Record] = {}
        self._digests: dict[bytes, _Record] = {}
        self._read: dict[Path, int] = {}
        self._maps: dict[Path, np.ndarray] = {}
        self.refresh()

    @classmethod
    def create(cls, directory: str | Path, parameters: Mapping[str, Any]) -> Self:
        """Opens the store of a proposer with these parameters; creates it if it does not exist.

        Raises:
            UserError: the store has other parameters (the message lists the differences).
        """
        directory = Path(directory)
        wanted = json.loads(json.dumps(parameters))
        if not (directory / PARAMETERS).is_file():
            directory.mkdir(parents=True, exist_ok=True)
            checked.write_json(directory / PARAMETERS, wanted)
        store = cls(directory)
        existing = store.parameters
        changed = [(key, existing.get(key), wanted.get(key)) for key in {**existing, **wanted}]
        changed = [(key, old, new) for key, old, new in changed if old != new]
        if changed and "version" in {key for key, _, _ in changed}:
            raise UserError(
                f"{directory} has proposals of another version of tfeff:\n{changes(changed)}\n"
                "delete it, and they are computed again; heads that were trained on them may get worse"
            )
        if changed:
            raise UserError(
                f"{directory} has proposals with other parameters:\n{changes(changed)}\n"
                "choose another directory, or use the same parameters"
            )
        return store

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __getitem__(self, name: str) -> ProposedBoxes:
        """Returns the latest proposals of an image id.

        Raises:
            UserError: the store has none.
        """
        if name not in self._ids:
            raise self._missing(name)
        return self._proposals(self._ids[name])

    def find(self, images: Dataset, index: int) -> ProposedBoxes | None:
        """Returns the proposals of an image of a dataset; None if there are none, or the image cannot be read.

        They are found by its content: datasets that share a store may have the same ids.
        """
        try:
            return self.by_content(images.images.digest(index))
        except (OSError, UserError):
            return None

    def of(self, images: Dataset, index: int) -> ProposedBoxes:
        """Returns the proposals of an image of a dataset.

        Raises:
            UserError: the store has none.
        """
        found = self.find(images, index)
        if found is None:
            raise self._missing(images.ids[index])
        return found

    def _missing(self, name: str) -> UserError:
        return UserError(f"{self.directory}: no proposals of {name}; run tfeff.propose on its dataset")

    def matches(self, name: str, content: bytes) -> bool:
        """Returns whether the store has proposals of an image with this content (a `digest`)."""
        return name in self._ids and self._ids[name].digest == content

    def by_content(self, content: bytes) -> ProposedBoxes | None:
        """Returns the proposals of any image with this content (a `digest`), or None."""
        record = self._digests.get(content)
        return None if record is None else self._proposals(record)

    def revision(self, name: str) -> int:
        """Returns the revision of the next record of an image: 0, 1, ..."""
        return self._ids[name].revision + 1 if name in self._ids else 0

    def refresh(self) -> None:
        """Reads the records written since the last call."""
        for shard in sorted(self.directory.glob("shard-*.bin")):
            with shard.open("rb") as file:
                if os.fstat(file.fileno()).st_size > self._read.get(shard, 0):
                    self._scan(shard, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _scan(self, shard: Path, content: mmap.mmap) -> None:
        offset = self._read.get(shard, 0)
        while 0 <= offset < len(content):
            found = _record(shard, content, offset)
            if found is None:  # damaged, or of a killed process
                checked.warn(f"{shard}: has damaged or incomplete records; their proposals are computed again")
                offset = content.find(_MAGIC, offset + 1)
                continue
            name, record = found
            if name not in self._ids or self._ids[name].revision <= record.revision:
                self._ids[name] = record
            self._digests[record.digest] = record
            offset = self._read[shard] = record.start + 8 * record.count

    def _proposals(self, record: _Record) -> ProposedBoxes:
        corners = self._map(record.shard)[record.start : record.start + 8 * record.count].view(np.uint16)
        return ProposedBoxes(corners.reshape(-1, 4), record.grid, record.size)

    def _map(self, shard: Path) -> np.ndarray:
        needed = self._read[shard]
        if shard not in self._maps or len(self._maps[shard]) < needed:
            self._maps[shard] = np.memmap(shard, np.uint8, mode="r")
        return self._maps[shard]


def _record(shard: Path, content: mmap.mmap, offset: int) -> tuple[str, _Record] | None:
    """Returns the image id and record at an offset of a shard; None if there is no intact one."""
    if offset + _HEADER.size > len(content):
        return None
    magic, checksum, image, height, width, rows, columns, count, length, revision = _HEADER.unpack_from(content, offset)
    start = offset + _HEADER.size + length
    end = start + 8 * count
    if magic != _MAGIC or end > len(content) or zlib.crc32(memoryview(content)[offset + 8 : end]) != checksum:
        return None
    name = os.fsdecode(content[offset + _HEADER.size : start])
    return name, _Record(shard, start, count, (height, width), (rows, columns), image, revision)


class Writer:
    """A writer that appends to a store, in its own shard; other writers may be active.

    Args:
        store: the store.
    """

    def __init__(self, store: ProposalStore) -> None:
        self._store = store
        number = len(list(store.directory.glob("shard-*.bin")))
        while True:
            try:
                self._file = open(store.directory / f"shard-{number:05}.bin", "xb", buffering=0)  # noqa: SIM115
                return
            except FileExistsError:
                number += 1

    def add(self, name: str, content: bytes, proposals: ProposedBoxes) -> None:
        """Writes the proposals of an image; from then on, they survive a kill of the process.

        Args:
            name: image id.
            content: `digest` of the encoded image.
            proposals: the boxes.
        """
        encoded = os.fsencode(name)
        body = _HEADER.pack(
            _MAGIC,
            0,
            content,
            *proposals.size,
            *proposals.grid,
            len(proposals),
            len(encoded),
            self._store.revision(name),
        )[8:]
        body += encoded + np.ascontiguousarray(proposals.cells, np.uint16).tobytes()
        record = _MAGIC + struct.pack("<I", zlib.crc32(body)) + body
        if self._file.write(record) != len(record):  # a full disk may accept only a part
            raise OSError(28, "No space left on device", self._file.name)

    def close(self) -> None:
        """Closes the shard; an empty shard is removed. Then, a power cut does not harm what was written."""
        empty = self._file.tell() == 0
        if not empty:
            os.fsync(self._file.fileno())
        self._file.close()
        if empty:
            os.unlink(self._file.name)
        sync(self._store.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def lookup(store: ProposalStore, images: Dataset) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function for `Dataset.map`: index of an image (scalar int64) -> boxes_yxyx, float32 [n, 4], best first.

    The store is read when the function is called. A missing image ends the iteration with an error that names it.
    """

    def read(index: np.ndarray) -> np.ndarray:
        return store.of(images, int(index)).boxes_yxyx

    return lambda index: tf.ensure_shape(tf.numpy_function(read, [index], tf.float32, stateful=False), (None, 4))
