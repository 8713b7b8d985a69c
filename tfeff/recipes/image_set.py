"""What rules need to know about a dataset, before any image is decoded."""

from dataclasses import dataclass

import numpy as np

from tfeff import config
from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

MEASURED_IMAGES = 100
"""Images whose headers are read to estimate the typical size."""


@dataclass(frozen=True)
class LabeledImages:
    """A set of training images with one label each.

    Attributes:
        count: number of training images, without those that are held out.
        class_counts: training images of each class.
        side: median of the images' shorter sides, in pixels.
    """

    count: int
    class_counts: tuple[int, ...]
    side: int

    @property
    def imbalance(self) -> float:
        """Images of the largest class per image of the smallest."""
        return max(self.class_counts) / max(1, min(self.class_counts))


@dataclass(frozen=True)
class AnnotatedImages:
    """A set of training images with objects.

    Attributes:
        count: number of training images, without those that are held out.
        objects: number of their objects, without difficult ones and crowds.
        extent: median of the objects' sizes: square root of the area of box / image.
    """

    count: int
    objects: int
    extent: float


def labeled_images(data: config.Data, seed: int = 0) -> LabeledImages:
    """Counts and measures the training images of a config.

    Args:
        data: the section of the config.
        seed: seed of the experiment, for a source without splits of its own.

    Raises:
        UserError: the source or its training split cannot be opened, or there is only one class.
    """
    seed = seed if data.seed is None else data.seed
    options = Options(channels=data.channels, seed=seed, data_dir=data.directory, download=data.download)
    images = catalog.open_labels(data.source, options).load(data.train_split)
    if images.num_classes < 2:
        raise UserError(f'{images.name} has a single class, "{images.class_names[0]}"; a classifier needs two')
    share = _trained_share(data, len(images))
    return LabeledImages(
        count=round(share * len(images)),
        class_counts=tuple(round(share * count) for count in images.class_counts().tolist()),
        side=_typical_side(images),
    )


def annotated_images(data: config.Data, seed: int = 0) -> AnnotatedImages:
    """Counts the training images of a detector's config and measures their objects.

    Args:
        data: the section of the config.
        seed: seed of the run, for a source without splits of its own.

    Raises:
        UserError: the source or its training split cannot be opened, or has no objects.
    """
    images = catalog.open_objects(data.source, Options(seed=seed)).load(data.train_split)
    extents = list[float]()
    for objects, (height, width) in zip(images.objects, images.sizes.tolist(), strict=True):
        boxes = objects.boxes_yxyx[~objects.ignored]
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        extents += np.sqrt(areas / (height * width)).tolist()
    if not extents:
        raise UserError(f"{images.name}: no objects to train on")
    count = min(len(images), data.train_examples or len(images))
    share = count / len(images)
    if data.validation_split is None:
        share *= 1 - data.validation_fraction
    return AnnotatedImages(
        count=round(share * len(images)), objects=round(share * len(extents)), extent=float(np.median(extents))
    )


def _trained_share(data: config.Data, count: int) -> float:
    """The fraction of the training split that a run trains on."""
    held_out = data.validation_fraction if data.validation_split is None else 0.0
    if data.folds is not None and data.fold_examples is not None:
        return min(1.0, data.fold_examples * (1 - held_out) / count)
    share = min(1.0, (data.train_examples or count) / count)
    if data.folds is not None:
        return share * (data.folds - 1) / data.folds
    return share * (1 - held_out)


def _typical_side(images: Dataset) -> int:
    """Median of the shorter sides, of an even sample of images."""
    if len(images.sizes):
        return int(np.median(images.sizes.min(axis=1)))
    sides = list[int]()
    for index in evenly_spaced(len(images), MEASURED_IMAGES):
        try:
            sides.append(min(decoding.encoded_size(images.encoded(index), images.ids[index])))
        except (UserError, OSError):
            continue  # Reading the images reports them all.
    if not sides:
        raise UserError(f"{images.name}: none of {min(len(images), MEASURED_IMAGES)} images could be read")
    return int(np.median(sides))
