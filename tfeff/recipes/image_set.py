"""What rules need to know about a dataset, before any image is decoded."""

import contextlib
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from tfeff import config
from tfeff.data.dataset import Dataset, NoImagesError, evenly_spaced
from tfeff.data.images import decoding
from tfeff.data.images.unreadable import REPLACE, unreadable_images
from tfeff.data.sources import catalog, tiles
from tfeff.data.sources.source import Source
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
        elongation: median of longer side / shorter side.
        size: (height, width) if it is known and the same for all images, else None.
        loaded: number of images that a training loads, also those that it is validated on.
    """

    count: int
    class_counts: tuple[int, ...]
    side: int
    elongation: float
    size: tuple[int, int] | None
    loaded: int

    @property
    def imbalance(self) -> float:
        """Images of the largest class per image of the smallest."""
        return max(self.class_counts) / max(1, min(self.class_counts))

    def part(self, count: int) -> Self:
        """Returns a random part of them."""
        share = count / max(1, self.count)
        return replace(self, count=count, class_counts=tuple(max(1, round(share * each)) for each in self.class_counts))

    def trials(self, count: int) -> float:
        """Returns the number n for which an accuracy p on `count` such images has the variance p (1 - p) / n."""
        return count


@dataclass(frozen=True)
class AnnotatedImages:
    """A set of training images with objects, or of their tiles. Difficult objects and crowds do not count.

    Attributes:
        count: number of training images, without those that are held out.
        shown: number of these that show objects.
        objects: mean number of objects of the images that show any.
        extent: median of the objects' sizes, relative to the image's longer side: the square root of the box's area,
            but at most twice its shorter side.
        extents: 10th percentile of these sizes, and 90th percentile of the square roots, if all classes had equally
            many objects.
        elongation: median of their longer side / shorter side.
        class_images: for each class, number of training images that show it.
        most: number of objects of the image that has the most, with those that do not count.
        side: median of the images' longer sides, in pixels.
        aspects: width / height of the images: 5th percentile, median, 95th percentile.
        longest: largest side of all images, in pixels.
        size: see `LabeledImages`.
        loaded: see `LabeledImages`.
        divided: number of images, not of their tiles, of which `data.validation_fraction` are held out; 0: none are.
    """

    count: int
    shown: int
    objects: float
    extent: float
    extents: tuple[float, float]
    elongation: float
    class_images: tuple[int, ...]
    most: int
    side: int
    aspects: tuple[float, float, float]
    longest: int
    size: tuple[int, int] | None
    loaded: int
    divided: int = 0

    def part(self, count: int) -> Self:
        """Returns a random part of them."""
        share = count / max(1, self.count)
        class_images = tuple(max(1, round(share * each)) if each else 0 for each in self.class_images)
        return replace(self, count=count, shown=max(1, round(share * self.shown)), class_images=class_images)

    def trials(self, count: int) -> float:
        """Returns the n for which a mean average precision p on `count` images has a variance of p (1 - p) / n.

        An approximation: the average precision of a class varies as a fraction of the images that show it does; the
        mean of C classes has the sum of their variances, divided by C².
        """
        shown = [max(1.0, each * count / max(1, self.count)) for each in self.class_images if each]
        return len(shown) ** 2 / sum(1.0 / each for each in shown)


def labeled_images(data: config.Data, seed: int = 0, *, further_classes: bool = False) -> LabeledImages:
    """Counts and measures the training images of a config.

    Args:
        data: the section of the config.
        seed: seed of the experiment, for a source without splits of its own.
        further_classes: whether the task allows classes that are not trained on; these do not count.

    Raises:
        UserError: the source or its training split cannot be opened, or there is only one class.
    """
    options = data.options(seed, further_classes=further_classes)
    source = catalog.open_labels(data.source, options)
    images = source.load(data.train_split)
    counts = images.class_counts()
    trained = np.flatnonzero(counts) if further_classes else np.arange(images.num_classes)
    if len(trained) < 2:
        raise UserError(f'{images.name} has a single class, "{images.class_names[trained[0]]}"; a classifier needs two')
    # Photographs are drawn, with all their crops, except for folds.
    drawn = images if images.cropped is None or data.folds is not None else images.cropped
    validates = _validates(data, source)
    share = _trained_share(data, len(drawn), validates)
    side, elongation = _typical_shape(images)
    return LabeledImages(
        count=_required(round(share * len(images)), images),
        class_counts=tuple(round(share * count) for count in counts[trained].tolist()),
        side=side,
        elongation=elongation,
        size=images.size,
        loaded=_loaded(data, images, source, validates),
    )


def annotated_images(data: config.Data, seed: int = 0) -> AnnotatedImages:
    """Counts the training images of a detector's config and measures their objects.

    Args:
        data: the section of the config.
        seed: seed of the run, for a source without splits of its own.

    Raises:
        UserError: the source or its training split cannot be opened, or has no objects.
    """
    source = catalog.open_objects(data.source, data.options(seed, further_classes=False))
    images = source.load(data.train_split)
    sides, labels = list[np.ndarray](), list[np.ndarray]()
    shown, most, class_images = 0, 0, np.zeros(images.num_classes, np.int64)
    for objects, (height, width) in zip(images.objects, images.sizes.tolist(), strict=True):
        boxes, own = objects.boxes_yxyx[~objects.ignored], objects.labels[~objects.ignored]
        sides.append(np.sort((boxes[:, 2:] - boxes[:, :2]) / max(height, width), axis=1))
        labels.append(own)
        shown += len(boxes) > 0
        most = max(most, len(objects))
        class_images[np.unique(own)] += 1
    if not shown:
        raise UserError(f"{images.name}: no objects to train on")
    drawn, validates = len(images if images.cropped is None else images.cropped), _validates(data, source)
    share = _trained_share(data, drawn, validates)
    holds_out = data.validation_split is None and data.folds is None and not validates
    trained = len(images if images.grid is None else tiles.trained_on(images, np.arange(len(images)), seed))
    (shorter, longer), classes = np.concatenate(sides).T, np.concatenate(labels)
    square = np.sqrt(shorter * longer)
    sizes, weights = np.minimum(square, 2 * shorter), 1 / np.bincount(classes)[classes]
    small, large = (
        float(np.quantile(values, share, weights=weights, method="inverted_cdf"))
        for values, share in ((sizes, 0.1), (square, 0.9))
    )
    low, middle, high = np.percentile(images.sizes[:, 1] / images.sizes[:, 0], [5, 50, 95]).tolist()
    return AnnotatedImages(
        count=_required(round(share * trained), images),
        shown=max(1, round(share * shown)),
        objects=len(sizes) / shown,
        extent=float(np.median(sizes)),
        extents=(small, large),
        elongation=float(np.median(longer / np.maximum(shorter, 1e-9))),
        class_images=tuple(max(1, round(share * each)) if each else 0 for each in class_images.tolist()),
        most=most,
        side=int(np.median(images.sizes.max(axis=1))),
        aspects=(low, middle, high),
        longest=int(images.sizes.max()),
        size=images.size,
        loaded=_loaded(data, images, source, validates),
        divided=min(drawn, data.train_examples or drawn) if holds_out else 0,
    )


def counted_images(data: config.Data, seed: int, *, boxes: bool) -> LabeledImages | AnnotatedImages:
    """Returns `annotated_images` for images with boxes, else `labeled_images`; arguments and errors as there."""
    return annotated_images(data, seed) if boxes else labeled_images(data, seed)


def _required(count: int, images: Dataset) -> int:
    """Returns the number of training images.

    Raises:
        UserError: there are none.
    """
    if not count:
        raise UserError(
            f"config: {images.name}: none of {len(images):,} images is left to train on; lower "
            "data.validation_fraction, or raise data.train_examples"
        )
    return count


def has_trainval(data: config.Data, seed: int = 0) -> bool:
    """Returns whether a source with boxes has a split `trainval`, of the images to train and to validate on, besides
    that to test on, as Pascal VOC does, and the run is tested on none of these images; arguments as for
    `annotated_images`."""
    source = catalog.open_objects(data.source, data.options(seed, further_classes=False))
    if not all(map(source.find, ("train", "validation", "trainval", "test"))):
        return False
    tested = source.find(data.test_split or "test")
    return tested is None or not source.shared("trainval", tested)


def _trained_share(data: config.Data, count: int, validates: bool) -> float:
    """Returns the fraction of the `count` images of the training split that a run trains on; see `_validates`."""
    held_out = 0.0 if validates or data.validation_split is not None else data.validation_fraction
    share = min(1.0, (data.train_examples or count) / count)
    if data.folds is None:
        return share * (1 - held_out)
    if data.fold_examples is None:
        share *= (data.folds - 1) / data.folds
    else:
        share = min(1.0, data.fold_examples * (1 - held_out) / count)
    return min(share, (data.fold_train_examples or count) / count)


def _loaded(data: config.Data, images: Dataset, source: Source, validates: bool) -> int:
    """Returns the number of images of the training split and of the split that a run validates on, if there is one."""
    name = "validation" if validates else data.validation_split
    known = None if name is None else source.find(name)
    if known is not None:
        with contextlib.suppress(NoImagesError):  # the training reports it
            return len(images) + len(source.load(known))
    return len(images)


def _validates(data: config.Data, source: Source) -> bool:
    """Returns whether a run validates on the source's own split for that, so that no training images are held out.

    It does not if the config names another split or sets folds, or if all images of that split are also in the training
    or the test split (see `selection.assign`).
    """
    if data.validation_split is not None or data.folds is not None:
        return False
    name = source.find("validation")
    others = [source.find(split) for split in (data.train_split, data.test_split) if split is not None]
    if name is None or name in others:
        return False
    shared = (source.shared(other, name) for other in others if other is not None)
    return all(not images or len(images) < len(source.annotated(name)) for images in shared)


def _typical_shape(images: Dataset) -> tuple[int, float]:
    """Returns the medians of the shorter sides, and of longer side / shorter side; if needed, of an even sample."""
    sizes = images.sizes if len(images.sizes) else np.array(_measured(images))
    shorter, longer = np.sort(sizes, axis=1).T
    return int(np.median(shorter)), float(np.median(longer / shorter))


def _measured(images: Dataset) -> list[tuple[int, int]]:
    """Returns the sizes of an even sample of images.

    Raises:
        UserError: none of these can be read.
    """
    sizes, reasons = list[tuple[int, int]](), dict[str, str]()
    for index in evenly_spaced(len(images), MEASURED_IMAGES):
        try:
            sizes.append(decoding.encoded_size(images.encoded(index), images.ids[index]))
        except (UserError, OSError) as error:
            reasons[images.ids[index]] = str(error)  # Reading the images reports them all.
    if not sizes:
        raise UserError(unreadable_images(f"a sample of {images.name}", len(reasons), reasons, REPLACE))
    return sizes
