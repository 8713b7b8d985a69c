"""Linear SVMs trained with hard-negative mining (Girshick et al., arXiv:1311.2524, section 2.3).

The loss is not quite that of the paper's code (`rcnn_train.m`), which minimizes the hinge and regularizes the bias a
hundredth as much as a weight (`bias_mult` 10): here, the hinge is squared, and the bias is regularized like a weight.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.svm import LinearSVC

from tfeff.execution.resources import cores


class FeatureRows(Protocol):
    """Standardized features [n, D], read a few rows at a time because they may not fit into memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, D)."""

    def __getitem__(self, rows: npt.NDArray[np.int64] | slice) -> np.ndarray:
        """Returns float32 [len(rows), D]."""


@dataclass(frozen=True)
class Mining:
    """Settings of hard-negative mining.

    Attributes:
        initial: number of negatives drawn by the seed for the first round.
        rounds: maximum number of fits. All negatives are scored between two fits; mining ends early when no new hard
            negative is found.
        hardest: maximum number of new negatives that a round adds, by margin.
        margin: negatives above this margin are hard.
    """

    initial: int = 4000
    rounds: int = 6
    hardest: int = 4000
    margin: float = -1.0


EASY = -1.2
"""Mined negatives below this margin are dropped again."""
CHUNK = 4096
"""Rows scored at once."""
FIT_BYTES = 4 << 30
"""Memory of the fits that run in parallel. A single fit may take more."""


def linear_svms(
    features: FeatureRows,
    positives: Sequence[np.ndarray],
    overlaps: np.ndarray,
    *,
    negative_overlap: float,
    penalty: float,
    positive_weight: float,
    mining: Mining,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Trains one SVM per class. A round of mining reads the features once for all classes.

    Args:
        features: the features of n regions, D each.
        positives: for each of C classes, the rows int [p] of its objects; at least one.
        overlaps: float [n, C], the largest IoU of each region with an object of each class; NaN: ignored.
        negative_overlap: regions with a smaller overlap are negatives of a class; each class needs one.
        penalty: the SVMs' C; smaller values give smaller weights.
        positive_weight: weight of positives in the loss.
        mining: how negatives are mined.
        seed: draws the initial negatives.

    Returns:
        weights float64 [D, C] and biases float64 [C].
    """
    svms = [
        _ClassSVM(
            features,
            positive,
            np.flatnonzero(overlaps[:, label] < negative_overlap),
            label,
            penalty,
            positive_weight,
            mining,
            seed,
        )
        for label, positive in enumerate(positives)
    ]
    active = svms
    for round_number in range(mining.rounds):
        with ThreadPoolExecutor(_workers(active)) as threads:
            list(threads.map(_ClassSVM.fit, active))
        if round_number == mining.rounds - 1:
            break
        weights, biases = (values.astype(np.float32) for values in _stacked(active))
        for start in range(0, features.shape[0], CHUNK):
            margins = features[start : start + CHUNK] @ weights + biases
            for svm, column in zip(active, margins.T, strict=True):
                own_overlaps = overlaps[start : start + CHUNK, svm.label]
                svm.mine(start, column, own_overlaps < negative_overlap)
        active = [svm for svm in active if svm.update_negatives()]
        if not active:
            break
    return _stacked(svms)


class _ClassSVM:
    """The SVM of one class and the negatives mined so far."""

    def __init__(
        self,
        features: FeatureRows,
        positive: np.ndarray,
        negative: np.ndarray,
        label: int,
        penalty: float,
        positive_weight: float,
        mining: Mining,
        seed: int,
    ) -> None:
        self.label = label
        self._features, self._positive, self._mining = features, np.sort(positive), mining
        self._mined = np.sort(np.random.default_rng(seed).permutation(negative)[: mining.initial])
        self._margins = np.zeros(len(self._mined), np.float32)
        self._hard, self._hard_margins = np.zeros(0, np.int64), np.zeros(0, np.float32)
        self._svc = LinearSVC(C=penalty, class_weight={1: positive_weight}, dual=False, intercept_scaling=1.0)
        self.weights, self.bias = np.zeros(features.shape[1]), 0.0

    @property
    def fit_bytes(self) -> int:
        """Peak memory of a fit: the features in float32 and float64, and as liblinear's pairs of 16 bytes."""
        return 28 * (len(self._positive) + len(self._mined)) * len(self.weights)

    def fit(self) -> None:
        """Fits the SVM to the positives and the mined negatives."""
        x = np.concatenate([self._features[self._positive], self._features[self._mined]])
        y = np.r_[np.ones(len(self._positive)), np.zeros(len(self._mined))]
        fitted = self._svc.fit(x, y)
        self.weights, self.bias = fitted.coef_[0].copy(), float(fitted.intercept_[0])

    def mine(self, start: int, margins: np.ndarray, negative: np.ndarray) -> None:
        """Keeps the hardest new negatives of k rows, and the margins of the mined negatives among them.

        Args:
            start: index of the first row; calls go through the rows in order.
            margins: float32 [k].
            negative: bool [k].
        """
        first, last = np.searchsorted(self._mined, [start, start + len(margins)])
        mined = self._mined[first:last] - start
        self._margins[first:last] = margins[mined]
        new = negative & (margins > self._mining.margin)
        new[mined] = False
        hard = np.flatnonzero(new)
        rows, hard_margins = np.r_[self._hard, hard + start], np.r_[self._hard_margins, margins[hard]]
        order = np.argsort(-hard_margins, kind="stable")[: self._mining.hardest]
        self._hard, self._hard_margins = rows[order], hard_margins[order]

    def update_negatives(self) -> bool:
        """Adds the hardest new negatives and drops easy ones; False if there are no new ones."""
        has_new = len(self._hard) > 0
        self._mined = np.union1d(self._mined[self._margins > EASY], self._hard)
        self._margins = np.zeros(len(self._mined), np.float32)
        self._hard, self._hard_margins = self._hard[:0], self._hard_margins[:0]
        return has_new


def _workers(svms: Sequence[_ClassSVM]) -> int:
    """Returns the number of parallel fits: one per core, within FIT_BYTES."""
    largest = max(svm.fit_bytes for svm in svms)
    return max(1, min(cores(), len(svms), FIT_BYTES // largest))


def _stacked(svms: Sequence[_ClassSVM]) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights float64 [D, C] and biases float64 [C]."""
    return np.stack([svm.weights for svm in svms], axis=1), np.array([svm.bias for svm in svms])
