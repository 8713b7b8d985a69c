"""How well proposals cover objects: recall, average best overlap (Uijlings et al., IJCV 2013, section 4).

O: objects of all images together. C: numbers of proposals that are looked at.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfeff.boxes import area, iou

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""Areas in square pixels, as COCO has them."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """The best overlap of each object with the first so many proposals of its image.

    Attributes:
        counts: the C numbers of proposals.
        best: float64 [O, C], intersection over union.
        labels: int [O].
        areas: float64 [O], square pixels.
    """

    counts: tuple[int, ...]
    best: np.ndarray
    labels: np.ndarray
    areas: np.ndarray

    def recall(self, threshold: float) -> np.ndarray:
        """Share of objects that some proposal overlaps by `threshold` or more: [C]; NaN where there is no object."""
        return _mean(self.best >= threshold)

    @cached_property
    def average_recall(self) -> np.ndarray:
        """Mean recall over THRESHOLDS: [C]."""
        return np.mean([self.recall(threshold) for threshold in THRESHOLDS], axis=0)

    @cached_property
    def abo(self) -> np.ndarray:
        """Average best overlap over all objects: [C]."""
        return _mean(self.best)

    @cached_property
    def mabo(self) -> np.ndarray:
        """Mean over classes (that have objects) of their average best overlap: [C]."""
        return _mean(
            np.array([self.of_class(label).abo for label in np.unique(self.labels)]).reshape(-1, len(self.counts))
        )

    def of_class(self, label: int) -> "Coverage":
        """Of the objects of one class."""
        return self._where(self.labels == label)

    def of_size(self, name: str) -> "Coverage":
        """Of the objects of one of SIZES."""
        low, high = SIZES[name]
        return self._where((self.areas >= low) & (self.areas < high))

    def _where(self, chosen: np.ndarray) -> "Coverage":
        return Coverage(self.counts, self.best[chosen], self.labels[chosen], self.areas[chosen])


def coverage(
    proposals: Iterable[np.ndarray],
    objects: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    counts: Sequence[int] = COUNTS,
) -> Coverage:
    """Measures the proposals of some images.

    Args:
        proposals: boxes_yxyx [n, 4] of each image, best first.
        objects: boxes_yxyx [o, 4] of each image.
        labels: int [o] of each image.
        counts: numbers of proposals to look at, rising; an image that has fewer is looked at with what it has.
    """
    best = [np.zeros((0, len(counts)))]
    for boxes, wanted in zip(proposals, objects, strict=True):
        rows = np.zeros((len(wanted), len(counts)))
        if len(wanted) and len(boxes):
            running = np.maximum.accumulate(iou(boxes[: counts[-1]], wanted), axis=0)
            rows = running[[min(count, len(running)) - 1 for count in counts]].T
        best.append(rows)
    return Coverage(
        counts=tuple(counts),
        best=np.concatenate(best),
        labels=np.concatenate([np.zeros(0, np.int64), *labels]),
        areas=np.concatenate([np.zeros(0), *map(area, objects)]),
    )


def _mean(rows: np.ndarray) -> np.ndarray:
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)
