"""Labels that look wrong, and what training without them gains, by linear probes of a network's features.

Labels of training images are suspicious if other training images contradict them (confident learning). A probe that is
fitted without these images is compared with one that is fitted to all, on held-out images whose labels stay as they
are. Corrected labels would help more: leaving images out loses what they could teach (about half of the gain on
handwritten digits with a tenth to a third of the labels drawn at random).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfeff.budget.probing import Features, features_of, paired_difference
from tfeff.data import folds
from tfeff.data.folds import Fold
from tfeff.errors import UserError
from tfeff.evaluation import label_errors
from tfeff.recipes.transfer import FOLDS, linear_probe
from tfeff.trials.trial import Trial


@dataclass(frozen=True)
class Labels:
    """What is known about the labels of some of the training images.

    Attributes:
        images: images whose labels were examined.
        suspects: those whose labels look wrong.
        held_out: images on which the probes were compared.
        gain: accuracy of the probe without the suspects minus that of the one with them.
        low: lower end of the 95 % interval of the gain, over the held-out images, or groups of them.
        high: upper end.
        listed: `image`, `annotated` and `likely` class of each suspect, the most suspicious first; none if the images
            have no ids.
    """

    images: int
    suspects: int
    held_out: int
    gain: float
    low: float
    high: float
    listed: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class ToLabel:
    """Images without labels whose labels would teach the choice most.

    Attributes:
        folder: where the images are.
        images: number of images in it that can be read.
        listed: number of those that are listed.
        table: the file that lists them.
    """

    folder: str
    images: int
    listed: int
    table: Path


def examine(trial: Trial) -> Labels:
    """Examines the labels of the training images of a trial; runs in a worker.

    Raises:
        UserError: too few images.
    """
    return compared(features_of(trial))


def compared(found: Features) -> Labels:
    """Compares probes with and without the suspects among the training images, on the held-out ones.

    Raises:
        UserError: too few images.
    """
    train, held_out = found.split.train, found.split.validation
    groups = np.arange(len(found.labels)) if found.groups is None else found.groups
    if len(np.unique(groups[train])) < 2 * FOLDS:
        raise UserError(f"{len(train)} training images are too few")
    classes, codes = np.unique(found.labels[train], return_inverse=True)
    parts = folds.k_folds(codes, FOLDS, seed=0, groups=groups[train], every_class=False)
    indicators = np.maximum(linear_probe([found.features[train]], codes, parts).indicators, 1e-6)
    errors = label_errors(codes, indicators / indicators.sum(axis=1, keepdims=True))
    suspects = errors.suspects
    every, fewer = (
        linear_probe([found.features], found.labels, [Fold(part, held_out)]).correct[held_out]
        for part in (train, np.setdiff1d(train, suspects))
    )
    gain, half = paired_difference(fewer, every, 0.975, None if found.groups is None else found.groups[held_out])
    listed = [
        {
            "image": found.ids[train[index]],
            "annotated": found.class_names[classes[codes[index]]],
            "likely": found.class_names[classes[likely]],
        }
        for index, likely in zip(suspects if found.ids else (), errors.likely, strict=False)
    ]
    return Labels(len(train), len(suspects), len(held_out), gain, gain - half, gain + half, listed)
