"""The regions of images: boxes of objects, proposals or windows, their training targets and their features."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.boxes import iou
from tfeff.boxes.assignment import IGNORED_OVERLAP, Regions, assign, ignored_overlap, region_boxes
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images import decoding, graph_decoding
from tfeff.durable import locked
from tfeff.errors import UserError
from tfeff.proposals import SelectiveSearch, SlidingWindows, complete
from tfeff.rcnn.feature_cache import CachedFeatures, cached_features
from tfeff.rcnn.feature_extractor import FeatureExtractor
from tfeff.reporting.progress import Bar

_SKIP_HINT = 'set data.corrupt_images = "skip"'


@dataclass(frozen=True, eq=False)
class RegionSet:
    """Images and the features of their R regions. C: classes.

    The regions of an image are the boxes of its objects (without difficult ones and crowds), then its proposals.

    Attributes:
        images: with their objects.
        proposals: boxes_yxyx float32 [n, 4] of each image: proposals, or sliding windows.
        cached: features of the regions of each image.
    """

    images: Dataset
    proposals: Sequence[np.ndarray]
    cached: CachedFeatures

    @property
    def features(self) -> np.ndarray:
        """float16 [R, D] of all regions."""
        return self.cached.features

    def boxes(self, image: int) -> np.ndarray:
        """float32 [n, 4]: the regions of an image, objects first."""
        objects = self.images.objects[image]
        return region_boxes(self.proposals[image], objects.boxes_yxyx, objects.ignored)

    def proposal_features(self, image: int) -> np.ndarray:
        """float16 [n, D] of an image's proposals, without its objects."""
        features = self.cached.of_image(image)
        return features[len(features) - len(self.proposals[image]) :]

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
        """float32 [R, C]: the largest IoU of each region with an object of each class; NaN for regions that lie on a
        difficult object or crowd."""
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


def sliding_windows(settings: config.Windows, seed: int) -> SlidingWindows:
    """The sliding window of a run."""
    return SlidingWindows(settings.max_windows, seed, settings.scales, settings.ratios, settings.overlap)


def propose(search: SelectiveSearch, directory: Path, images: Dataset) -> list[np.ndarray]:
    """Proposals of each image, boxes_yxyx [n, 4]; those missing from the store are computed.

    Raises:
        UserError: an image cannot be read, or the store holds proposals made with other settings.
    """
    with Bar(f"proposals of {images.name}", len(images), "images") as bar:
        store = complete(search, directory, images, lambda counts: bar.show(counts.processed, counts.computed))
    return [store[name].boxes_yxyx for name in images.ids]


def window_boxes(windows: SlidingWindows, images: Dataset) -> list[np.ndarray]:
    """The sliding windows of each image, boxes_yxyx [n, 4]."""
    return [windows(np.broadcast_to(np.uint8(0), (*size, 3))).boxes_yxyx for size in images.sizes.tolist()]


def proposal_recall(objects: Sequence[Objects], proposals: Sequence[np.ndarray], overlap: float = 0.5) -> float:
    """Share of objects (without difficult ones and crowds) covered by a proposal: the upper bound of recall."""
    best = [np.zeros(0)]
    for own, boxes in zip(objects, proposals, strict=True):
        best.append(iou(boxes, own.boxes_yxyx[~own.ignored]).max(axis=0, initial=0.0))
    return float((np.concatenate(best) >= overlap).mean())


class CachedExtractor:
    """Extracts the features of regions with a trained backbone and caches them on disk.

    Args:
        model: the backbone with its classifier.
        directory: of the cache.
        grid: number of cells along each axis of a region; None: the input of the backbone's classifier.
        context: margin around the region, in pixels of the backbone's input.

    Attributes:
        network: computes the features.
        backbone_digest: of the backbone's weights.
    """

    def __init__(self, model: keras.Model, directory: Path, *, grid: int | None, context: int) -> None:
        self.network = FeatureExtractor(model, grid=grid, context=context)
        self._directory = directory
        weights = hashlib.blake2b(digest_size=16)
        for weight in model.get_weights():
            weights.update(np.ascontiguousarray(weight).tobytes())
        self.backbone_digest = weights.hexdigest()
        policy = keras.mixed_precision.dtype_policy().name
        self._network_key = weights.digest() + repr((grid, context, policy)).encode()
        signature = [tf.TensorSpec((None, None, self.network.channels), tf.uint8), tf.TensorSpec((None, 4), tf.float32)]
        self._run = tf.function(self.network, input_signature=signature, autograph=False, jit_compile=False)

    def region_set(self, name: str, images: Dataset, proposals: Sequence[np.ndarray]) -> RegionSet:
        """Images with the features of their regions, from the cache where possible.

        Args:
            name: of the split, and of its folder in the cache.
            images: with their objects.
            proposals: boxes_yxyx float32 [n, 4] of each image.

        Raises:
            UserError: a corrupt image.
        """

        def boxes(image: int) -> np.ndarray:
            objects = images.objects[image]
            return region_boxes(proposals[image], objects.boxes_yxyx, objects.ignored)

        def compute(image: int) -> np.ndarray:
            try:
                pixels = decoding.decode(images.encoded(image), images.ids[image])
            except UserError as error:
                raise UserError(f"{error}; replace or remove it, or {_SKIP_HINT}") from None
            return np.asarray(self._run(graph_decoding.in_channels(pixels, self.network.channels), boxes(image)))

        def digest(image: int) -> str:
            content = self._network_key + images.images.digest(image) + boxes(image).tobytes()
            return hashlib.blake2b(content, digest_size=16).hexdigest()

        digests = [digest(image) for image in range(len(images))]
        directory = self._directory / name
        with locked(directory, "features"), Bar(f"features of {images.name}", len(images), "images") as bar:
            cached = cached_features(directory, images.ids, digests, self.network.size, compute, bar.show)
        return RegionSet(images, proposals, cached)
