"""The one dataset type: images with random access, and their labels or objects.

Boxes are `yxyx` in pixels of the upright image: (top, left, bottom, right), with right and bottom exclusive, so the
box of the whole image is (0, 0, height, width).
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tfeff.boxes import relative_from_yxyx
from tfeff.boxes.tiling import Grid
from tfeff.data.defects import Defects
from tfeff.data.images.decoding import Shrinkage
from tfeff.data.images.storage import ImageStorage
from tfeff.data.names import problem, shown
from tfeff.errors import UserError

if TYPE_CHECKING:  # Detection datasets can be read without TensorFlow, which takes seconds to import.
    import tensorflow as tf


Id = int | float | str
"""An id of a class or an image in a dataset's own files, as it is written there."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The n objects of one image.

    Attributes:
        boxes_yxyx: float32 [n, 4].
        labels: int32 [n], indices into the class names.
        difficult: bool [n]. VOC's metrics ignore these objects.
        crowd: bool [n], boxes around groups of objects. COCO's metrics ignore them.
        areas: float64 [n], square pixels of the objects themselves, by which COCO's metrics call them small, medium or
            large; NaN: that of the box. None: those of all boxes.
    """

    boxes_yxyx: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ignored(self) -> np.ndarray:
        """bool [n], objects that are used neither in training nor in metrics: difficult ones and crowds."""
        return self.difficult | self.crowd

    def digest(self) -> bytes:
        """Returns 8 bytes that change with the objects."""
        areas = np.full(len(self), np.nan) if self.areas is None else self.areas.astype(np.float64)
        made = hashlib.blake2b(digest_size=8)
        for values in (self.boxes_yxyx, self.labels, self.difficult, self.crowd, areas):
            made.update(np.ascontiguousarray(values).tobytes())
        return made.digest()

    def take(self, indices: np.ndarray) -> "Objects":
        """Returns the objects at `indices` (int [m] or bool [n])."""
        return Objects(
            boxes_yxyx=self.boxes_yxyx[indices],
            labels=self.labels[indices],
            difficult=self.difficult[indices],
            crowd=self.crowd[indices],
            areas=None if self.areas is None else self.areas[indices],
        )


@dataclass(frozen=True, eq=False)
class RawAnnotations:
    """The n objects of one image as their annotation states them, before any is fixed or dropped.

    Attributes:
        boxes_yxyx: float64 [n, 4], in pixels; may be outside the image, without area or not finite.
        labels: int64 [n]. Below 0: of a class below the first one; at least the number of classes: of one after the
            last.
        image_size: (height, width) of the image according to the annotation; None if it does not say.
    """

    boxes_yxyx: np.ndarray
    labels: np.ndarray
    image_size: tuple[int, int] | None = None


class NoImagesError(UserError):
    """A split has no images.

    Args:
        name: name of the split.
        defects: because of which all its images were dropped; none if it was empty.
        reason: why it is empty, if that is known.
    """

    def __init__(self, name: str, defects: Defects | None = None, reason: str = "") -> None:
        self.defects = defects or Defects()
        dropped = (
            f", because of defects:\n{self.defects.text()}" if self.defects.counts else f": {reason}" * bool(reason)
        )
        super().__init__(f"{name}: no images{dropped}")


@dataclass(frozen=True, eq=False)
class Dataset:
    """n images with random access, and what is known about each.

    Attributes:
        name: how messages refer to the dataset, such as `folder:flowers/train`.
        class_names: one per class; a label is an index into them.
        ids: one unique string per image, by which stores, results and messages refer to it: a path or `train[17]`.
        images: access to the images.
        channels: 1 (gray) or 3 (RGB); what `read` returns.
        labels: int32 [n], the class of each image; empty if images have none.
        objects: the objects in each image; empty if they are not annotated.
        groups: int32 [n]; images of one group, such as crops of one photograph, are never split between training and
            validation. None: each image is on its own.
        cropped: if the images are crops, the images that they were cut from, also those without crops. Else None.
        owners: int32 [n], the place in `cropped` of the image of each crop; empty if the images are no crops.
        grid: if the images are tiles, how those in `cropped` were cut. Else None.
        sizes: int32 [n, 2], (height, width) of each image; empty if they are not known without opening files.
        defects: what was wrong in its files.
        raw_annotations: the objects in each image as they are written; empty unless the source was opened to keep them.
        notes: what the user should know about how the images were chosen, one line each.
        class_ids: the dataset's own id of each class; empty if it has none.

    Raises:
        NoImagesError: no images.
        UserError: duplicate ids of images with objects, a label outside the classes, or a class name that cannot be
            written on one line.
    """

    name: str
    class_names: tuple[str, ...]
    ids: Sequence[str]
    images: ImageStorage
    channels: int = 3
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    objects: Sequence[Objects] = ()
    groups: np.ndarray | None = None
    cropped: "Dataset | None" = None
    owners: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    grid: Grid | None = None
    sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    defects: Defects = field(default_factory=Defects)
    raw_annotations: Sequence[RawAnnotations] = ()
    notes: tuple[str, ...] = ()
    class_ids: Sequence[Id] = ()

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise NoImagesError(self.name, self.defects)
        if len(self.images) != len(self.ids):
            raise ValueError(f"{self.name}: {len(self.images)} images for {len(self.ids)} ids")
        for what, values in (
            ("labels", self.labels),
            ("objects", self.objects),
            ("owners", self.owners),
            ("sizes", self.sizes),
            ("raw_annotations", self.raw_annotations),
        ):
            if len(values) not in (0, len(self.ids)):
                raise ValueError(f"{self.name}: {len(values)} {what} for {len(self.ids)} images")
        if self.channels not in (1, 3):
            raise UserError(f"{self.name}: channels must be 1 (gray) or 3 (RGB), not {self.channels}")
        for name in self.class_names:
            if reason := problem(name):
                raise UserError(f'{self.name}: the class name "{shown(name)}" {reason}; rename the class')
        labels = np.asarray(self.labels)
        wrong = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
        if len(wrong):
            raise UserError(
                f"{self.name}: {len(wrong)} labels are outside 0..{len(self.class_names) - 1}; "
                f"the first is {labels[wrong[0]]} at {self.ids[wrong[0]]}"
            )
        object.__setattr__(self, "labels", labels.astype(np.int32))
        if self.has_objects:
            duplicates = [name for name, count in Counter(self.ids).items() if count > 1]
            if duplicates:
                raise UserError(
                    f"{self.name}: {len(duplicates)} names belong to several images; the first is {duplicates[0]}"
                )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_labels(self) -> bool:
        """Whether each image has a label."""
        return len(self.labels) > 0

    @property
    def has_objects(self) -> bool:
        """Whether objects are annotated."""
        return len(self.objects) > 0

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """(height, width) if it is known and the same for all images, else None."""
        if not len(self.sizes) or (self.sizes != self.sizes[0]).any():
            return None
        return int(self.sizes[0, 0]), int(self.sizes[0, 1])

    @cached_property
    def pixels_fingerprint(self) -> str:
        """A hash that changes whenever the images, or the way they are read, may have changed."""
        return self.images.fingerprint(self.channels)

    @cached_property
    def fingerprint(self) -> str:
        """The same, also for their objects."""
        if not self.has_objects:
            return self.pixels_fingerprint
        digest = hashlib.sha256(self.pixels_fingerprint.encode())
        for each in self.objects:
            digest.update(each.digest())
        return digest.hexdigest()

    @property
    def uncut(self) -> "Dataset":
        """The images that tiles were cut from; of others these themselves."""
        if self.grid is None or self.cropped is None:
            return self
        return self.cropped.take(np.unique(self.owners))

    def merged(self, *, class_agnostic: bool) -> "Dataset":
        """Returns the same tiles, in which detections are merged as a task does; see `Tiling.merge`."""
        if self.grid is None:
            return self
        return dataclasses.replace(self, grid=dataclasses.replace(self.grid, class_agnostic=class_agnostic))

    def encoded(self, index: int) -> bytes:
        """Returns the bytes of one image file."""
        return self.images.encoded(index)

    def read(self, index: "tf.Tensor", shrinkage: Shrinkage | None = None) -> "tf.Tensor":
        """Reads one image, in eager mode or inside tf.data: scalar int64 -> uint8 [height, width, channels].

        With `shrinkage`, a JPEG may be decoded at a reduced size; see `decode`.
        """
        return self.images.read(index, self.channels, shrinkage)

    @cached_property
    def origins(self) -> np.ndarray:
        """uint64 [n], by which datasets recognize images that they share, or of which one has crops."""
        return np.frombuffer(b"".join(map(self.images.origin, range(len(self)))), np.uint64)

    def class_counts(self) -> np.ndarray:
        """Returns images of each class: int64 [num_classes]."""
        return np.bincount(self.labels, minlength=self.num_classes)

    def relative_boxes(self) -> np.ndarray:
        """Returns the one object of each image, as float32 [n, 4] relative to height and width, clipped to [0, 1].

        Raises:
            ValueError: an image does not have exactly one object, or sizes are unknown.
        """
        if not self.has_objects or not len(self.sizes) or any(len(each) != 1 for each in self.objects):
            raise ValueError(f"{self.name}: not every image has exactly one object of known size")
        boxes = [
            relative_from_yxyx(each.boxes_yxyx[0], (int(height), int(width)))
            for each, (height, width) in zip(self.objects, self.sizes, strict=True)
        ]
        return np.clip(np.stack(boxes), 0.0, 1.0).astype(np.float32)

    def take(self, indices: np.ndarray) -> "Dataset":
        """Returns the images at `indices` (int [m]), in that order, with the defects of all images: the same object."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            ids=[self.ids[index] for index in indices],
            images=self.images.take(indices),
            labels=self.labels[indices] if self.has_labels else self.labels,
            objects=[self.objects[index] for index in indices] if self.has_objects else (),
            groups=None if self.groups is None else self.groups[indices],
            owners=self.owners[indices] if len(self.owners) else self.owners,
            sizes=self.sizes[indices] if len(self.sizes) else self.sizes,
            raw_annotations=[self.raw_annotations[index] for index in indices] if self.raw_annotations else (),
        )


def fitted_scales(sizes: np.ndarray, size: tuple[int, int], *, stretch: bool) -> np.ndarray:
    """Returns by what boxes of images are multiplied if these are brought to a size, to whole pixels, as in training.

    Args:
        sizes: int [n, 2], (height, width) of the images.
        size: (height, width).
        stretch: whether images fill `size` instead of keeping their aspect ratio.

    Returns:
        float64 [n, 2], (height, width).
    """
    ratios = np.array(size) / sizes
    scales = ratios if stretch else ratios.min(axis=1, keepdims=True)
    return np.maximum(1, np.rint(scales * sizes)) / sizes


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Returns at most `most` positions below `count`, evenly spaced.

    >>> evenly_spaced(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
