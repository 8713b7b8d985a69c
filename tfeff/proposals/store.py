"""Proposals of a data set on disk: computed once, read by image id.

```
parameters.json      what made them; a store has one proposer
shard-00000.bin ...  records, appended; each writer has shards of its own
.lock                held by the command that fills the store
```

A record is whole or absent: it carries its length and a checksum, and what a kill cut off at a shard's end is passed
over. Nothing is ever rewritten, so that readers may look while the store grows.

Record: header (below), the image's id in the bytes that the disk has for it (`os.fsencode`), then the boxes' corners,
uint16 [n, 4]. The digest is that of the encoded image, so that a changed file is noticed and equal files are not
computed twice.
"""

import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from tfeff.durable import write
from tfeff.errors import UserError, changes
from tfeff.proposals.proposals import Proposals

PARAMETERS = "parameters.json"
_MAGIC = b"tfp1"
_HEADER = struct.Struct("<4sI16s2I2HIHI")
"""Magic, checksum of all that follows, digest, size of image and grid, number of boxes, length and generation of id."""
_DIGEST = 16


def digest(encoded: bytes) -> bytes:
    """What an image is known by: 16 bytes of BLAKE2b of its file."""
    return hashlib.blake2b(encoded, digest_size=_DIGEST).digest()


@dataclass(frozen=True)
class _Place:
    shard: Path
    start: int
    count: int
    size: tuple[int, int]
    grid: tuple[int, int]
    digest: bytes
    generation: int


class ProposalStore:
    """The proposals of many images, readable by id.

    Args:
        directory: of the store.

    Raises:
        UserError: no store there.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        path = self.directory / PARAMETERS
        if not path.is_file():
            raise UserError(
                f"{self.directory}: no {PARAMETERS} there; it should be a directory that tfeff.propose filled"
            )
        try:
            self.parameters: dict[str, Any] = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error})") from None
        self._ids: dict[str, _Place] = {}
        self._digests: dict[bytes, _Place] = {}
        self._read: dict[Path, int] = {}
        self._maps: dict[Path, np.ndarray] = {}
        self.refresh()

    @classmethod
    def create(cls, directory: str | Path, parameters: Mapping[str, Any]) -> Self:
        """The store of these parameters, made if it is not there.

        Raises:
            UserError: another proposer's store lies there (what differs is listed).
        """
        directory = Path(directory)
        wanted = json.loads(json.dumps(parameters))
        if not (directory / PARAMETERS).is_file():
            directory.mkdir(parents=True, exist_ok=True)
            write(directory / PARAMETERS, json.dumps(wanted, indent=2) + "\n")
        store = cls(directory)
        there = store.parameters
        changed = [(key, there.get(key), wanted.get(key)) for key in {**there, **wanted}]
        changed = [(key, old, new) for key, old, new in changed if old != new]
        if changed:
            raise UserError(
                f"{directory} holds proposals made otherwise:\n{changes(changed)}\n"
                "give another --out, or the same values"
            )
        return store

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __getitem__(self, name: str) -> Proposals:
        """The newest proposals of an image.

        Raises:
            UserError: it has none.
        """
        if name not in self._ids:
            raise UserError(f"{self.directory}: no proposals of {name}; run tfeff.propose on its data set")
        return self._proposals(self._ids[name])

    def is_of(self, name: str, content: bytes) -> bool:
        """Whether the proposals of an image are those of this content (a `digest`)."""
        return name in self._ids and self._ids[name].digest == content

    def by_content(self, content: bytes) -> Proposals | None:
        """Proposals of any image of this content (a `digest`)."""
        place = self._digests.get(content)
        return None if place is None else self._proposals(place)

    def generation(self, name: str) -> int:
        """How many proposals of an image there have been before its next ones."""
        return self._ids[name].generation + 1 if name in self._ids else 0

    def refresh(self) -> None:
        """Takes note of what has been written since."""
        for shard in sorted(self.directory.glob("shard-*.bin")):
            with shard.open("rb") as file:
                if os.fstat(file.fileno()).st_size > self._read.get(shard, 0):
                    self._scan(shard, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _scan(self, shard: Path, content: mmap.mmap) -> None:
        at, end = self._read.get(shard, 0), len(content)
        while at + _HEADER.size <= end:
            magic, checksum, image, height, width, rows, columns, count, length, generation = _HEADER.unpack_from(
                content, at
            )
            start = at + _HEADER.size + length
            after = start + 8 * count
            if magic != _MAGIC or after > end or zlib.crc32(memoryview(content)[at + 8 : after]) != checksum:
                break
            name = os.fsdecode(content[at + _HEADER.size : start])
            place = _Place(shard, start, count, (height, width), (rows, columns), image, generation)
            if name not in self._ids or self._ids[name].generation <= generation:
                self._ids[name] = place
            self._digests[image] = place
            at = after
        self._read[shard] = at

    def _proposals(self, place: _Place) -> Proposals:
        corners = self._map(place.shard)[place.start : place.start + 8 * place.count].view(np.uint16)
        return Proposals(corners.reshape(-1, 4), place.grid, place.size)

    def _map(self, shard: Path) -> np.ndarray:
        needed = self._read[shard]
        if shard not in self._maps or len(self._maps[shard]) < needed:
            self._maps[shard] = np.memmap(shard, np.uint8, mode="r")
        return self._maps[shard]


class Writer:
    """Appends to a store, in a shard of its own.

    Args:
        store: what is there; other writers may be at work.
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

    def add(self, name: str, content: bytes, proposals: Proposals) -> None:
        """Writes the proposals of an image; once this returns, a kill cannot take them away.

        Args:
            name: the image's id.
            content: its `digest`.
            proposals: its boxes.
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
            self._store.generation(name),
        )[8:]
        body += encoded + np.ascontiguousarray(proposals.cells, np.uint16).tobytes()
        record = _MAGIC + struct.pack("<I", zlib.crc32(body)) + body
        if self._file.write(record) != len(record):  # a full disk may take a part
            raise OSError(28, "No space left on device", self._file.name)

    def close(self) -> None:
        """Ends the shard; one without a record is removed."""
        empty = self._file.tell() == 0
        self._file.close()
        if empty:
            os.unlink(self._file.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
