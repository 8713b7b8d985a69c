"""How an exported model fits images to its network's input, as the training does."""

from dataclasses import dataclass

import tensorflow as tf

from tfeff.data.images import resizing
from tfeff.tasks.task import ImageReading


@dataclass(frozen=True)
class Fitting:
    """Fit of images of any size to the network's input, in two steps.

    Attributes:
        reading: how the task reads images.
        image_size: (height, width) to which the training fits images first, rounded to whole numbers. None: the size of
            the input, or the image's own size if whole images are read.
        size: (height, width) of the network's input.
        channels: 1 or 3.
    """

    reading: ImageReading
    image_size: tuple[int, int] | None
    size: tuple[int, int]
    channels: int

    @property
    def stored_size(self) -> tuple[int, int]:
        """`image_size`, or that of the input."""
        return self.image_size or self.size

    @property
    def fitted(self) -> tf.TensorSpec:
        """What `fit` returns, in batches."""
        if self.reading.fit in ("stretch", "crop"):
            return tf.TensorSpec([None, *self.stored_size, self.channels], tf.uint8)
        return tf.TensorSpec([None, *self.size, self.channels], tf.float32)

    def fit(self, image: tf.Tensor) -> tf.Tensor:
        """Fits an image, uint8 [height, width, any], to the input, or as the cache does if batches are resized later.

        See `resize`.
        """
        interpolation = self.reading.interpolation
        if self.reading.center_crop is not None:
            if self.image_size is not None:
                image = resizing.whole(image, self.stored_size, interpolation)
            return resizing.center(image, self.size, self.reading.center_crop, interpolation)
        if self.reading.fit != "letterbox":
            return resizing.FITS[self.reading.fit](image, self.stored_size, interpolation)
        return resizing.fit_within(resizing.within(image, self.stored_size), self.size)

    def resize(self, fitted: tf.Tensor) -> tf.Tensor:
        """Returns a batch of `fit` as the network's input, float32 [b, *size, channels]."""
        return resizing.resize(fitted, self.size, self.reading.interpolation)

    def covered(self, sizes: tf.Tensor) -> tf.Tensor:
        """Returns what images cover of the input, from its top left: int32 [b, 2], from their sizes, int32 [b, 2]."""
        if self.reading.fit == "letterbox":
            return resizing.letterbox_size(resizing.letterbox_size(sizes, self.stored_size), self.size)
        return tf.broadcast_to(self.size, tf.shape(sizes))
