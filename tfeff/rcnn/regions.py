"""The regions of images: boxes of objects and proposals, their training targets and their features."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfeff.boxes import iou
from tfeff.boxes.assignment import IGNORED_OVERLAP, Regions, assign, ignored_overlap, region_boxes
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images import decoding
from tfeff.errors import UserError
from tfeff.models.fingerprint import fingerprint
from tfeff.rcnn.feature_extractor import FeatureExtractor
from tfeff.rcnn.feature_store import LARGEST, StoredFeatures, stored_features

MOMENT_ROWS = 50_000
"""Maximum number of regions from which mean and standard deviation of the features are computed."""
CHUNK = 4096
"""Rows of them in memory at once."""


@dataclass(frozen=True, eq=False)
class RegionSet:
    """Images and the features of their R regions. C: classes.

    The regions of an image are the boxes of its objects (without difficult ones and crowds), then its proposals.

    Attributes:
        images: the images, with their objects.
        proposals: boxes_yxyx float32 [n, 4] of each image.
        features: float16 [R, D].
        counts: int64 [images], regions of each image.
    """

    images: Dataset
    proposals: Sequence[np.ndarray]
    features: StoredFeatures
    counts: np.ndarray

    def boxes(self, image: int) -> np.ndarray:
        """Returns float32 [n, 4]: the regions of an image, objects first."""
        objects = self.images.objects[image]
        return region_boxes(self.proposals[image], objects.boxes_yxyx, objects.ignored)

    def features_of(self, image: int) -> np.ndarray:
        """Returns float16 [n, D] of the regions of an image."""
        end = int(self._ends[image])
        return self.features[slice(end - int(self.counts[image]), end)]

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.counts)

    @cached_property
    def targets(self) -> Regions:
        """The training targets of all regions."""
        parts = [
            assign(boxes, objects.boxes_yxyx, objects.labels, objects.ignored, image)
            for image, (boxes, objects) in enumerate(zip(self.proposals, self.images.objects, strict=True))
        ]
        fields = Regions.__dataclass_fields__
        return Regions(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))

    @cached_property
    def class_overlaps(self) -> np.ndarray:
        """float32 [R, C]: the largest IoU of each region with an object of each class.

        NaN for regions that lie on a difficult object or crowd.
        """
        classes = self.images.num_classes
        parts = []
        for image, objects in enumerate(self.images.objects):
            boxes, ignored = self.boxes(image), objects.ignored
            overlaps = iou(boxes, objects.boxes_yxyx)
            best = [
                overlaps[:, ~ignored & (objects.labels == label)].max(axis=1, initial=0.0) for label in range(classes)
            ]
            rows = np.stack(best, axis=1).astype(np.float32)
            rows[ignored_overlap(boxes, objects.boxes_yxyx[ignored]) > IGNORED_OVERLAP] = np.nan
            parts.append(rows)
        return np.concatenate(parts)

    def moments(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mean and standard deviation of each feature, float64 [D].

        The standard deviation of constant features is 1.
        """
        rows = np.sort(np.random.default_rng(seed).permutation(len(self.features))[:MOMENT_ROWS])
        parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        mean = np.sum([np.sum(self.features[part], axis=0, dtype=np.float64) for part in parts], axis=0) / len(rows)
        squares = [np.sum((self.features[part].astype(np.float64) - mean) ** 2, axis=0) for part in parts]
        std = np.sqrt(np.sum(squares, axis=0) / len(rows))
        return mean, np.where(std > 1e-6, std, 1.0)


def proposal_recall(objects: Sequence[Objects], proposals: Sequence[np.ndarray], overlap: float = 0.5) -> float:
    """Returns the share of objects (without difficult ones and crowds) that a proposal covers.

    It is the upper bound of the recall.
    """
    best = [np.zeros(0)]
    for own, boxes in zip(objects, proposals, strict=True):
        best.append(iou(boxes, own.boxes_yxyx[~own.ignored]).max(axis=0, initial=0.0))
    return float((np.concatenate(best) >= overlap).mean())


def region_set(
    backbone: keras.Model,
    images: Dataset,
    proposals: Sequence[np.ndarray],
    directory: Path,
    *,
    context: int,
    progress: Callable[[int, int], None],
) -> RegionSet:
    """Returns images with the features of their regions, from a store where possible.

    Args:
        backbone: see `FeatureExtractor`.
        images: the images, with their objects.
        proposals: boxes_yxyx float32 [n, 4] of each image.
        directory: folder of the stores, one store for each backbone.
        context: see `FeatureExtractor`.
        progress: see `stored_features`.

    Raises:
        UserError: a corrupt image, or features that are too large for the store.
    """
    extractor = FeatureExtractor(backbone, context=context)
    key = hashlib.blake2b(f"{context} {fingerprint(backbone)}".encode(), digest_size=16).hexdigest()
    signature = [tf.TensorSpec((None, None, extractor.channels), tf.uint8), tf.TensorSpec((None, 4), tf.float32)]
    run = tf.function(extractor, input_signature=signature, autograph=False, jit_compile=False)

    def boxes(image: int) -> np.ndarray:
        objects = images.objects[image]
        return region_boxes(proposals[image], objects.boxes_yxyx, objects.ignored)

    def compute(image: int) -> np.ndarray:
        pixels = decoding.decode(images.encoded(image), images.ids[image])
        found = np.asarray(run(decoding.in_channels(pixels, extractor.channels), boxes(image)))
        most = float(np.abs(found).max(initial=0.0))
        if not most <= LARGEST:  # also NaN
            raise UserError(
                f"{images.ids[image]}: the features of its regions reach {most:,.6g}, and features are stored as "
                f"float16, up to {LARGEST:,.0f}; start from other weights (model.weights)"
            )
        return found

    def digest(image: int) -> str:
        content = images.images.digest(image) + boxes(image).tobytes()
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    digests = [digest(image) for image in range(len(images))]
    found = stored_features(directory / key, digests, extractor.size, compute, progress)
    return RegionSet(images, proposals, *found)
