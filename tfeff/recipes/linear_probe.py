"""Linear probe: how well a linear classifier separates the classes on fixed features (Alain and Bengio,
arXiv:1610.01644)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.data.folds import Fold

PENALTIES = np.logspace(-3, 3, 61)
"""Penalties to choose from, so dense that their spacing causes no difference between two sets of features. The mean
squared norm of an image's scaled features is the number of their levels."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Predictions for n images, each by a classifier that was fitted without the image's fold.

    Attributes:
        errors: float64 [n], squared distance of the predicted class indicators to the true ones (the Brier score,
            before its mean over images).
        correct: bool [n], whether the largest indicator is that of the image's class.
    """

    errors: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]


def linear_probe(features: Sequence[np.ndarray], labels: np.ndarray, parts: Sequence[Fold]) -> Probe:
    """Cross-validates ridge regression from features to class indicators.

    Each feature is standardized, and the features of each level are divided by the square root of their number, so that
    levels of many features do not dominate those of few. The penalty is the one of PENALTIES with the lowest
    leave-one-out error on the training part of the fold. Predictions are clipped to [0, 1], because one image with a
    feature that is 0 in almost all others could outweigh them. Least squares on indicators estimates probabilities of
    classes and has a closed form; without penalty and cross-validation, its explained variance is Bao et al.'s H-score
    ("An Information-Theoretic Approach to Transferability in Task Transfer Learning", ICIP 2019).

    Args:
        features: float [n, d_i] of one or more levels.
        labels: int [n].
        parts: folds whose validation parts together hold every image once.
    """
    from sklearn.linear_model import RidgeCV  # takes a second to import

    classes, codes = np.unique(labels, return_inverse=True)
    indicators = np.eye(len(classes))[codes]
    predicted = np.empty_like(indicators)
    for part in parts:
        train, held_out = part.train, part.validation
        if not len(held_out):  # of few large groups
            continue
        scaled = np.concatenate([_scaled(level, train) for level in features], axis=1)
        ridge = RidgeCV(alphas=PENALTIES).fit(scaled[train], indicators[train])
        predicted[held_out] = ridge.predict(scaled[held_out])
    errors = (np.clip(predicted, 0.0, 1.0) - indicators) ** 2
    return Probe(errors.sum(axis=1), predicted.argmax(axis=1) == codes)


def _scaled(level: np.ndarray, train: np.ndarray) -> np.ndarray:
    """float64 [n, d], with the mean and standard deviation of the training images."""
    level = np.asarray(level, np.float64)
    deviation = level[train].std(axis=0)
    return (level - level[train].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0) / np.sqrt(level.shape[1])
