"""Training of the classic head on cached features: a support vector machine and a ridge regressor a class."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from tfeff import config
from tfeff.detection import heads
from tfeff.detection.machines import Mining, machine
from tfeff.detection.ridge import ridge
from tfeff.errors import UserError
from tfeff.rcnn.joint import Examples

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
        `heads.linear_detector`.

    Raises:
        UserError: a class without an object, or without a region that is none of it.
    """
    machines = fit_machines(settings, class_names, train, overlaps, moments, seed, report)
    regressors = fit_regressors(settings, len(class_names), train, moments, seed)
    return head(machines, regressors, moments)


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
    features = _Scaled(train.features, *moments)
    mining = Mining(rounds=settings.mining_rounds, hardest=settings.hardest)
    found = []
    for number, name in enumerate(class_names):
        positive = np.flatnonzero(train.regions.is_object & (train.regions.label == number))
        negative = np.flatnonzero(overlaps[:, number] < settings.negative_overlap)
        if not len(positive) or not len(negative):
            what = "object" if not len(positive) else "region that is none of it"
            raise UserError(f'class "{name}" has no {what} in the training images; leave it out of the annotations')
        report(f"{name}: {len(positive):,} objects, {len(negative):,} negatives")
        found.append(
            machine(
                features,
                positive,
                negative,
                penalty=settings.penalty,
                positive_weight=settings.positive_weight,
                mining=mining,
                seed=seed,
            )
        )
    return Linear(np.stack([weights for weights, _ in found], axis=1), np.array([bias for _, bias in found]))


def fit_regressors(
    settings: config.Classic, classes: int, train: Examples, moments: tuple[np.ndarray, np.ndarray], seed: int
) -> Linear:
    """A box regressor a class; one without a region that is near enough leaves boxes as they are."""
    features, regions = _Scaled(train.features, *moments), train.regions
    weights, biases = np.zeros((features.shape[1], classes, 4)), np.zeros((classes, 4))
    rng = np.random.default_rng(seed)
    for number in range(classes):
        near = (regions.label == number) & (regions.overlap > settings.box_overlap) & ~regions.ignored
        pairs = np.sort(rng.permutation(np.flatnonzero(near))[:MOST_PAIRS])
        if len(pairs):
            weights[:, number], biases[number] = ridge(features[pairs], regions.code[pairs], settings.ridge)
    return Linear(weights, biases)


def head(machines: Linear, regressors: Linear, moments: tuple[np.ndarray, np.ndarray]) -> keras.Model:
    """Both as one Keras model of unscaled features: their weights take in the scaling."""
    mean, std = moments
    scale = _scale(std)
    return heads.linear_detector(
        machines.weights * scale[:, None],
        machines.biases - (mean * scale) @ machines.weights,
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

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return (np.asarray(self._features[rows], np.float32) - self._mean) * self._scale
