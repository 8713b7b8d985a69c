"""The transform for images with one label each."""

from collections.abc import Mapping
from dataclasses import replace

import tensorflow as tf

from tfeff.data.augment import geometry, mixing
from tfeff.data.augment import images as image_augment
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.policy import Augmentation
from tfeff.data.images import resizing
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Batch, Shard, Transform


class ImageTransform(Transform):
    """Augmentation of images, which are resized and mixed in pairs.

    A batch holds

    - `image`: float32 [b, height, width, channels], in [0, 255];
    - `label`: float32 [b, num_classes], one-hot, or soft after mixing.

    MixUp and CutMix choose partners within a batch, so these choices depend on (seed, step) and on the batch size.

    Args:
        reader: images of one size, or whole images, each of its own size.
        size, seed: see `Transform`.
        augmentation, plain_from: see `Transform`; default no augmentation.
        center_crop: use the central square of each image, whose side is this fraction of the shorter side of the
            image, unless the augmentation draws a crop. Required for images of different sizes.
        interpolation: interpolation of all resizing, a key of `resizing.FILTERS`.
    """

    def __init__(
        self,
        reader: Reader,
        size: tuple[int, int],
        *,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        plain_from: int | None = None,
        center_crop: float | None = None,
        interpolation: str = "bilinear",
    ) -> None:
        self.reader, self.size, self.seed = reader, size, seed
        self.augmentation: Augmentation = augmentation or Augmentation()
        self.plain_from = plain_from
        self.center_crop, self.interpolation = center_crop, interpolation
        self.per_example = not reader.is_cached or center_crop is not None
        if not reader.cache.uniform and center_crop is None:
            raise ValueError(f"{reader.dataset.name}: images of different sizes; bring them to one size in the cache")

    @property
    def form(self) -> tuple[object, ...]:
        """See `Transform`."""
        return self.size, self.center_crop, self.interpolation

    def load(self, draws: Draws) -> Batch:
        """See `Transform`."""
        labels = tf.one_hot(tf.gather(self.reader.labels, draws.index), self.reader.dataset.num_classes)
        return {**self._images(draws), "label": labels}

    def _images(self, draws: Draws) -> Batch:
        if self.center_crop is None:
            return super().load(draws)
        image = self.reader.image(draws.index[0])
        if self.augmentation.crop_area:
            images = geometry.random_crop(image[tf.newaxis], self.size, self.augmentation, draws, self.interpolation)
        else:
            images = resizing.center(image, self.size, self.center_crop, self.interpolation)[tf.newaxis]
        return {"image": images}

    @property
    def mixes(self) -> bool:
        """See `Transform`."""
        return self.augmentation.mixes

    def mixing(self, batch_size: int, step: tf.Tensor) -> Batch:
        """See `Transform`; `mixup`, `cutmix` and `center` as from `mixing.proportions`."""
        mixup, cutmix, center = mixing.proportions(batch_size, self.augmentation, self.seed, step)
        partner = mixing.partners(batch_size, self.seed, step)
        return {"partner": partner, "mixup": mixup, "cutmix": cutmix, "center": center}

    def finish(self, loaded: Batch, table: Mapping[str, tf.Tensor], shard: Shard) -> Batch:
        """See `Transform`."""
        return self._in_phases(table["epoch"], lambda augmentation: self._augmented(loaded, table, shard, augmentation))

    def _augmented(
        self, loaded: Batch, table: Mapping[str, tf.Tensor], shard: Shard, augmentation: Augmentation
    ) -> Batch:
        images, labels = loaded["image"], loaded["label"]
        draws = self.draws(table)
        given = self.given if augmentation is self.augmentation else None
        if self.center_crop is not None:  # `load` has cropped them
            augmentation = replace(augmentation, crop_area=0.0)
        images = image_augment.augment(images, self.size, augmentation, draws, self.interpolation)
        if given is not None:
            images = given.images(images, draws)
        own = slice(0, shard.size)  # partners from other workers' rows follow; they are not part of this batch
        if augmentation.mixes:
            shares = table["mixup"], table["cutmix"], table["center"]
            images, labels = mixing.mix(images, labels, own, table["partner"], *shares)
        return {"image": images[own], "label": labels[own]}
