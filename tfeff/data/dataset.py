"""A labelled image set with random access: what every catalog name becomes."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfeff.errors import UserError


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
