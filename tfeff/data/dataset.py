"""The one dataset type: images with random access, and their labels or objects.

Boxes are `yxyx` in pixels of the image as stored: (top, left, bottom, right), with right and bottom exclusive, so the
box of the whole image is (0, 0, height, width).
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import tensorflow as tf

from tfeff.boxes import relative_from_yxyx
from tfeff.data.images.storage import ImageStorage
from tfeff.errors import UserError


@dataclass(frozen=True, eq=False)
class Objects:
    """The n objects of one image.

    Attributes:
        boxes_yxyx: float32 [n, 4].
        labels: int32 [n], indices into the class names.
        difficult: bool [n]. VOC's metrics ignore these objects.
        crowd: bool [n], boxes around groups of objects. COCO's metrics ignore them.
    """

    boxes_yxyx: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ignored(self) -> np.ndarray:
        """Objects that neither train nor count, bool [n]: difficult ones and crowds."""
        return self.difficult | self.crowd

    def take(self, indices: np.ndarray) -> "Objects":
        """The objects at `indices` (int [m] or bool [n])."""
        return Objects(*(getattr(self, each.name)[indices] for each in dataclasses.fields(self)))


@dataclass
class Defects:
    """Defects of a dataset's annotations, by kind.

    Attributes:
        counts: number of defects of each kind.
        examples: where the first defect of each kind is.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        """Counts one defect."""
        self.counts[kind] += 1
        self.examples.setdefault(kind, where)

    def text(self) -> str:
        """One line per kind; empty without defects."""
        return "\n".join(
            f"{count} x {kind}, first: {self.examples[kind]}" for kind, count in sorted(self.counts.items())
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """n images with random access, and what is known about each.

    Attributes:
        name: how messages refer to the dataset, such as `folder:flowers/train`.
        class_names: one per class; a label is an index into them.
        ids: one unique string per image, by which stores, results and messages refer to it: a path or `train[17]`.
        images: where the images lie.
        channels: 1 (gray) or 3 (RGB); what `read` returns.
        labels: int32 [n], the class of each image, if images have one.
        objects: the objects in each image, if they are annotated.
        sizes: int32 [n, 2], (height, width) of each image, if known without opening its file again.
        defects: defects found in the annotations.
        notes: what the user should know about how the images were chosen, one line each.
        drawn: whether the split was drawn by seed, because the source has no splits of its own.

    Raises:
        UserError: no images, duplicate ids, or a label outside the classes.
    """

    name: str
    class_names: tuple[str, ...]
    ids: Sequence[str]
    images: ImageStorage
    channels: int = 3
    labels: np.ndarray | None = None
    objects: Sequence[Objects] | None = None
    sizes: np.ndarray | None = None
    defects: Defects = field(default_factory=Defects)
    notes: tuple[str, ...] = ()
    drawn: bool = False

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise UserError(f"{self.name}: no images")
        for what, values in (("images", self.images), ("labels", self.labels), ("objects", self.objects)):
            if values is not None and len(values) != len(self.ids):
                raise ValueError(f"{self.name}: {len(values)} {what} for {len(self.ids)} ids")
        if self.channels not in (1, 3):
            raise UserError(f"{self.name}: channels must be 1 (gray) or 3 (RGB), not {self.channels}")
        if self.labels is not None:
            labels = np.asarray(self.labels)
            wrong = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
            if len(wrong):
                raise UserError(
                    f"{self.name}: {len(wrong)} labels are outside 0..{len(self.class_names) - 1}; "
                    f"the first is {labels[wrong[0]]} at {self.ids[wrong[0]]}"
                )
            object.__setattr__(self, "labels", labels.astype(np.int32))
        if self.objects is not None:
            duplicates = [name for name, count in Counter(self.ids).items() if count > 1]
            if duplicates:
                raise UserError(
                    f"{self.name}: {len(duplicates)} names belong to several images; the first is {duplicates[0]}"
                )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """(height, width) if it is known and the same for all images, else None."""
        if self.sizes is None or (self.sizes != self.sizes[0]).any():
            return None
        return int(self.sizes[0, 0]), int(self.sizes[0, 1])

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the images, their labels or objects, or the way they are read may have changed."""
        digest = hashlib.sha256(f"{self.channels} {self.images.fingerprint()}".encode())
        for labels in () if self.labels is None else (self.labels,):
            digest.update(labels.tobytes())
        for each in self.objects or ():
            for values in (each.boxes_yxyx, each.labels, each.difficult, each.crowd):
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def encoded(self, index: int) -> bytes:
        """The bytes of one image file."""
        return self.images.encoded(index)

    def read(self, index: "tf.Tensor") -> "tf.Tensor":
        """One decoded image, in eager mode or inside tf.data: scalar int64 -> uint8 [height, width, channels]."""
        return self.images.read(index, self.channels)

    def class_counts(self) -> np.ndarray:
        """Images of each class: int64 [num_classes]."""
        assert self.labels is not None
        return np.bincount(self.labels, minlength=self.num_classes)

    def relative_boxes(self) -> np.ndarray:
        """The one object of each image, as float32 [n, 4] relative to height and width, clipped to [0, 1].

        Raises:
            ValueError: an image does not have exactly one object, or sizes are unknown.
        """
        if self.objects is None or self.sizes is None or any(len(each) != 1 for each in self.objects):
            raise ValueError(f"{self.name}: not every image has exactly one object of known size")
        boxes = [
            relative_from_yxyx(each.boxes_yxyx[0], (int(height), int(width)))
            for each, (height, width) in zip(self.objects, self.sizes, strict=True)
        ]
        return np.clip(np.stack(boxes), 0.0, 1.0).astype(np.float32)

    def take(self, indices: np.ndarray) -> "Dataset":
        """The images at `indices` (int [m]), in that order."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            ids=[self.ids[index] for index in indices],
            images=self.images.take(indices),
            labels=None if self.labels is None else self.labels[indices],
            objects=None if self.objects is None else [self.objects[index] for index in indices],
            sizes=None if self.sizes is None else self.sizes[indices],
        )


@dataclass(frozen=True, eq=False)
class Source:
    """n labelled images, each readable by its index.

    Attributes:
        name: What messages call it, for instance `folder:flowers/train`.
        class_names: One name a class; a label is an index into them.
        labels: int32 [n].
        ids: n strings for messages: a file's path, or `train[17]`.
        channels: 1 (gray) or 3 (RGB).
        read: Scalar int64 tensor -> uint8 [height, width, channels]; runs in eager mode and inside tf.data.
        fingerprint: Changes whenever the images might have; names a disk cache.
        size: (height, width) where all images share one, else None.
        boxes_rel_yxyx: float32 [n, 4], where each image shows one object: the box around it, in shares of the image's
            sides, which resizing leaves as they are.
        notes: What the user should know of how the images were chosen, a line each.

    Raises:
        UserError: no images, or a label outside the classes.
    """

    name: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    ids: Sequence[str]
    channels: int
    read: Callable[[tf.Tensor], tf.Tensor]
    fingerprint: str
    size: tuple[int, int] | None = None
    boxes_rel_yxyx: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if not len(labels):
            raise UserError(f"{self.name}: no images")
        if len(labels) != len(self.ids):
            raise ValueError(f"{self.name}: {len(labels)} labels for {len(self.ids)} ids")
        if self.boxes_rel_yxyx is not None and self.boxes_rel_yxyx.shape != (len(labels), 4):
            raise ValueError(f"{self.name}: boxes {self.boxes_rel_yxyx.shape} for {len(labels)} images")
        if self.channels not in (1, 3):
            raise UserError(f"{self.name}: channels must be 1 (gray) or 3 (RGB), not {self.channels}")
        wrong = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
        if len(wrong):
            raise UserError(
                f"{self.name}: {len(wrong)} labels are outside 0..{len(self.class_names) - 1}, "
                f"the first is {labels[wrong[0]]} at {self.ids[wrong[0]]}"
            )
        object.__setattr__(self, "labels", labels.astype(np.int32))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def class_counts(self) -> np.ndarray:
        """Images of each class: int64 [num_classes]."""
        return np.bincount(self.labels, minlength=self.num_classes)

    def take(self, indices: np.ndarray) -> "Source":
        """The subset of images at `indices` (int [m]), in that order."""
        indices = np.asarray(indices, np.int64)
        with tf.device("CPU:0"):
            positions = tf.constant(indices)
        read = self.read
        return Source(
            name=self.name,
            class_names=self.class_names,
            labels=self.labels[indices],
            ids=[self.ids[i] for i in indices],
            channels=self.channels,
            read=lambda i: read(positions[i]),
            fingerprint=hashlib.sha256(self.fingerprint.encode() + indices.tobytes()).hexdigest(),
            size=self.size,
            boxes_rel_yxyx=None if self.boxes_rel_yxyx is None else self.boxes_rel_yxyx[indices],
            notes=self.notes,
        )
