"""Images with all that is known of their regions: proposals, or the places of a sliding window."""

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
from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding, graph_decoding
from tfeff.durable import locked
from tfeff.errors import UserError
from tfeff.execution.threads import Threads
from tfeff.proposals import ProposalStore, SelectiveSearch, SlidingWindows, generate
from tfeff.rcnn.cache import Cached, cached
from tfeff.rcnn.region_features import RegionFeatures
from tfeff.reporting.progress import Bar


@dataclass(frozen=True, eq=False)
class Split:
    """Some images of a run.

    Attributes:
        name: `train`, `validation`, `test` or another one of the data set.
        images: with their objects.
        proposals: boxes_yxyx float32 [n, 4] of each image: where objects are looked for.
        cached: features of the regions of each image: the boxes of its objects (but difficult and crowd ones), then its
            proposals.
    """

    name: str
    images: Dataset
    proposals: Sequence[np.ndarray]
    cached: Cached

    @property
    def features(self) -> np.ndarray:
        """float16 [R, D] of all regions."""
        return self.cached.features

    def boxes(self, image: int) -> np.ndarray:
        """float32 [n, 4]: the regions of an image, objects first."""
        objects = self.images.objects[image]
        return region_boxes(self.proposals[image], objects.boxes_yxyx, objects.ignored)

    def proposal_features(self, image: int) -> np.ndarray:
        """float16 [n, D] of an image's proposals alone."""
        return self.cached.of(image)[-len(self.proposals[image]) or len(self.cached.of(image)) :]

    @cached_property
    def regions(self) -> Regions:
        """What all regions are to learn."""
        parts = [
            assign(boxes, objects.boxes_yxyx, objects.labels, objects.ignored, number)
            for number, (boxes, objects) in enumerate(zip(self.proposals, self.images.objects, strict=True))
        ]
        fields = Regions.__dataclass_fields__
        return Regions(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))

    @cached_property
    def class_overlaps(self) -> np.ndarray:
        """float32 [R, C]: most that each region overlaps an object of each class; NaN where it lies on a difficult or
        crowd one."""
        classes = len(self.images.class_names)
        parts = []
        for image, objects in enumerate(self.images.objects):
            boxes, aside = self.boxes(image), objects.ignored
            overlaps = iou(boxes, objects.boxes_yxyx)
            set_aside = ignored_overlap(boxes, objects.boxes_yxyx[aside]) > IGNORED_OVERLAP
            own = [overlaps[:, ~aside & (objects.labels == label)].max(axis=1, initial=0.0) for label in range(classes)]
            rows = np.stack(own, axis=1).astype(np.float32)
            rows[set_aside] = np.nan
            parts.append(rows)
        return np.concatenate(parts)


def selective_search(settings: config.RCNN) -> SelectiveSearch:
    """What proposes the regions of a run."""
    return SelectiveSearch(settings.proposals.mode, settings.proposals.max_proposals, settings.seed)


def sliding_windows(settings: config.RCNN) -> SlidingWindows:
    """What gives the places of a run's sliding window."""
    windows = settings.windows
    return SlidingWindows(windows.max_windows, settings.seed, windows.scales, windows.ratios, windows.overlap)


def propose(settings: config.RCNN, directory: Path, images: Dataset) -> list[np.ndarray]:
    """The proposals of some images, computed where the store lacks them: boxes_yxyx [n, 4] each.

    Raises:
        UserError: an image that cannot be read, or a store of other proposals.
    """
    search = selective_search(settings)
    with locked(directory, "proposals.directory"), Threads() as threads:
        store = ProposalStore.create(directory, search.parameters)
        with Bar(f"proposals of {images.name}", len(images), "images") as bar:
            counts = generate(
                store, images, search, threads, progress=lambda counts: bar.show(counts.processed, counts.computed)
            )
    if counts.failed:
        name, reason = next(iter(counts.failed.items()))
        raise UserError(
            f"{images.name}: {len(counts.failed)} images cannot be read, the first is {name} ({reason}); replace or "
            'remove them, or set data.corrupt_images = "skip"'
        )
    return [store[name].boxes_yxyx for name in images.ids]


def slide(settings: config.RCNN, images: Dataset) -> list[np.ndarray]:
    """The places of the sliding window in each image: boxes_yxyx [n, 4]."""
    places = sliding_windows(settings)
    return [places(np.broadcast_to(np.uint8(0), (*size, 3))).boxes_yxyx for size in images.sizes.tolist()]


class Extractor:
    """Features of the regions of splits, by a trained backbone.

    Args:
        settings: of the run.
        model: the backbone with its classifier.
        directory: where features are kept.
        grid: cells of a region each way; None gives what the backbone's classifier sees.
    """

    def __init__(self, settings: config.RCNN, model: keras.Model, directory: Path, grid: int | None) -> None:
        self.network = RegionFeatures(model, grid=grid, context=settings.features.context)
        self._directory = directory
        weights = hashlib.blake2b(digest_size=16)
        for weight in model.get_weights():
            weights.update(np.ascontiguousarray(weight).tobytes())
        policy = keras.mixed_precision.dtype_policy().name
        self.digest = weights.hexdigest()
        """Of the backbone's weights."""
        self._of = weights.digest() + repr((grid, settings.features.context, policy)).encode()
        signature = [tf.TensorSpec((None, None, self.network.channels), tf.uint8), tf.TensorSpec((None, 4), tf.float32)]
        self._run = tf.function(self.network, input_signature=signature, autograph=False, jit_compile=False)

    def split(self, name: str, images: Dataset, proposals: Sequence[np.ndarray]) -> Split:
        """A split with its features; what was computed before is taken from the disk."""

        def boxes(image: int) -> np.ndarray:
            objects = images.objects[image]
            return region_boxes(proposals[image], objects.boxes_yxyx, objects.ignored)

        def compute(image: int) -> np.ndarray:
            pixels = decoding.decode(images.encoded(image), images.ids[image])
            return np.asarray(self._run(graph_decoding.in_channels(pixels, self.network.channels), boxes(image)))

        contents = [
            hashlib.blake2b(self._of + images.images.digest(image) + boxes(image).tobytes(), digest_size=16).hexdigest()
            for image in range(len(images))
        ]
        directory = self._directory / name
        with locked(directory, "features"), Bar(f"features of {images.name}", len(images), "images") as bar:
            kept = cached(directory, images.ids, contents, self.network.size, compute, bar.show)
        return Split(name, images, proposals, kept)
