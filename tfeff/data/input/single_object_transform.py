"""The transform for images with one labeled object each."""

from collections.abc import Mapping
from typing import Self

import tensorflow as tf

from tfeff.data.augment import single_object
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Batch, Shard, Transform


class SingleObjectTransform(Transform):
    """Stretches images to one size and augments them together with their boxes.

    A batch holds

    - `image`: float32 [b, height, width, channels], in [0, 255];
    - `label`: float32 [b, num_classes], one-hot;
    - `box`: float32 [b, 4], yxyx relative to height and width.

    Args:
        reader: images of one size, stretched, each with one object.
        size: (height, width) of the batch's images.
        seed: at least 0.
        augmentation: random variation; default none.
        plain_from: epoch, from 0, from which on only `augmentation.plain` applies; None for never.
    """

    def __init__(
        self,
        reader: Reader,
        size: tuple[int, int],
        *,
        seed: int = 0,
        augmentation: BoxAugmentation | None = None,
        plain_from: int | None = None,
    ) -> None:
        self.reader, self.size, self.seed = reader, size, seed
        self.augmentation: BoxAugmentation = augmentation or BoxAugmentation()
        self.plain_from = plain_from
        self.per_example = not reader.is_cached
        if reader.cache.fit != "stretch":
            raise ValueError(f"{reader.dataset.name}: relative boxes need stretched images, not {reader.cache.fit}")
        with tf.device("CPU:0"):
            self._boxes = tf.constant(reader.relative_boxes, tf.float32)

    def without_augmentation(self) -> Self:
        """See `Transform`."""
        return type(self)(self.reader, self.size, seed=self.seed)

    def finish(self, loaded: Batch, table: Mapping[str, tf.Tensor], shard: Shard) -> Batch:
        """See `Transform`."""
        return self._in_phases(
            table["epoch"], lambda augmentation: self._augmented(loaded["image"], table, augmentation)
        )

    def _augmented(self, images: tf.Tensor, table: Mapping[str, tf.Tensor], augmentation: BoxAugmentation) -> Batch:
        draws = Draws(self.seed, table["epoch"], table["index"], table["repeat"])
        labels = tf.one_hot(tf.gather(self.reader.labels, table["index"]), self.reader.dataset.num_classes)
        boxes = tf.gather(self._boxes, table["index"])
        images, boxes = single_object.augment(images, boxes, self.size, augmentation, draws)
        return {"image": images, "label": labels, "box": boxes}
