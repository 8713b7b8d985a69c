"""Training of the classic head on cached features: a support vector machine and a ridge regressor a class."""

from collections.abc import Callable

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
    mean, std = moments
    scale = NORM / np.sqrt(len(mean)) / std
    regions = train.regions
    features = _Scaled(train.features, mean, scale)
    weights, biases = np.zeros((len(mean), len(class_names))), np.zeros(len(class_names))
    box_weights, box_biases = np.zeros((len(mean), len(class_names), 4)), np.zeros((len(class_names), 4))
    mining = Mining(rounds=settings.mining_rounds, hardest=settings.hardest)
    rng = np.random.default_rng(seed)
    for number, name in enumerate(class_names):
        positive = np.flatnonzero(regions.is_object & (regions.label == number))
        negative = np.flatnonzero(overlaps[:, number] < settings.negative_overlap)
        if not len(positive) or not len(negative):
            what = "object" if not len(positive) else "region that is none of it"
            raise UserError(f'class "{name}" has no {what} in the training images; leave it out of the annotations')
        weights[:, number], biases[number] = machine(
            features,
            positive,
            negative,
            penalty=settings.penalty,
            positive_weight=settings.positive_weight,
            mining=mining,
            seed=seed,
        )
        near = (regions.label == number) & (regions.overlap > settings.box_overlap) & ~regions.ignored
        pairs = np.sort(rng.permutation(np.flatnonzero(near))[:MOST_PAIRS])
        box_weights[:, number], box_biases[number] = ridge(features[pairs], regions.code[pairs], settings.ridge)
        report(f"{name}: {len(positive):,} objects, {len(negative):,} negatives, {len(pairs):,} boxes")
    # The scaling of the features becomes part of the weights.
    biases = biases - (mean * scale) @ weights
    box_biases = box_biases - np.einsum("d,dct->ct", mean * scale, box_weights)
    return heads.linear_detector(weights * scale[:, None], biases, box_weights * scale[:, None, None], box_biases)


class _Scaled:
    """Features (x - mean) * scale, rows at a time."""

    def __init__(self, features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> None:
        self._features = features
        self._mean, self._scale = mean.astype(np.float32), scale.astype(np.float32)
        self.shape: tuple[int, ...] = features.shape

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return (np.asarray(self._features[rows], np.float32) - self._mean) * self._scale
