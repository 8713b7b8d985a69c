"""Which layers to train from pretrained weights: a rule for the number of training images and their features.

The usual advice is from the notes on transfer learning of Stanford's course CS231n. If there are few images and they
are similar to those of the weights, train a linear classifier on the last features. If they are few and different,
train from earlier layers on. If they are many, fine-tune all layers. (For few and different images, the notes only
suggest a linear classifier on earlier features; here, the later layers are trained too.) Two questions must be
answered, and both are without thresholds of our own:

- Few: a linear classifier of two classes, with d features and so d + 1 weights, fits at least half of all labelings of
  up to 2 (d + 1) images (Cover, "Geometrical and Statistical Properties of Systems of Linear Inequalities with
  Applications in Pattern Recognition", 1965). Training more layers then adds freedom that the images do not constrain.
- Different: the last layers have discarded what these images need, so that a linear probe gets better with the features
  of earlier layers. Fine-tuning improves on a linear classifier mostly by such features (Evci et al., "Head2Toe",
  arXiv:2201.03529). Probes are compared by squared error: accuracies on a few hundred images differ too little.

A linear probe says how well a linear classifier separates the classes on fixed features (Alain and Bengio,
arXiv:1610.01644).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.data import folds
from tfeff.data.folds import Fold

FOLDS = 5
PROBED = 1000
"""Images that are probed at most: about a minute for EfficientNet-Lite0 on one CPU core, half an hour for B7."""
QUANTILE = 1.96
"""Quantile of the normal distribution for 95 % intervals."""
FACTORS = ("*=0.1", "head_classifier*=1")
"""`optimizer.learning_rate_factors`: trained layers that are not new learn at a tenth of the classifier's rate."""


@dataclass(frozen=True)
class Start:
    """The probe on the features of one level and all later ones.

    Attributes:
        level: the earliest of these levels.
        error: mean squared error of the class indicators, see `linear_probe.Probe`.
        accuracy: fraction of images that are classified correctly.
        excess: `error` minus the lowest one of all levels.
        margin: half the width of the 95 % interval of `excess`.
    """

    level: str
    error: float
    accuracy: float
    excess: float
    margin: float

    @property
    def suffices(self) -> bool:
        """Whether its error cannot be told from the lowest one."""
        return self.excess <= self.margin


def few(count: int, features: int) -> bool:
    """Returns whether a linear classifier fits at least half of all labelings of the training images with two classes.

    Args:
        count: number of training images.
        features: the features of an image that the classifier reads.
    """
    return count <= 2 * (features + 1)


def probe(
    features: Mapping[str, np.ndarray], labels: np.ndarray, groups: np.ndarray | None = None
) -> tuple[Start, ...]:
    """Probes the features from each level on, in `FOLDS` folds.

    The intervals take images (or groups of them) as independent; that folds share training images is ignored.

    Args:
        features: float [n, d_i] by level, from the first one to the classifier's input.
        labels: int [n].
        groups: int [n]; images of one group, such as crops of one photograph, stay in one fold.

    Returns:
        One for each level, in their order; empty if there are fewer than two images or groups per fold.
    """
    members = np.unique(np.arange(len(labels)) if groups is None else groups, return_inverse=True)[1]
    if members.max(initial=-1) + 1 < 2 * FOLDS:
        return ()
    parts = folds.k_folds(labels, FOLDS, seed=0, groups=groups, every_class=False)
    levels = list(features)
    probes = [linear_probe([features[name] for name in levels[start:]], labels, parts) for start in range(len(levels))]
    lowest = min(probes, key=lambda each: float(each.errors.mean())).errors
    starts = []
    for level, each in zip(levels, probes, strict=True):
        difference = each.errors - lowest
        starts.append(
            Start(
                level=level,
                error=float(each.errors.mean()),
                accuracy=float(each.correct.mean()),
                excess=float(difference.mean()),
                margin=margin(difference, members),
            )
        )
    return tuple(starts)


def margin(values: npt.NDArray[np.float64], members: npt.NDArray[np.int64]) -> float:
    """Returns half the width of the 95 % interval of a mean over images in independent groups, int [n] from 0."""
    deviations = np.bincount(members, values - values.mean())  # summed over each group
    return float(QUANTILE * np.sqrt((deviations**2).sum()) / len(values))


def last_frozen(starts: Sequence[Start]) -> Start:
    """Returns the latest level whose features suffice, so that it and what precedes it can stay frozen.

    Args:
        starts: results of `probe`, not empty.
    """
    return next(start for start in reversed(starts) if start.suffices)


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
        indicators: float64 [n, classes], the predicted indicators, in [0, 1]; of the classes that occur, in order.
    """

    errors: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]
    indicators: npt.NDArray[np.float64]


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
    predicted = np.zeros_like(indicators)
    for part in parts:
        train, held_out = part.train, part.validation
        if not len(held_out):  # of few large groups
            continue
        scaled = np.concatenate([_scaled(level, train) for level in features], axis=1)
        ridge = RidgeCV(alphas=PENALTIES).fit(scaled[train], indicators[train])
        predicted[held_out] = ridge.predict(scaled[held_out])
    clipped = np.clip(predicted, 0.0, 1.0)
    return Probe(((clipped - indicators) ** 2).sum(axis=1), predicted.argmax(axis=1) == codes, clipped)


def _scaled(level: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Returns float64 [n, d], with the mean and standard deviation of the training images."""
    level = np.asarray(level, np.float64)
    deviation = level[train].std(axis=0)
    return (level - level[train].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0) / np.sqrt(level.shape[1])
