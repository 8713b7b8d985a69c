"""Linear support vector machines by hard-negative mining (Girshick et al., arXiv:1311.2524, section 2.3)."""

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

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> np.ndarray:
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


def machine(
    features: Features,
    positive: np.ndarray,
    negative: np.ndarray,
    *,
    penalty: float,
    positive_weight: float,
    mining: Mining,
    seed: int,
) -> tuple[np.ndarray, float]:
    """One class against what is none of it.

    Args:
        features: n regions.
        positive: int [p], rows of its objects; at least one.
        negative: int [q], rows that hold none of it; at least one.
        penalty: C of the machine: a smaller one gives smaller weights.
        positive_weight: how many times a positive counts.
        mining: of the negatives.
        seed: of the first ones.

    Returns:
        weights float64 [D] and bias.
    """
    rng = np.random.default_rng(seed)
    positives = features[np.sort(positive)]
    known = np.sort(rng.permutation(negative)[: mining.first])
    weights, bias = np.zeros(features.shape[1]), 0.0
    for _ in range(mining.rounds):
        x = np.concatenate([positives, features[known]])
        y = np.r_[np.ones(len(positives)), np.zeros(len(known))]
        fitted = LinearSVC(C=penalty, class_weight={1: positive_weight}, dual=False, intercept_scaling=1.0).fit(x, y)
        weights, bias = fitted.coef_[0], float(fitted.intercept_[0])
        margins = scores(features, negative, weights, bias)
        hard = np.argsort(-margins, kind="stable")[: mining.hardest]
        hard = negative[hard[margins[hard] > mining.margin]]
        kept = known[x[len(positives) :] @ weights + bias > EASY]
        grown = np.union1d(kept, hard)
        if np.isin(grown, known).all():
            break
        known = grown
    return weights, bias


def scores(features: Features, rows: np.ndarray, weights: np.ndarray, bias: float) -> np.ndarray:
    """Margins float32 [len(rows)]."""
    w = weights.astype(np.float32)
    parts = [features[part] @ w + np.float32(bias) for part in chunks(rows)]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def chunks(rows: np.ndarray, count: int = 16384) -> list[np.ndarray]:
    """The rows, `count` at a time."""
    return [rows[start : start + count] for start in range(0, len(rows), count)]
