"""Training of the classic head on cached features: a support vector machine and a ridge regressor a class."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import keras
import numpy as np

from tfeff import config
from tfeff.detection import heads
from tfeff.detection.machines import Mining, machines
from tfeff.detection.ridge import Products
from tfeff.errors import UserError
from tfeff.rcnn.joint import Examples

NORM = 20.0
"""Mean length of a region's features, to which the usual penalties are fitted (arXiv:1311.2524, its code)."""
MOST_PAIRS = 100_000
"""Regions that teach a class's regressor, at most: those drawn by the seed."""
CHUNK = 4096
"""Of them in memory at once."""


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
    found = fit_machines(settings, class_names, train, overlaps, moments, seed, report)
    pairs = box_products(settings.box_overlap, len(class_names), train, moments, seed)
    return head(found, fit_regressors(pairs, settings.ridge), moments)


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
    positives, negatives = list[np.ndarray](), list[np.ndarray]()
    for number, name in enumerate(class_names):
        positive = np.flatnonzero(train.regions.is_object & (train.regions.label == number))
        negative = np.flatnonzero(overlaps[:, number] < settings.negative_overlap)
        if not len(positive) or not len(negative):
            what = "object" if not len(positive) else "region that is none of it"
            raise UserError(f'class "{name}" has no {what} in the training images; leave it out of the annotations')
        report(f"{name}: {len(positive):,} objects, {len(negative):,} negatives")
        positives.append(positive)
        negatives.append(negative)
    weights, biases = machines(
        _Scaled(train.features, *moments),
        positives,
        negatives,
        penalty=settings.penalty,
        positive_weight=settings.positive_weight,
        mining=Mining(rounds=settings.mining_rounds, hardest=settings.hardest),
        seed=seed,
    )
    return Linear(weights, biases)


def box_products(
    overlap: float, classes: int, train: Examples, moments: tuple[np.ndarray, np.ndarray], seed: int
) -> list[Products | None]:
    """What a box regressor of each class learns from: regions that overlap an object of it by more than `overlap`.

    None for a class that has no such region.
    """
    features, regions = _Scaled(train.features, *moments), train.regions
    rng, found = np.random.default_rng(seed), list[Products | None]()
    for number in range(classes):
        near = (regions.label == number) & (regions.overlap > overlap) & ~regions.ignored
        pairs = np.sort(rng.permutation(np.flatnonzero(near))[:MOST_PAIRS])
        parts = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
        products = (Products.of(features[part], regions.code[part]) for part in parts)
        found.append(reduce(operator.add, products) if parts else None)
    return found


def fit_regressors(pairs: Sequence[Products | None], penalty: float) -> Linear:
    """A box regressor a class; one that has nothing to learn from leaves boxes as they are.

    Raises:
        UserError: no class has anything.
    """
    known = [of for of in pairs if of is not None]
    if not known:
        raise UserError("no region overlaps an object by more than classic.box_overlap; lower it, or propose more")
    weights, biases = np.zeros((len(known[0].mean), len(pairs), 4)), np.zeros((len(pairs), 4))
    for number, of in enumerate(pairs):
        if of is not None:
            weights[:, number], biases[number] = of.ridge(penalty)
    return Linear(weights, biases)


def head(found: Linear, regressors: Linear, moments: tuple[np.ndarray, np.ndarray]) -> keras.Model:
    """Both as one Keras model of unscaled features: their weights take in the scaling.

    Args:
        found: the machines.
        regressors: of boxes.
        moments: mean and spread of the training features, float [D] each.
    """
    mean, std = moments
    scale = _scale(std)
    return heads.linear_detector(
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
