"""A store of region features on disk, which runs share. A backbone is frozen, so each feature is computed once.

```
features.bin   float16 [regions, D], image by image
index.jsonl    one line per image: a digest of everything that its features were computed from, and their number
```

The line of an image is written after its features. Lines of a killed process without features, and features without a
line, are dropped.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tfeff.durable import locked

Compute = Callable[[int], np.ndarray]
"""Index of an image -> features [n, D]."""


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
        """float16 [n, D]."""
        return self._file[self._rows[rows]]


def stored_features(
    directory: Path,
    digests: Sequence[str],
    size: int,
    compute: Compute,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[StoredFeatures, np.ndarray]:
    """The features of all images, and int64 [images], how many regions each has. Missing ones are computed and added.

    Args:
        directory: of the store. If features are missing, another process that adds to it is waited for.
        digests: one per image, of everything its features are computed from: boxes, file, backbone.
        size: D.
        compute: computes the features of an image.
        progress: called with the number of images done, and of all.
    """
    index_path, features_path = directory / "index.jsonl", directory / "features.bin"
    known = _read(index_path, features_path, size)[0]
    if not known.keys() >= set(digests):
        with locked(directory, "task.features.directory", wait=True):
            known = _completed(index_path, features_path, digests, size, compute, progress)
    end = max((start + count for start, count in known.values()), default=0)
    found = np.array([known[digest] for digest in digests], np.int64).reshape(-1, 2)
    rows = [np.arange(start, start + count) for start, count in found]
    file = np.memmap(features_path, np.float16, mode="r", shape=(end, size)) if end else np.zeros((0, size), np.float16)
    return StoredFeatures(file, np.concatenate([*rows, np.zeros(0, np.int64)])), found[:, 1]


def _completed(
    index_path: Path,
    features_path: Path,
    digests: Sequence[str],
    size: int,
    compute: Compute,
    progress: Callable[[int, int], None],
) -> dict[str, tuple[int, int]]:
    """Adds what is missing to a locked store; returns what `_read` returns."""
    row_bytes = 2 * size
    known, text = _read(index_path, features_path, size)
    end = max((start + count for start, count in known.values()), default=0)
    with features_path.open("ab") as features, index_path.open("a") as index:
        features.truncate(end * row_bytes)
        index.truncate(len(text.encode()))
        for image, digest in enumerate(digests):
            progress(image, len(digests))
            if digest in known:
                continue
            computed = np.ascontiguousarray(compute(image), np.float16)
            features.write(computed.tobytes())
            features.flush()
            index.write(json.dumps({"of": digest, "regions": len(computed)}) + "\n")
            index.flush()
            known[digest] = end, len(computed)
            end += len(computed)
    progress(len(digests), len(digests))
    return known


def _read(path: Path, features_path: Path, size: int) -> tuple[dict[str, tuple[int, int]], str]:
    """Start and number of the rows of each complete image, by digest; the text of the complete lines."""
    known, kept, start = dict[str, tuple[int, int]](), list[str](), 0
    rows = features_path.stat().st_size // (2 * size) if features_path.exists() else 0
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not line.endswith("\n") or start + record["regions"] > rows:
            break
        known[record["of"]] = start, record["regions"]
        start += record["regions"]
        kept.append(line)
    return known, "".join(kept)
