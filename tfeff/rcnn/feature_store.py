"""A store of region features on disk, which runs share. A backbone is frozen, so each feature is computed once.

```
features.bin   float16 [regions, D], image by image
index.jsonl    one line per image: a digest of everything that its features were computed from, their first row, their
               number, and the checksums of the features and of the line
```

The line of an image is written after its features. Lines of a killed process without features, and features without a
line, are dropped; so are damaged lines and features, which are computed again.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tfeff import checked
from tfeff.durable import locked

LARGEST = float(np.finfo(np.float16).max)
"""Largest absolute value of a feature."""
Compute = Callable[[int], np.ndarray]
"""Index of an image -> features [n, D]."""


class _Place(NamedTuple):
    """Rows of the file that hold the features of an image, and their checksum."""

    start: int
    regions: int
    checksum: int

    @property
    def end(self) -> int:
        return self.start + self.regions

    def to_dict(self, digest: str) -> dict[str, Any]:
        return {"of": digest, "start": self.start, "regions": self.regions, "features_crc32": self.checksum}


class StoredFeatures:
    """The features of R regions: rows of a file, read a few at a time because they may not fit into memory.

    Args:
        file: float16 [., D].
        rows: int64 [R], the row of each region.
    """

    def __init__(self, file: np.ndarray, rows: np.ndarray) -> None:
        self._file, self._rows = file, rows
        self.shape: tuple[int, ...] = len(rows), file.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """Returns float16 [n, D]."""
        return self._file[self._rows[rows]]


def stored_features(
    directory: Path,
    digests: Sequence[str],
    size: int,
    compute: Compute,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[StoredFeatures, np.ndarray]:
    """Returns the features of all images, and int64 [images], how many regions each has.

    Missing ones are computed and added.

    Args:
        directory: the store's folder. If features are missing and another process is adding to it, this waits for that.
        digests: one per image, of everything its features are computed from: boxes, file, backbone.
        size: D.
        compute: computes the features of an image.
        progress: called with the number of images done, and of all.
    """
    index_path, features_path = directory / "index.jsonl", directory / "features.bin"
    used = set(digests)
    known = _read(index_path, features_path, size, used)
    if not known.keys() >= used:
        with locked(directory, "task.features.directory", wait=True):
            known = _read(index_path, features_path, size, used, checked_before=known)
            _add(index_path, features_path, known, digests, size, compute, progress)
    end = max((place.end for place in known.values()), default=0)
    found = np.array([known[digest][:2] for digest in digests], np.int64).reshape(-1, 2)
    rows = [np.arange(start, start + count) for start, count in found]
    file = np.memmap(features_path, np.float16, mode="r", shape=(end, size)) if end else np.zeros((0, size), np.float16)
    return StoredFeatures(file, np.concatenate([*rows, np.zeros(0, np.int64)])), found[:, 1]


def _add(
    index_path: Path,
    features_path: Path,
    known: dict[str, _Place],
    digests: Sequence[str],
    size: int,
    compute: Compute,
    progress: Callable[[int, int], None],
) -> None:
    """Adds what is missing to a locked store, and to `known`, what `_read` has just returned."""
    end = max((place.end for place in known.values()), default=0)
    checked.write_lines(index_path, (place.to_dict(digest) for digest, place in known.items()))
    with features_path.open("ab") as features, index_path.open("a") as index:
        features.truncate(end * 2 * size)
        for image, digest in enumerate(digests):
            progress(image, len(digests))
            if digest in known:
                continue
            computed = np.ascontiguousarray(compute(image), np.float16)
            features.write(computed.tobytes())
            features.flush()
            known[digest] = _Place(end, len(computed), zlib.crc32(computed.data))
            index.write(checked.to_line(known[digest].to_dict(digest)))
            index.flush()
            end += len(computed)
    progress(len(digests), len(digests))


def _read(
    path: Path,
    features_path: Path,
    size: int,
    used: Set[str],
    checked_before: Mapping[str, _Place] = MappingProxyType({}),
) -> dict[str, _Place]:
    """Returns the places of the features of each image, by digest.

    Features that are `used` are read to find damaged ones, except those that an earlier call has checked.
    """
    places, damaged = dict[str, _Place](), 0
    lines = checked.read_lines(path, "the features of its image are computed again")
    rows = features_path.stat().st_size // (2 * size) if features_path.exists() else 0
    features = np.memmap(features_path, np.float16, mode="r", shape=(rows, size)) if rows else np.zeros((0, size))
    for line in lines:
        place = _Place(line["start"], line["regions"], line["features_crc32"])
        if place.end > rows:  # of a killed process
            continue
        known = line["of"] not in used or checked_before.get(line["of"]) == place
        if known or zlib.crc32(features[place.start : place.end].tobytes()) == place.checksum:
            places[line["of"]] = place
        else:
            damaged += 1
    if damaged:
        checked.warn(f"{features_path}: the features of {damaged:,} images are damaged; they are computed again")
    return places
