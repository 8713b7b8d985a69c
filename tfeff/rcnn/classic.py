"""Fit of the classic head to stored features: one linear SVM and one ridge regression per class."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfeff import config
from tfeff.errors import UserError
from tfeff.rcnn.feature_store import StoredFeatures
from tfeff.rcnn.regions import RegionSet
from tfeff.rcnn.ridge import ridge_regression
from tfeff.rcnn.svm import Mining, linear_svms

FEATURE_NORM = 20.0
"""Mean norm to which features are scaled; common penalties assume it (code of arXiv:1311.2524)."""
MAX_BOX_EXAMPLES = 100_000
"""Maximum number of regions for the box regression of a class; drawn by the seed if there are more."""


@dataclass(frozen=True, eq=False)
class LinearMaps:
    """Linear functions of scaled features.

    Attributes:
        weights: float [D, C] of SVMs, [D, C, 4] of box regression.
        biases: float [C], or [C, 4].
    """

    weights: np.ndarray
    biases: np.ndarray


class ClassicTraining:
    """Training of classic heads on one set of features.

    Args:
        train: the training regions.
        seed: seed of all random draws.
    """

    def __init__(self, train: RegionSet, seed: int) -> None:
        self._class_names, self._targets, self._seed = train.images.class_names, train.targets, seed
        self._overlaps = train.class_overlaps
        mean, std = train.moments(seed)
        self._mean, self._scale = mean, FEATURE_NORM / np.sqrt(len(std)) / std
        self._features = _ScaledFeatures(train.features, self._mean, self._scale)

    def run(
        self, settings: config.Classic, report: Callable[[str], None] = lambda text: None
    ) -> tuple[LinearMaps, LinearMaps]:
        """Trains SVMs and box regressions of unscaled features; errors as for `svms`."""
        svms = self.svms(settings, report)
        return self.unscaled(svms, self.box_regressions(settings.box_overlap, settings.ridge))

    def svms(self, settings: config.Classic, report: Callable[[str], None] = lambda text: None) -> LinearMaps:
        """Returns one SVM per class.

        Args:
            settings: the head's settings.
            report: called with a line of text for each class.

        Raises:
            UserError: a class has no objects or no negatives.
        """
        positives = list[np.ndarray]()
        for label, name in enumerate(self._class_names):
            positive = np.flatnonzero(self._targets.is_object & (self._targets.label == label))
            negatives = np.count_nonzero(self._overlaps[:, label] < settings.negative_overlap)
            if not len(positive) or not negatives:
                missing = "object" if not len(positive) else "negative region"
                raise UserError(f'class "{name}" has no {missing} in the training images; remove it from the dataset')
            report(f"{name}: {len(positive):,} objects, {negatives:,} negatives")
            positives.append(positive)
        weights, biases = linear_svms(
            self._features,
            positives,
            self._overlaps,
            negative_overlap=settings.negative_overlap,
            penalty=settings.penalty,
            positive_weight=settings.positive_weight,
            mining=Mining(rounds=settings.mining_rounds, hardest=settings.hardest),
            seed=self._seed,
        )
        return LinearMaps(weights, biases)

    def box_regressions(self, overlap: float, penalty: float) -> LinearMaps:
        """Fits one box regression per class.

        Each is fitted on regions whose IoU with an object of the class exceeds `overlap`. A class without such regions
        leaves boxes unchanged.
        """
        targets, classes, rng = self._targets, len(self._class_names), np.random.default_rng(self._seed)
        shape = self._features.shape[1], classes, 4
        regressions = LinearMaps(np.zeros(shape), np.zeros(shape[1:]))
        for label in range(classes):
            near = (targets.label == label) & (targets.overlap > overlap)
            rows = np.sort(rng.permutation(np.flatnonzero(near))[:MAX_BOX_EXAMPLES])
            if not len(rows):
                continue
            weights, biases = ridge_regression(self._features, rows, targets.code[rows], penalty)
            regressions.weights[:, label], regressions.biases[label] = weights, biases
        return regressions

    def unscaled(self, svms: LinearMaps, boxes: LinearMaps) -> tuple[LinearMaps, LinearMaps]:
        """Folds the scaling of the features into the weights of SVMs and box regressions."""
        mean, scale = self._mean, self._scale
        return (
            LinearMaps(svms.weights * scale[:, None], svms.biases - (mean * scale) @ svms.weights),
            LinearMaps(
                boxes.weights * scale[:, None, None],
                boxes.biases - np.einsum("d,dct->ct", mean * scale, boxes.weights),
            ),
        )


class _ScaledFeatures:
    """Features with standard deviation 1 per feature, then scaled to the mean norm FEATURE_NORM; read by rows."""

    def __init__(self, features: StoredFeatures, mean: np.ndarray, scale: np.ndarray) -> None:
        self._features = features
        self._mean, self._scale = mean.astype(np.float32), scale.astype(np.float32)
        self.shape: tuple[int, ...] = features.shape

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        scaled = np.array(self._features[rows], np.float32)
        scaled -= self._mean
        scaled *= self._scale
        return scaled
