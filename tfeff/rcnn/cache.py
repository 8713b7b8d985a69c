"""Features of all regions of a split, kept on disk: the backbone is frozen, so that none is computed twice.

```
<split>/features.bin   float16 [regions, D], image after image
<split>/index.jsonl    a line an image: its id, how many regions, digest of what they were computed from
```

An image counts once its line is written, after its features; what a kill cut off is computed again.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Compute = Callable[[int], np.ndarray]
"""Number of an image -> features [n, D]."""


@dataclass(frozen=True, eq=False)
class Cached:
    """The features of a split.

    Attributes:
        features: float16 [regions, D], mapped from the disk.
        starts: int64 [images + 1]; regions of image i are rows starts[i] to starts[i + 1].
    """

    features: np.ndarray
    starts: np.ndarray

    def of(self, image: int) -> np.ndarray:
        """float16 [n, D] of one image."""
        return self.features[self.starts[image] : self.starts[image + 1]]


def cached(
    directory: Path,
    ids: Sequence[str],
    contents: Sequence[str],
    size: int,
    compute: Compute,
    progress: Callable[[int], None] = lambda done: None,
) -> Cached:
    """The features of all images; those that are not there yet are computed, in the order of the images.

    Args:
        directory: of the split; what other images or other contents left there is replaced.
        ids: of the images.
        contents: a digest for each image of what its features are computed from: boxes, file, backbone.
        size: D.
        compute: gives those of an image.
        progress: told how many images are done.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lines, data = directory / "index.jsonl", directory / "features.bin"
    counts = _known(lines, ids, contents)
    row = 2 * size
    have = data.stat().st_size // row if data.exists() else 0
    while sum(counts) > have:
        counts.pop()
    with data.open("ab") as features, lines.open("a") as index:
        features.truncate(sum(counts) * row)
        index.truncate(_length(lines, len(counts)))
        for image in range(len(counts), len(ids)):
            progress(image)
            found = np.ascontiguousarray(compute(image), np.float16)
            features.write(found.tobytes())
            features.flush()
            index.write(json.dumps({"id": ids[image], "regions": len(found), "of": contents[image]}) + "\n")
            index.flush()
            counts.append(len(found))
    progress(len(ids))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if not starts[-1]:
        return Cached(np.zeros((0, size), np.float16), starts)
    return Cached(np.memmap(data, np.float16, mode="r", shape=(int(starts[-1]), size)), starts)


def _known(lines: Path, ids: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Regions of the first images, as far as they are these and whole."""
    counts = []
    text = lines.read_text() if lines.exists() else ""
    for line, name, of in zip(text.splitlines(), ids, wanted, strict=False):
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record["id"] != name or record["of"] != of:
            break
        counts.append(record["regions"])
    return counts


def _length(lines: Path, count: int) -> int:
    """Bytes of the first lines."""
    return sum(len(line) for line in lines.read_bytes().splitlines(keepends=True)[:count])
