"""Crops of a dataset with boxes as labeled images: its objects, and background as a class of its own.

A region-based detector's backbone trains on these (Girshick et al., arXiv:1311.2524, section 2.3): besides each object
itself, boxes that overlap it well, and boxes that overlap no object much.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tfeff.boxes import iou
from tfeff.boxes.assignment import IGNORED_OVERLAP, assign, ignored_overlap, region_boxes
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.sources.parts import CroppedImages, Parts, part_ids, window
from tfeff.data.sources.source import Options, Source

BACKGROUND = "background"
"""The last class."""
COPIES = 3
"""Boxes around each object besides its own."""
MIN_OVERLAP = 0.6
"""Minimum intersection over union of such a box with its object."""
BACKGROUNDS = 3
"""Background boxes per object of an image; an image without objects gets as many as one with one object."""
MAX_OVERLAP = 0.3
"""Maximum intersection over union of a background box with any object."""
POSITIVE_OVERLAP = 0.5
"""Minimum IoU of a proposal with an object for its crop to get that object's class."""
_MIN_SIDE = 0.04
"""Minimum side of a background box, relative to the image's longest side."""
_ATTEMPTS = 50
_BATCH = 64
"""Background boxes that are drawn at a time."""


class Crops(Parts):
    """Crops of every image of a source with objects.

    Args:
        source: a source with objects.
        options: `channels`, `seed` and `crop_context` apply.
    """

    def __init__(self, source: Source, options: Options) -> None:
        super().__init__(f"crops:{source.name}", source, options)

    @property
    def seeded(self) -> bool:
        """Yes: the crops are drawn by the seed."""
        return True

    @property
    def lists_cheaply(self) -> bool:
        """No: boxes are drawn, or proposals computed."""
        return False

    def annotated(self, split: str) -> Dataset:
        """Returns the images that the crops are cut from."""
        return self.source.load(split)

    def shared(self, one: str, other: str) -> list[str]:
        """Returns the images of the source that two splits share."""
        return self.source.shared(one, other)

    def leave_out(self, split: str, ids: Sequence[str], kind: str) -> None:
        """Leaves out images of the source, and so their crops."""
        self.source.leave_out(split, ids, kind)
        self._loaded.clear()

    def _load(self, split: str) -> Dataset:
        dataset = self.source.load(split)
        if self.options.crop_proposals is None:
            return object_crops(dataset, self.options)
        return proposal_crops(dataset, self.options.crop_proposals(dataset), self.options)


def object_crops(
    dataset: Dataset, options: Options, *, copies: int = COPIES, backgrounds: int = BACKGROUNDS
) -> Dataset:
    """Returns crops of every image, one image after the other.

    Difficult objects and crowds are neither object nor background.

    Args:
        dataset: a dataset with objects.
        options: `channels`, `seed` and `crop_context` apply; the boxes of an image do not depend on other images.
        copies: boxes around each object besides its own, drawn by the seed.
        backgrounds: background boxes per object; 0 omits that class.
    """
    owners, boxes, labels = list[int](), list[np.ndarray](), list[int]()
    for index, objects in enumerate(dataset.objects):
        size = int(dataset.sizes[index, 0]), int(dataset.sizes[index, 1])
        rng = np.random.Generator(np.random.Philox(key=[options.seed, index]))
        counted = ~objects.ignored
        for box, label in zip(objects.boxes_yxyx[counted], objects.labels[counted], strict=True):
            near = _distinct([box, *_nearby_boxes(box, size, copies, rng)])
            boxes += near
            labels += [int(label)] * len(near)
            owners += [index] * len(near)
        count = backgrounds * max(1, int(counted.sum()))
        far = list(_background_boxes(objects, size, count, rng))
        boxes += far
        labels += [len(dataset.class_names)] * len(far)
        owners += [index] * len(far)
    return crop(
        dataset,
        np.array(owners, np.int32),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int32),
        (*dataset.class_names, BACKGROUND) if backgrounds else dataset.class_names,
        options,
    )


def proposal_crops(images: Dataset, proposals: Sequence[np.ndarray | None], options: Options) -> Dataset:
    """Returns crops of objects, of proposals that overlap an object by at least half, and of background proposals.

    Each object has at most COPIES proposals, and BACKGROUNDS background proposals.

    Args:
        images: the images, with their objects.
        proposals: boxes_yxyx float32 [n, 4] of each image. None: it cannot be read; the whole image is its only crop,
            with which it is skipped and counted.
        options: as for `object_crops`.
    """
    owners, boxes, labels = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    background = images.num_classes
    for image, (objects, proposed) in enumerate(zip(images.objects, proposals, strict=True)):
        if proposed is None:
            owners.append(np.array([image]))
            boxes.append(np.array([[0, 0, *images.sizes[image]]], np.float32))
            labels.append(np.array([background]))
            continue
        rng = np.random.Generator(np.random.Philox(key=[options.seed, image]))
        targets = assign(proposed, objects.boxes_yxyx, objects.labels, objects.ignored, image)
        count = int(targets.is_object.sum())
        near = rng.permutation(np.flatnonzero(~targets.is_object & (targets.overlap >= POSITIVE_OVERLAP)))
        near = near[: COPIES * count]
        far = rng.permutation(np.flatnonzero(~targets.covered & (targets.overlap < POSITIVE_OVERLAP)))
        far = far[: BACKGROUNDS * max(1, count)]
        chosen = np.concatenate([np.flatnonzero(targets.is_object), near, far])
        owners.append(np.full(len(chosen), image))
        boxes.append(region_boxes(proposed, objects.boxes_yxyx, objects.ignored)[chosen])
        labels.append(np.where(np.arange(len(chosen)) < count + len(near), targets.label[chosen], background))
    return crop(
        images,
        np.concatenate(owners).astype(np.int32),
        np.concatenate(boxes),
        np.concatenate(labels).astype(np.int32),
        (*images.class_names, BACKGROUND),
        options,
    )


def crop(
    dataset: Dataset,
    owners: np.ndarray,
    boxes_yxyx: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    options: Options,
) -> Dataset:
    """Returns boxes of images as a labeled dataset, in their order.

    Args:
        dataset: the images; boxes of one image should follow each other, since only the last few stay decoded.
        owners: int [n], the image of each box.
        boxes_yxyx: float32 [n, 4].
        labels: int [n].
        class_names: names of the labels.
        options: as for `object_crops`. Beyond the image, the context of a box has the image's mean color.
    """
    low, high = window(boxes_yxyx, dataset.sizes[owners], options.crop_context)
    return Dataset(
        name=f"crops:{dataset.name}",
        class_names=class_names,
        labels=labels,
        ids=part_ids(dataset, owners, boxes_yxyx),
        images=CroppedImages(dataset, owners, boxes_yxyx, options.crop_context),
        groups=owners if dataset.groups is None else dataset.groups[owners],
        cropped=dataset,
        owners=owners,
        channels=options.channels,
        sizes=(high - low).astype(np.int32),
        notes=dataset.notes,
    )


def _nearby_boxes(box: np.ndarray, size: tuple[int, int], count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields up to `count` boxes with an IoU of MIN_OVERLAP or more with one box."""
    sides = np.tile(box[2:] - box[:2], 2)
    limits = np.array([*size, *size], np.float32)
    for _ in range(count):
        moved = box + sides * rng.uniform(-0.25, 0.25, (_ATTEMPTS, 4))
        moved = np.clip(moved, 0, limits).astype(np.float32)
        near = np.flatnonzero(iou(moved, box[None])[:, 0] >= MIN_OVERLAP)
        if len(near):
            yield moved[near[0]]


def _background_boxes(
    objects: Objects, size: tuple[int, int], count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yields boxes with an IoU of at most MAX_OVERLAP with every object; fewer than `count` if there is no room.

    At most IGNORED_OVERLAP of a box lies in a difficult object or a crowd.
    """
    # In small batches: candidates for all background of a crowded image, compared with all objects, take gigabytes.
    for _ in range(-(-count * _ATTEMPTS // _BATCH)):
        drawn = np.zeros((_BATCH, 4))
        for axis in range(2):
            sides = np.minimum(max(size) * _MIN_SIDE ** rng.uniform(0, 1, len(drawn)), size[axis])
            drawn[:, axis] = rng.uniform(0, 1, len(drawn)) * (size[axis] - sides)
            drawn[:, axis + 2] = drawn[:, axis] + sides
        best = iou(drawn, objects.boxes_yxyx[~objects.ignored]).max(axis=1, initial=0.0)
        covered = ignored_overlap(drawn, objects.boxes_yxyx[objects.ignored])
        found = drawn[(best <= MAX_OVERLAP) & (covered <= IGNORED_OVERLAP)][:count].astype(np.float32)
        yield from found
        count -= len(found)
        if not count:
            return


def _distinct(boxes: list[np.ndarray]) -> list[np.ndarray]:
    """Returns boxes, each once: around a tiny object, several can be the same."""
    return list({box.tobytes(): box for box in boxes}.values())
