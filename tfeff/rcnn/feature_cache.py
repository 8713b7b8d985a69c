"""Features of all regions of a split, cached on disk. The backbone is frozen, so each is computed once.

```
<split>/features.bin   float16 [regions, D], image by image
<split>/index.jsonl    one line per image: its id, number of regions, and a digest of what they were computed from
```

The line of an image is written after its features. A resumed run recomputes the features of images without a complete
line.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Compute = Callable[[int], np.ndarray]
"""Index of an image -> features [n, D]."""


@dataclass(frozen=True, eq=False)
class CachedFeatures:
    """The features of a split.

    Attributes:
        features: float16 [regions, D], memory-mapped.
        starts: int64 [images + 1]; the regions of image i are rows starts[i] to starts[i + 1].
    """

    features: np.ndarray
    starts: np.ndarray

    def of_image(self, image: int) -> np.ndarray:
        """float16 [n, D] of one image."""
        return self.features[self.starts[image] : self.starts[image + 1]]


def cached_features(
    directory: Path,
    ids: Sequence[str],
    digests: Sequence[str],
    size: int,
    compute: Compute,
    progress: Callable[[int], None] = lambda done: None,
) -> CachedFeatures:
    """The features of all images. Missing ones are computed, in the order of the images.

    Args:
        directory: of the split. Features of other images or with other digests are replaced.
        ids: one per image.
        digests: one per image, of everything its features are computed from: boxes, file, backbone.
        size: D.
        compute: computes the features of an image.
        progress: called with the number of images done.
    """
    directory.mkdir(parents=True, exist_ok=True)
    index_path, features_path = directory / "index.jsonl", directory / "features.bin"
    counts = _valid_counts(index_path, ids, digests)
    row_bytes = 2 * size
    rows_on_disk = features_path.stat().st_size // row_bytes if features_path.exists() else 0
    while sum(counts) > rows_on_disk:
        counts.pop()
    with features_path.open("ab") as features, index_path.open("a") as index:
        features.truncate(sum(counts) * row_bytes)
        index.truncate(_prefix_bytes(index_path, len(counts)))
        for image in range(len(counts), len(ids)):
            progress(image)
            computed = np.ascontiguousarray(compute(image), np.float16)
            features.write(computed.tobytes())
            features.flush()
            index.write(json.dumps({"id": ids[image], "regions": len(computed), "of": digests[image]}) + "\n")
            index.flush()
            counts.append(len(computed))
    progress(len(ids))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if not starts[-1]:
        return CachedFeatures(np.zeros((0, size), np.float16), starts)
    return CachedFeatures(np.memmap(features_path, np.float16, mode="r", shape=(int(starts[-1]), size)), starts)


def _valid_counts(index_path: Path, ids: Sequence[str], digests: Sequence[str]) -> list[int]:
    """Number of regions of each leading image whose line is complete and up to date."""
    counts = []
    text = index_path.read_text() if index_path.exists() else ""
    for line, name, digest in zip(text.splitlines(), ids, digests, strict=False):
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record["id"] != name or record["of"] != digest:
            break
        counts.append(record["regions"])
    return counts


def _prefix_bytes(path: Path, count: int) -> int:
    """Size of the first lines of a file."""
    return sum(len(line) for line in path.read_bytes().splitlines(keepends=True)[:count])
