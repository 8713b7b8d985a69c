"""What wrong labels cost, by linear probes of a network's features.

Labels of training images are suspicious if other training images contradict them (confident learning). A probe that is
fitted without these images is compared with one that is fitted to all, on held-out images whose labels stay as they
are. Corrected labels would help more: leaving images out loses what they could teach (about half of the gain on
handwritten digits with a tenth to a third of the labels drawn at random).
"""

from dataclasses import dataclass

import numpy as np

from tfeff.budget.probing import features_of, paired_difference
from tfeff.data import folds
from tfeff.data.folds import Fold
from tfeff.errors import UserError
from tfeff.evaluation import label_errors
from tfeff.recipes.transfer import FOLDS, QUANTILE, linear_probe
from tfeff.trials.trial import Trial


@dataclass(frozen=True)
class Labels:
    """What is known about the labels of the training images.

    Attributes:
        images: images whose labels were examined.
        suspects: those whose labels are probably wrong.
        gain: accuracy on held-out images of a probe without the suspects minus that of one with them.
        low: lower end of the 95 % interval of the gain, over the held-out images.
        high: upper end.
    """

    images: int
    suspects: int
    gain: float
    low: float
    high: float


def examine(trial: Trial) -> Labels:
    """Examines the labels of the training images of a trial; runs in a worker.

    Raises:
        UserError: too few images.
    """
    features, labels, count = features_of(trial)
    return compared(features, labels, count)


def compared(features: np.ndarray, labels: np.ndarray, count: int) -> Labels:
    """Compares probes with and without the suspects among the first `count` images, on the others.

    Args:
        features: float [n, d].
        labels: int [n].
        count: number of training images.

    Raises:
        UserError: too few images.
    """
    if count < 2 * FOLDS:
        raise UserError(f"{count} training images are too few")
    train, held_out = np.arange(count), np.arange(count, len(labels))
    codes = np.unique(labels[train], return_inverse=True)[1]
    parts = folds.k_folds(codes, FOLDS, seed=0, every_class=False)
    indicators = np.maximum(linear_probe([features[train]], codes, parts).indicators, 1e-6)
    suspects = label_errors(codes, indicators / indicators.sum(axis=1, keepdims=True)).suspects
    every, fewer = (
        linear_probe([features], labels, [Fold(part, held_out)]).correct[held_out]
        for part in (train, np.setdiff1d(train, suspects))
    )
    gain, half = paired_difference(fewer, every, QUANTILE)
    return Labels(count, len(suspects), gain, gain - half, gain + half)
