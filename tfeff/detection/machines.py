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
        rounds: at most; it ends before when a round finds no new ones.
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


def machines(
    features: Features,
    positives: Sequence[np.ndarray],
    negatives: Sequence[np.ndarray],
    *,
    penalty: float,
    positive_weight: float,
    mining: Mining,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """A machine a class, each against what is none of it; a round reads the features once for all of them.

    Args:
        features: n regions.
        positives: int [p], rows of the objects of each of C classes; at least one.
        negatives: int [q], rows that hold none of the class; at least one.
        penalty: C of the machines: a smaller one gives smaller weights.
        positive_weight: how many times a positive counts.
        mining: of the negatives.
        seed: of the first ones.

    Returns:
        weights float64 [D, C] and biases float64 [C].
    """
    found = [
        _Machine(features, positive, negative, penalty, positive_weight, mining, seed)
        for positive, negative in zip(positives, negatives, strict=True)
    ]
    learning = found
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in range(mining.rounds):
            list(threads.map(_Machine.fit, learning))
            scores = margins(features, *stacked(learning))
            learning = [
                machine for machine, column in zip(learning, scores.T, strict=True) if machine.learns_more(column)
            ]
            if not learning:
                break
    return stacked(found)


class _Machine:
    """One class' machine with the negatives that it knows so far; arguments as those of `machines`."""

    def __init__(
        self,
        features: Features,
        positive: np.ndarray,
        negative: np.ndarray,
        penalty: float,
        positive_weight: float,
        mining: Mining,
        seed: int,
    ) -> None:
        self._features, self._negative, self._mining = features, negative, mining
        self._positives = features[np.sort(positive)]
        self._known = np.sort(np.random.default_rng(seed).permutation(negative)[: mining.first])
        self._machine = LinearSVC(C=penalty, class_weight={1: positive_weight}, dual=False, intercept_scaling=1.0)
        self.weights, self.bias = np.zeros(features.shape[1]), 0.0

    def fit(self) -> None:
        """Learns from the positives and the negatives that are known."""
        x = np.concatenate([self._positives, self._features[self._known]])
        y = np.r_[np.ones(len(self._positives)), np.zeros(len(self._known))]
        fitted = self._machine.fit(x, y)
        self.weights, self.bias = fitted.coef_[0].copy(), float(fitted.intercept_[0])

    def learns_more(self, scores: np.ndarray) -> bool:
        """Takes in the hardest negatives and lets go of easy ones; False if none is new.

        Args:
            scores: float [n], margins of all regions.
        """
        of_negatives = scores[self._negative]
        hard = np.argsort(-of_negatives, kind="stable")[: self._mining.hardest]
        hard = self._negative[hard[of_negatives[hard] > self._mining.margin]]
        grown = np.union1d(self._known[scores[self._known] > EASY], hard)
        more = not np.isin(grown, self._known).all()
        self._known = grown
        return more


def stacked(of: Sequence[_Machine]) -> tuple[np.ndarray, np.ndarray]:
    """Weights float64 [D, C] and biases float64 [C]."""
    return np.stack([machine.weights for machine in of], axis=1), np.array([machine.bias for machine in of])


def margins(features: Features, weights: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Margins of every region, float32 [n, C]."""
    w, b = weights.astype(np.float32), biases.astype(np.float32)
    parts = [features[start : start + CHUNK] @ w + b for start in range(0, features.shape[0], CHUNK)]
    return np.concatenate(parts)
