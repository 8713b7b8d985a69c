"""Training of the classic head on cached features: a support vector machine and a ridge regressor a class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfeff import config
from tfeff.errors import UserError
from tfeff.models.heads import region
from tfeff.rcnn.joint import Examples
from tfeff.rcnn.ridge import ridges
from tfeff.rcnn.svm import Mining, machines

NORM = 20.0
"""Mean length of a region's features, to which the usual penalties are fitted (arXiv:1311.2524, its code)."""
MOST_PAIRS = 100_000
"""Regions that teach a class's regressor, at most: those drawn by the seed."""


@dataclass(frozen=True, eq=False)
class Linear:
    """Linear functions of scaled features.

    Attributes:
        weights: float [D, C] of machines, [D, C, 4] of regressors.
        biases: float [C], or [C, 4].
    """

    weights: np.ndarray
    biases: np.ndarray


def fit(
    settings: config.Classic,
    class_names: tuple[str, ...],
    train: Examples,
    overlaps: np.ndarray,
    moments: tuple[np.ndarray, np.ndarray],
    seed: int,
    report: Callable[[str], None] = lambda text: None,
) -> keras.Model:
    """The trained head.

    Args:
        settings: of the head.
        class_names: C.
        train: what it learns from.
        overlaps: float [n, C], most that each region overlaps an object of each class; what is ignored has NaN.
        moments: mean and spread of the training features, float [D] each.
        seed: of what is drawn.
        report: told of each class.

    Returns:
        `region.linear_detector`.

    Raises:
        UserError: a class without an object, or without a region that is none of it.
    """
    found = fit_machines(settings, class_names, train, overlaps, moments, seed, report)
    (regressors,) = fit_regressors(settings.box_overlap, [settings.ridge], len(class_names), train, moments, seed)
    return head(found, regressors, moments)


def fit_machines(
    settings: config.Classic,
    class_names: tuple[str, ...],
    train: Examples,
    overlaps: np.ndarray,
    moments: tuple[np.ndarray, np.ndarray],
    seed: int,
    report: Callable[[str], None] = lambda text: None,
) -> Linear:
    """A support vector machine a class; arguments and errors as those of `fit`."""
    positives = list[np.ndarray]()
    for number, name in enumerate(class_names):
        positive = np.flatnonzero(train.regions.is_object & (train.regions.label == number))
        negatives = np.count_nonzero(overlaps[:, number] < settings.negative_overlap)
        if not len(positive) or not negatives:
            what = "object" if not len(positive) else "region that is none of it"
            raise UserError(f'class "{name}" has no {what} in the training images; leave it out of the annotations')
        report(f"{name}: {len(positive):,} objects, {negatives:,} negatives")
        positives.append(positive)
    weights, biases = machines(
        _Scaled(train.features, *moments),
        positives,
        overlaps,
        negative_overlap=settings.negative_overlap,
        penalty=settings.penalty,
        positive_weight=settings.positive_weight,
        mining=Mining(rounds=settings.mining_rounds, hardest=settings.hardest),
        seed=seed,
    )
    return Linear(weights, biases)


def fit_regressors(
    overlap: float,
    penalties: Sequence[float],
    classes: int,
    train: Examples,
    moments: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> list[Linear]:
    """A box regressor a class for each penalty, from regions that overlap an object of it by more than `overlap`.

    One that has nothing to learn from leaves boxes as they are.
    """
    features, regions, rng = _Scaled(train.features, *moments), train.regions, np.random.default_rng(seed)
    shape = features.shape[1], classes, 4
    found = [Linear(np.zeros(shape), np.zeros(shape[1:])) for _ in penalties]
    for number in range(classes):
        near = (regions.label == number) & (regions.overlap > overlap) & ~regions.ignored
        rows = np.sort(rng.permutation(np.flatnonzero(near))[:MOST_PAIRS])
        if len(rows):
            for of, (weights, biases) in zip(found, ridges(features, rows, regions.code[rows], penalties), strict=True):
                of.weights[:, number], of.biases[number] = weights, biases
    return found


def head(found: Linear, regressors: Linear, moments: tuple[np.ndarray, np.ndarray]) -> keras.Model:
    """Both as one Keras model of unscaled features: their weights take in the scaling.

    Args:
        found: the machines.
        regressors: of boxes.
        moments: mean and spread of the training features, float [D] each.
    """
    mean, std = moments
    scale = _scale(std)
    return region.linear_detector(
        found.weights * scale[:, None],
        found.biases - (mean * scale) @ found.weights,
        regressors.weights * scale[:, None, None],
        regressors.biases - np.einsum("d,dct->ct", mean * scale, regressors.weights),
    )


def _scale(std: np.ndarray) -> np.ndarray:
    return NORM / np.sqrt(len(std)) / std


class _Scaled:
    """Features of spread 1 and mean length NORM, rows at a time."""

    def __init__(self, features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
        self._features = features
        self._mean, self._scale = mean.astype(np.float32), _scale(std).astype(np.float32)
        self.shape: tuple[int, ...] = features.shape

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        found = np.array(self._features[rows], np.float32)
        found -= self._mean
        found *= self._scale
        return found
