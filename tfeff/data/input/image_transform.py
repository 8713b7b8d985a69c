"""The transform for images with one label each."""

from collections.abc import Mapping
from typing import Self

import tensorflow as tf

from tfeff.data.augment import images as image_augment
from tfeff.data.augment import mixing
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.policy import Augmentation
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Batch, Shard, Transform


class ImageTransform(Transform):
    """Augments images, resizes them and mixes them in pairs.

    A batch holds

    - `image`: float32 [b, height, width, channels], in [0, 255];
    - `label`: float32 [b, num_classes], one-hot, or soft after mixing.

    MixUp and CutMix choose partners within a batch, so these choices depend on (seed, step) and on the batch size.

    Args:
        reader: images of one size.
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
        augmentation: Augmentation | None = None,
        plain_from: int | None = None,
    ) -> None:
        self.reader, self.size, self.seed = reader, size, seed
        self.augmentation: Augmentation = augmentation or Augmentation()
        self.plain_from = plain_from
        self.per_example = not reader.is_cached
        if reader.cache.image_size is None:
            raise ValueError(f"{reader.dataset.name}: images of different sizes; bring them to one size in the cache")

    def without_augmentation(self) -> Self:
        """See `Transform`."""
        return type(self)(self.reader, self.size, seed=self.seed)

    def partners(self, batch_size: int, step: tf.Tensor) -> tf.Tensor | None:
        """See `Transform`."""
        return mixing.partners(batch_size, self.seed, step) if self.augmentation.mixes else None

    def finish(self, loaded: Batch, table: Mapping[str, tf.Tensor], shard: Shard) -> Batch:
        """See `Transform`."""
        return self._in_phases(
            table["epoch"], lambda augmentation: self._augmented(loaded["image"], table, shard, augmentation)
        )

    def _augmented(
        self, images: tf.Tensor, table: Mapping[str, tf.Tensor], shard: Shard, augmentation: Augmentation
    ) -> Batch:
        draws = Draws(self.seed, table["epoch"], table["index"], table["repeat"])
        labels = tf.one_hot(tf.gather(self.reader.labels, table["index"]), self.reader.dataset.num_classes)
        images = image_augment.augment(images, self.size, augmentation, draws)
        own = slice(0, shard.size)  # partners from other workers' rows follow; they are not part of this batch
        if augmentation.mixes:
            proportions = mixing.proportions(shard.batch_size, augmentation, self.seed, table["step"])
            own_proportions = [values[shard.rows] for values in proportions]
            images, labels = mixing.mix(images, labels, own, table["partner"], *own_proportions)
        return {"image": images[own], "label": labels[own]}
