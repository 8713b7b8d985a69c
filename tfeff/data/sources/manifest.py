"""The manifest of a directory of records: what is in its shards, so that opening it reads no image.

`manifest.json` names classes, splits and shards. `index.npz` has an array of each kind for all records, and others for
each split, whose images are records: `train/records`, `train/ids`, and `train/labels` or the objects of all its images,
one image after the other: `train/objects` (how many each image has), `train/boxes_yxyx`, `train/object_labels`,
`train/difficult`, `train/crowd` and, if the source states any, `train/areas`. Both files have a checksum.
"""

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfeff import checked
from tfeff.data.dataset import Dataset, Id, Objects
from tfeff.data.defects import Defects
from tfeff.data.images.recorded import ADVICE, Shard
from tfeff.data.names import packed_texts, unpacked_texts
from tfeff.data.splits import ALL
from tfeff.errors import UserError

MANIFEST = "manifest.json"
INDEX = "index.npz"
_FORMAT = 1
_TYPES = {
    "format": int, "has_objects": bool, "drawn": bool, "further_classes": list, "class_names": list,
    "class_ids": list, "splits": dict, "shards": list, "index": str,
}  # fmt: skip
_ARRAYS = {"places": "int64", "digests": "uint8", "origins": "uint8", "sizes": "int32", "undecodable": "int64"}
"""Name of an array of all records -> its type."""
_COLUMNS = {
    "records": "int64", "ids": "uint8", "labels": "int32", "objects": "int64", "boxes_yxyx": "float32",
    "object_labels": "int32", "difficult": "bool", "crowd": "bool", "areas": "float64",
}  # fmt: skip
"""Name of an array of a split -> its type."""
_OBJECTS = {"boxes_yxyx": "boxes_yxyx", "labels": "object_labels", "difficult": "difficult", "crowd": "crowd"}
"""Field of `Objects` -> name of its array."""
_AREAS = "areas"
"""The field of `Objects`, and its array, that not every split has."""


@dataclass(frozen=True, eq=False)
class Split:
    """The n images of a split.

    Attributes:
        columns: `records`, `ids` and `labels` or those of the objects, as in `index.npz`.
        sized: whether the source knew the sizes of the images.
        defects: what was wrong in the source's files.
        notes: what the user should know about the choice of images, one line each.
    """

    columns: Mapping[str, np.ndarray]
    sized: bool
    defects: Defects
    notes: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset, ids: Sequence[str], records: np.ndarray) -> "Split":
        """Returns a split.

        Args:
            dataset: its images.
            ids: their ids in the records.
            records: int64 [n], their records.
        """
        columns = {"records": records, "ids": packed_texts(ids)}
        if dataset.has_labels:
            columns["labels"] = dataset.labels
        if dataset.has_objects:
            columns["objects"] = np.array([len(each) for each in dataset.objects], np.int64)
            for key, name in _OBJECTS.items():
                columns[name] = np.concatenate([getattr(each, key) for each in dataset.objects])
            if any(each.areas is not None for each in dataset.objects):
                columns[_AREAS] = np.concatenate(
                    [np.full(len(each), np.nan) if each.areas is None else each.areas for each in dataset.objects]
                )
        columns = {key: values.astype(_COLUMNS[key], copy=False) for key, values in columns.items()}
        return cls(columns, len(dataset.sizes) > 0, dataset.defects, dataset.notes)

    @property
    def records(self) -> np.ndarray:
        """int64 [n], the record of each image."""
        return self.columns["records"]

    @property
    def labels(self) -> np.ndarray:
        """int32 [n], or empty."""
        return self.columns.get("labels", np.zeros(0, np.int32))

    def ids(self) -> list[str]:
        """Returns the ids."""
        return unpacked_texts(self.columns["ids"])

    def objects(self) -> list[Objects]:
        """Returns the objects of each image; empty if images have none."""
        counts = self.columns.get("objects", np.zeros(0, np.int64))
        names = [*_OBJECTS.values(), *([_AREAS] if _AREAS in self.columns else [])]
        ends, values = np.cumsum(counts), [self.columns[name] for name in names if len(counts)]
        return [
            Objects(*(value[start:end] for value in values))
            for start, end in zip((ends - counts).tolist(), ends.tolist(), strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Manifest:
    """What is in a directory of m records.

    Attributes:
        source: name of the source that was packed.
        class_names: one per class.
        class_ids: the source's own id of each class; empty if it has none.
        has_objects: whether images have objects, and not a label each.
        drawn: whether the source has no splits of its own.
        further_classes: classes of which the training split has no images; empty unless they were allowed.
        shards: the files.
        splits: the splits, and `all`.
        places: int64 [m, 2], see `RecordedImages`.
        digests: uint8 [m, 16], see `RecordedImages`.
        origins: uint8 [m, 8], see `RecordedImages`.
        sizes: int32 [m, 2], see `RecordedImages`.
        undecodable: int64 [k], see `RecordedImages`.
    """

    source: str
    class_names: tuple[str, ...]
    class_ids: Sequence[Id]
    has_objects: bool
    drawn: bool
    further_classes: Sequence[str]
    shards: Sequence[Shard]
    splits: Mapping[str, Split]
    places: np.ndarray
    digests: np.ndarray
    origins: np.ndarray
    sizes: np.ndarray
    undecodable: np.ndarray

    def write(self, directory: Path) -> None:
        """Writes the manifest into the directory of the shards."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        for name, split in self.splits.items():
            arrays |= {f"{name}/{key}": value for key, value in split.columns.items()}
        written = io.BytesIO()
        np.savez(written, **arrays)
        (directory / INDEX).write_bytes(written.getbuffer())
        record = {
            "format": _FORMAT,
            "source": self.source,
            "class_names": self.class_names,
            "class_ids": self.class_ids,
            "has_objects": self.has_objects,
            "drawn": self.drawn,
            "further_classes": self.further_classes,
            "splits": {name: _fields(split) for name, split in self.splits.items()},
            "shards": [{"name": each.path.name, "bytes": each.size, "records": each.records} for each in self.shards],
            "index": f"{zlib.crc32(written.getbuffer()):08x}",
        }
        checked.write_json(directory / MANIFEST, record)

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Reads the manifest of a directory, and compares the sizes of the shards with it.

        Raises:
            UserError: a file is missing, incomplete, damaged or of another version.
        """
        path = directory / MANIFEST
        if not path.is_file():
            raise UserError(f"{directory}: has no records ({MANIFEST} is missing); tfeff.pack writes them")
        record = checked.read_json(path, ADVICE, _TYPES)
        if record["format"] != _FORMAT:
            raise UserError(f"{path}: format {record['format']} instead of {_FORMAT}; write it again with tfeff.pack")
        arrays = _read_index(directory / INDEX, record["index"])
        try:
            found = cls(
                source=record["source"],
                class_names=tuple(record["class_names"]),
                class_ids=record["class_ids"],
                has_objects=record["has_objects"],
                drawn=record["drawn"],
                further_classes=record["further_classes"],
                shards=[_shard(directory, each) for each in record["shards"]],
                splits={name: _split(name, fields, arrays) for name, fields in record["splits"].items()},
                **{name: arrays[name] for name in _ARRAYS},
            )
            found._require_consistent()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: does not describe records ({error!r}); {ADVICE}") from None
        for shard in found.shards:
            _require_whole(shard)
        return found

    def _require_consistent(self) -> None:
        """Refuses a manifest that someone else has written, and of which parts do not fit each other.

        Raises:
            ValueError: there are such parts.
        """
        count = sum(shard.records for shard in self.shards)
        shapes = {"places": (count, 2), "digests": (count, 16), "origins": (count, 8), "sizes": (count, 2)}
        if ALL not in self.splits or any(getattr(self, name).shape != shape for name, shape in shapes.items()):
            raise ValueError(f"{count} records")
        if any(getattr(self, name).dtype != dtype for name, dtype in _ARRAYS.items()) or self.undecodable.ndim != 1:
            raise ValueError("types of arrays")
        ends = np.repeat([shard.size for shard in self.shards], [shard.records for shard in self.shards])
        starts, lengths = self.places.T
        if (self.places < 0).any() or (lengths > ends - starts).any():
            raise ValueError("places of records")
        for name, split in self.splits.items():
            for key, values in split.columns.items():
                if values.dtype != _COLUMNS[key] or values.shape[1:] != ((4,) if key == "boxes_yxyx" else ()):
                    raise ValueError(f"{key} of the split {name}")
            images, counts = len(split.records), split.columns.get("objects", np.zeros(0, np.int64))
            fits = {images} == {len(split.ids()), len(counts if self.has_objects else split.labels)}
            fits &= all(len(split.columns[key]) == counts.sum() for key in _OBJECTS.values() if self.has_objects)
            fits &= _AREAS not in split.columns or len(split.columns[_AREAS]) == counts.sum()
            if not fits or not ((split.records >= 0) & (split.records < count)).all() or (counts < 0).any():
                raise ValueError(f"the split {name}")
            labels = split.columns["object_labels"] if self.has_objects else split.labels
            if not ((labels >= 0) & (labels < len(self.class_names))).all():
                raise ValueError(f"labels of the split {name}")


def _fields(split: Split) -> dict[str, Any]:
    """Returns what `manifest.json` says about a split."""
    defects = split.defects
    return {
        "images": len(split.records),
        "sized": split.sized,
        "notes": split.notes,
        "defects": {"counts": defects.counts, "examples": defects.examples, "costs": defects.costs},
    }


def _shard(directory: Path, fields: Mapping[str, Any]) -> Shard:
    name, size, records = fields["name"], fields["bytes"], fields["records"]
    if not isinstance(size, int) or not isinstance(records, int) or Path(name).name != name or records < 1:
        raise ValueError(f"{name}, {records} records")
    return Shard(directory / name, size, records)


def _split(name: str, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Split:
    columns = {key: arrays[f"{name}/{key}"] for key in _COLUMNS if f"{name}/{key}" in arrays}
    if len(columns["records"]) != fields["images"]:
        raise ValueError(f"{fields['images']} images of the split {name}")
    found = fields["defects"]
    defects = Defects(counts=Counter(found["counts"]), examples=found["examples"], costs=found["costs"])
    return Split(columns, fields["sized"], defects, tuple(fields["notes"]))


def _read_index(path: Path, checksum: str) -> dict[str, np.ndarray]:
    """Returns the arrays of an index.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        if f"{checked.file_crc32(path):08x}" != checksum:
            raise UserError(f"{path}: damaged, or of other records: its contents do not fit {MANIFEST}; {ADVICE}")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {ADVICE}") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged ({error}); {ADVICE}") from None


def _require_whole(shard: Shard) -> None:
    """Refuses a shard that is missing or has another size; its contents are compared when they are read."""
    try:
        size = shard.path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"{shard.path}: missing; {ADVICE}") from None
    if size != shard.size:
        raise UserError(
            f"{shard.path}: incomplete or replaced, it has {size:,} bytes instead of {shard.size:,}; {ADVICE}"
        )
