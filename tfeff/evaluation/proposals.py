"""Metrics of region proposals: recall and average best overlap (Uijlings et al., IJCV 2013, section 4).

O: number of objects in all images. C: number of proposal counts at which the metrics are computed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfeff.boxes import area, iou

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""COCO's object sizes: areas in square pixels."""


@dataclass(frozen=True, eq=False)
class ProposalCoverage:
    """The highest IoU of each object with the first n proposals of its image, for several n.

    Attributes:
        counts: the C values of n.
        best: float64 [O, C], IoU.
        labels: int [O].
        areas: float64 [O], in square pixels.
    """

    counts: tuple[int, ...]
    best: np.ndarray
    labels: np.ndarray
    areas: np.ndarray

    def recall(self, threshold: float) -> np.ndarray:
        """Returns the share of the objects with an IoU of at least `threshold`: [C]; NaN without objects."""
        return _mean(self.best >= threshold)

    @cached_property
    def average_recall(self) -> np.ndarray:
        """Mean recall over THRESHOLDS: [C]."""
        return np.mean([self.recall(threshold) for threshold in THRESHOLDS], axis=0)

    @cached_property
    def abo(self) -> np.ndarray:
        """Average best overlap (ABO) over all objects: [C]."""
        return _mean(self.best)

    @cached_property
    def mabo(self) -> np.ndarray:
        """Mean average best overlap (MABO): mean ABO over the classes that have objects: [C]."""
        return _mean(self.class_abo)

    @cached_property
    def class_abo(self) -> np.ndarray:
        """ABO of each class that has objects, in the order of `np.unique(labels)`: [classes, C]."""
        _, row, objects = np.unique(self.labels, return_inverse=True, return_counts=True)
        total = np.zeros((len(objects), len(self.counts)))
        np.add.at(total, row, self.best)
        return total / objects[:, np.newaxis]

    def for_size(self, name: str) -> "ProposalCoverage":
        """Returns the coverage of the objects of one of SIZES."""
        low, high = SIZES[name]
        rows = (self.areas >= low) & (self.areas < high)
        return ProposalCoverage(self.counts, self.best[rows], self.labels[rows], self.areas[rows])


def coverage(
    proposals: Iterable[np.ndarray],
    objects: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    counts: Sequence[int] = COUNTS,
) -> ProposalCoverage:
    """Computes how well proposals cover the objects.

    Args:
        proposals: boxes_yxyx [n, 4] of each image, best first.
        objects: boxes_yxyx [o, 4] of each image.
        labels: int [o] of each image.
        counts: numbers of proposals to evaluate, ascending. Images with fewer proposals use all of theirs.
    """
    best = [np.zeros((0, len(counts)))]
    for boxes, truth in zip(proposals, objects, strict=True):
        rows = np.zeros((len(truth), len(counts)))
        if len(truth) and len(boxes):
            running = np.maximum.accumulate(iou(boxes[: counts[-1]], truth), axis=0)
            rows = running[[min(count, len(running)) - 1 for count in counts]].T
        best.append(rows)
    return ProposalCoverage(
        counts=tuple(counts),
        best=np.concatenate(best),
        labels=np.concatenate([np.zeros(0, np.int64), *labels]),
        areas=np.concatenate([np.zeros(0), *map(area, objects)]),
    )


def _mean(rows: np.ndarray) -> np.ndarray:
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)
