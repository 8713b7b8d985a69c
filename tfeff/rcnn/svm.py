"""Linear support vector machines by hard-negative mining (Girshick et al., arXiv:1311.2524, section 2.3)."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.svm import LinearSVC


class Features(Protocol):
    """Standardised features [n, D], read some rows at a time: the whole may not fit into memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, D)."""

    def __getitem__(self, rows: npt.NDArray[np.int64] | slice) -> np.ndarray:
        """float32 [len(rows), D]."""


@dataclass(frozen=True)
class Mining:
    """How a machine finds its negatives.

    Attributes:
        first: negatives that it starts with, drawn by the seed.
        rounds: of fitting, at most, with a look at all negatives between two; it ends before when none is new.
        hardest: most negatives that a round adds, those of the largest margins.
        margin: from which on a negative is hard; those below EASY are dropped again.
    """

    first: int = 4000
    rounds: int = 6
    hardest: int = 4000
    margin: float = -1.0


EASY = -1.2
"""Margin below which a negative that is known is let go."""
CHUNK = 4096
"""Rows whose margins are computed at once."""
FIT_BYTES = 4 << 30
"""Memory of the fits that run at once; a single one may take more."""


def machines(
    features: Features,
    positives: Sequence[np.ndarray],
    overlaps: np.ndarray,
    *,
    negative_overlap: float,
    penalty: float,
    positive_weight: float,
    mining: Mining,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """A machine a class, each against what is none of it; a round reads the features once for all of them.

    Args:
        features: n regions.
        positives: int [p], rows of the objects of each of C classes; at least one.
        overlaps: float [n, C], most that each region overlaps an object of each class; NaN if it is to be left out.
        negative_overlap: a region that overlaps by less is a negative; each class needs one.
        penalty: C of the machines: a smaller one gives smaller weights.
        positive_weight: how many times a positive counts.
        mining: of the negatives.
        seed: of the first ones.

    Returns:
        weights float64 [D, C] and biases float64 [C].
    """
    found = [
        _Machine(
            features,
            positive,
            np.flatnonzero(overlaps[:, number] < negative_overlap),
            number,
            penalty,
            positive_weight,
            mining,
            seed,
        )
        for number, positive in enumerate(positives)
    ]
    learning = found
    for number in range(mining.rounds):
        with ThreadPoolExecutor(_workers(learning)) as threads:
            list(threads.map(_Machine.fit, learning))
        if number == mining.rounds - 1:
            break
        weights, biases = (of.astype(np.float32) for of in _stacked(learning))
        for start in range(0, features.shape[0], CHUNK):
            margins = features[start : start + CHUNK] @ weights + biases
            for machine, column in zip(learning, margins.T, strict=True):
                own = overlaps[start : start + CHUNK, machine.number]
                machine.look(start, column, own < negative_overlap)
        learning = [machine for machine in learning if machine.learns_more()]
        if not learning:
            break
    return _stacked(found)


class _Machine:
    """The machine of class `number` with the negatives that it knows so far."""

    def __init__(
        self,
        features: Features,
        positive: np.ndarray,
        negative: np.ndarray,
        number: int,
        penalty: float,
        positive_weight: float,
        mining: Mining,
        seed: int,
    ) -> None:
        self.number = number
        self._features, self._positive, self._mining = features, np.sort(positive), mining
        self._known = np.sort(np.random.default_rng(seed).permutation(negative)[: mining.first])
        self._margins = np.zeros(len(self._known), np.float32)
        self._hard, self._hardness = np.zeros(0, np.int64), np.zeros(0, np.float32)
        self._machine = LinearSVC(C=penalty, class_weight={1: positive_weight}, dual=False, intercept_scaling=1.0)
        self.weights, self.bias = np.zeros(features.shape[1]), 0.0

    @property
    def fit_bytes(self) -> int:
        """What a fit takes at most: the features in float32 and float64, and as liblinear's pairs of 16 bytes."""
        return 28 * (len(self._positive) + len(self._known)) * len(self.weights)

    def fit(self) -> None:
        """Learns from the positives and the negatives that are known."""
        x = np.concatenate([self._features[self._positive], self._features[self._known]])
        y = np.r_[np.ones(len(self._positive)), np.zeros(len(self._known))]
        fitted = self._machine.fit(x, y)
        self.weights, self.bias = fitted.coef_[0].copy(), float(fitted.intercept_[0])

    def look(self, start: int, margins: np.ndarray, negative: np.ndarray) -> None:
        """Notes the hardest negatives and how hard those that are known are.

        Args:
            start: the first of some rows that follow those of the last call.
            margins: float32 [k].
            negative: bool [k].
        """
        first, last = np.searchsorted(self._known, [start, start + len(margins)])
        self._margins[first:last] = margins[self._known[first:last] - start]
        found = np.flatnonzero(negative & (margins > self._mining.margin))
        rows, hardness = np.r_[self._hard, found + start], np.r_[self._hardness, margins[found]]
        order = np.argsort(-hardness, kind="stable")[: self._mining.hardest]
        self._hard, self._hardness = rows[order], hardness[order]

    def learns_more(self) -> bool:
        """Takes in the hardest negatives and lets go of easy ones; False if none is new."""
        grown = np.union1d(self._known[self._margins > EASY], self._hard)
        more = not np.isin(grown, self._known).all()
        self._known, self._margins = grown, np.zeros(len(grown), np.float32)
        self._hard, self._hardness = self._hard[:0], self._hardness[:0]
        return more


def _workers(learning: Sequence[_Machine]) -> int:
    """Fits at once: one a core, as far as FIT_BYTES goes."""
    largest = max(machine.fit_bytes for machine in learning)
    return max(1, min(os.cpu_count() or 1, len(learning), FIT_BYTES // largest))


def _stacked(of: Sequence[_Machine]) -> tuple[np.ndarray, np.ndarray]:
    """Weights float64 [D, C] and biases float64 [C]."""
    return np.stack([machine.weights for machine in of], axis=1), np.array([machine.bias for machine in of])
