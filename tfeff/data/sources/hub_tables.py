"""Tables of a Hugging Face dataset on disk: Arrow streams and Parquet files, read by pyarrow.

The images stay in the files. In Arrow files they are found by their positions. In Parquet files they are compressed in
groups of rows, usually 100 images, and read in batches; those that were used last are kept.
"""

import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfeff.data.images.storage import EncodedImages, ImageStorage, Segments
from tfeff.errors import UserError

_BATCH = 10
"""Rows of a Parquet file that are read at a time: an array of Arrow holds at most 2 GB, and groups may have more."""
_KEPT_BYTES = 1 << 30
"""Bytes of the batches that are kept."""
_BUFFER = 1 << 20
"""Bytes of a Parquet file that are read at a time; by default, it would be a whole group."""
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""End of an Arrow stream: the mark that begins each of its messages, and a length of 0."""


class Tables:
    """The rows of a split.

    Args:
        paths: its files, all of one kind and with the same columns and classes.

    Attributes:
        features: what `datasets` says about each column, or else what its Arrow type says, in the same form.

    Raises:
        UserError: a file is damaged, or columns differ.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths, self._images = paths, dict[str, tuple[ImageStorage, np.ndarray]]()
        self._parquet = paths[0].name.endswith(".parquet")
        self.features = self._read_features(paths[0])
        for path in paths[1:]:
            if self._read_features(path) != self.features:
                raise UserError(f"{path}: its columns or classes are not those of {paths[0]}")

    def column(self, name: str) -> list[Any]:
        """Returns the values of a column. Other columns are not decoded."""
        values = list[Any]()
        for path in self._paths:
            with _reported(path):
                for part in self._parts(path, name):
                    values += part[name].to_pylist()
        return values

    def images(self, column: str, count: int) -> tuple[ImageStorage, np.ndarray]:
        """Returns the images of a column, and in which rows they are (int64 [n]); other rows have none. Found once.

        Args:
            column: its name.
            count: rows of the other columns.
        """
        if column not in self._images:
            digest = hashlib.sha256()
            for path in self._paths:
                status = path.stat()
                digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
            find = self._in_groups if self._parquet else self._in_streams
            self._images[column] = find(column, f"hf/{digest.hexdigest()}")
        images, rows = self._images[column]
        if len(rows) and rows[-1] >= count:
            raise UserError(f"{self._paths[0]}: damaged: {rows[-1] + 1} rows of {column}, {count} of other columns")
        return images, rows

    def _read_features(self, path: Path) -> dict[str, Any]:
        with _reported(path):
            if self._parquet:
                return _features(pq.read_schema(path))
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
                return _features(stream.schema)

    def _parts(self, path: Path, column: str) -> Iterator[pa.RecordBatch]:
        """Yields a column of a file, part by part, and checked: offsets of a damaged file may point anywhere."""
        if self._parquet:
            with pq.ParquetFile(path) as file:
                for part in file.iter_batches(columns=[column]):
                    part.validate(full=True)
                    yield part
        else:
            with pa.memory_map(str(path)) as file:
                for part in _batches(file.read_buffer()):
                    chosen = part.select([column])
                    chosen.validate(full=True)
                    yield chosen

    def _in_streams(self, column: str, version: str) -> tuple[ImageStorage, np.ndarray]:
        segments, rows, first = list[np.ndarray](), list[np.ndarray](), 0
        for number, path in enumerate(self._paths):
            size = path.stat().st_size
            with _reported(path), pa.memory_map(str(path)) as file:
                content = file.read_buffer()
                for part in _batches(content):
                    values = part.column(column)
                    values.validate(full=True)
                    encoded = _bytes(values)
                    present = np.flatnonzero(encoded.is_valid().to_numpy(zero_copy_only=False))
                    _, offsets, data = encoded.buffers()
                    ends = np.frombuffer(offsets, np.int64 if pa.types.is_large_binary(encoded.type) else np.int32)
                    ends = ends[encoded.offset : encoded.offset + len(encoded) + 1].astype(np.int64)
                    start = ends[:-1] + (data.address - content.address if data else 0)
                    found = np.stack([np.full(len(start), number), start, np.diff(ends)], axis=1)[present]
                    if len(found) and not 0 <= found[0, 1] <= found[-1, 1:].sum() <= size:
                        return self._in_memory(column, version)  # compressed
                    segments.append(found)
                    rows.append(present + first)
                    first += len(encoded)
        joined = np.concatenate([np.zeros((0, 3), np.int64), *segments])
        return Segments(self._paths, joined, version), np.concatenate([np.zeros(0, np.int64), *rows])

    def _in_memory(self, column: str, version: str) -> tuple[ImageStorage, np.ndarray]:
        contents, rows, row = list[bytes](), list[int](), 0
        for path in self._paths:
            with _reported(path):
                for part in self._parts(path, column):
                    for content in _bytes(part[column]).to_pylist():
                        if content is not None:
                            contents.append(content)
                            rows.append(row)
                        row += 1
        return EncodedImages(contents, version), np.array(rows, np.int64)

    def _in_groups(self, column: str, version: str) -> tuple[ImageStorage, np.ndarray]:
        groups, rows, first = list[tuple[int, int, int]](), list[np.ndarray](), 0
        for number, path in enumerate(self._paths):
            with _reported(path), pq.ParquetFile(path, buffer_size=_BUFFER) as file:
                for group in range(file.num_row_groups):
                    # Not from `file.metadata`, whose accessors end the process if it is damaged (pyarrow 26).
                    present, row = np.ones(file.read_row_group(group, columns=[]).num_rows, bool), 0
                    # Damage is reported for each image that it makes unreadable, when that is read.
                    with contextlib.suppress(pa.ArrowException, OSError):
                        for values in _image_batches(file, group, column):
                            present[row : row + len(values)] = values.is_valid().to_numpy(zero_copy_only=False)
                            row += len(values)
                    groups.append((number, group, first))
                    rows.append(np.flatnonzero(present) + first)
                    first += len(present)
        found = np.concatenate([np.zeros(0, np.int64), *rows])
        return _RowGroups(self._paths, column, groups, found, version), found


class _RowGroups(ImageStorage):
    """Images in Parquet files.

    Args:
        paths: the files.
        column: name of the column of images.
        groups: for each group of rows: index of the file, number in the file, first row.
        rows: int64 [n], where the images are, counted over all groups.
        version: names the contents; a new one invalidates caches.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        column: str,
        groups: Sequence[tuple[int, int, int]],
        rows: np.ndarray,
        version: str,
    ) -> None:
        super().__init__()
        self._paths, self._column, self._groups, self._rows, self._version = paths, column, groups, rows, version
        self._firsts = np.array([first for _, _, first in groups], np.int64)
        self._kept, self._kept_bytes, self._lock = OrderedDict[tuple[int, int], Any](), 0, threading.Lock()
        self._group, self._next = -1, 0  # the group that is being read, and its next batch
        self._following: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return len(self._rows)

    def encoded(self, index: int) -> bytes:
        """See `ImageStorage`."""
        place, inside = self._place(index)
        number, row = divmod(inside, _BATCH)
        values = self._batch(place, number)
        value = values[row].as_py() if values is not None and row < len(values) else None
        if value is None:
            raise OSError(f"{self._paths[self._groups[place][0]]}: row {self._rows[index]} has no image")
        return bytes(value)

    def location(self, index: int) -> Hashable:
        """See `ImageStorage`."""
        place, inside = self._place(index)
        number, group, _ = self._groups[place]
        return str(self._paths[number]), group, inside

    def _place(self, index: int) -> tuple[int, int]:
        """Returns the group of rows that an image is in, and its row there."""
        row = int(self._rows[index])
        place = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return place, row - self._groups[place][2]

    def _batch(self, place: int, number: int) -> Any:
        """Returns a batch of a group of rows; None if the group has fewer."""
        with self._lock:
            if (place, number) in self._kept:
                self._kept.move_to_end((place, number))
            else:
                self._read(place, number)
            return self._kept.get((place, number))

    def _read(self, place: int, number: int) -> None:
        """Reads a group up to a batch: from its beginning, unless it was read before and not as far."""
        if self._group != place or self._next > number:
            self._next, self._following = 0, self._batches_of(place)
        self._group = -1  # after an error, nothing follows
        for values in self._following:
            if (place, self._next) not in self._kept:
                self._kept[place, self._next] = values
                self._kept_bytes += values.nbytes
            self._next += 1
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
            if self._next > number:
                self._group = place
                return

    def _batches_of(self, place: int) -> Iterator[Any]:
        number, group, _ = self._groups[place]
        try:
            with pq.ParquetFile(self._paths[number], buffer_size=_BUFFER) as file:
                yield from _image_batches(file, group, self._column)
        except (pa.ArrowException, ValueError, OSError) as error:
            if getattr(error, "errno", None):  # missing, for example
                raise
            raise OSError(f"{self._paths[number]}: damaged in group {group} of its rows ({error})") from None

    def fingerprint(self, channels: int) -> str:
        """Returns the version and the number of images."""
        return f"{self._version}/{len(self)}"

    def stamp(self, index: int) -> bytes:
        """Computes the stamp from the version and the row; reads no file."""
        return hashlib.blake2b(f"{self._version}/{self._rows[index]}".encode(), digest_size=8).digest()


def _batches(content: pa.Buffer) -> Iterator[pa.RecordBatch]:
    """Yields the batches of an Arrow stream. pyarrow takes zeros or a missing rest for its end.

    Raises:
        ValueError: the stream ends before its end.
    """
    source = pa.BufferReader(content)
    yield from pa.ipc.open_stream(source)
    modern = content[:4].to_pybytes() == _END[:4]  # before Arrow 0.15, the end could not be told from padding
    if source.tell() < len(content) or (modern and content[-8:].to_pybytes() != _END):
        raise ValueError("rows are missing at its end")


def _image_batches(file: pq.ParquetFile, group: int, column: str) -> Iterator[Any]:
    """Yields the encoded images of a group of rows in batches, checked."""
    for part in file.iter_batches(_BATCH, row_groups=[group], columns=[column]):
        part.validate(full=True)
        yield _bytes(part.column(column))


def _bytes(values: Any) -> Any:
    """Returns the encoded images of a column: that itself, or its field `bytes`."""
    if pa.types.is_struct(values.type):
        values = values.flatten()[values.type.get_field_index("bytes")]
    if not pa.types.is_binary(values.type) and not pa.types.is_large_binary(values.type):
        raise ValueError(f"a column of {values.type} where images were announced")
    return values


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turns errors of pyarrow into messages that name the file."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        with path.open("rb") as file:
            pointer = file.read(32).startswith(b"version https://git-lfs")
        if pointer:
            raise UserError(f"{path}: not a table but a Git LFS pointer; run git lfs pull") from None
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path}: damaged, or not a table ({reason}); download or save it again") from None


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Returns column -> its feature, as `datasets` describes it in JSON."""
    found = {field.name: _feature(field.type) for field in schema}
    try:
        given = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: given.get(name, feature) for name, feature in found.items()}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return found


def _feature(kind: Any) -> Any:
    if pa.types.is_struct(kind):
        fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        if "bytes" in fields:
            return {"_type": "Image"}
        return {name: _feature(each) for name, each in fields.items()}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return {"_type": "Image"}
    return {"_type": "Value", "dtype": str(kind)}
