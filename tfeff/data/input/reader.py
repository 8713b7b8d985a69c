"""Images by index, with what is known about each: the only part of the input pipeline that touches a dataset."""

from functools import cached_property

import numpy as np
import tensorflow as tf

from tfeff.data.dataset import Dataset
from tfeff.data.images.cache import ImageCache


class Reader:
    """Reads images and labels of an image cache inside TensorFlow graphs.

    Args:
        cache: the images, cached or decoded at each use.
    """

    def __init__(self, cache: ImageCache) -> None:
        self.cache = cache
        with tf.device("CPU:0"):
            self._rows = tf.constant(cache.rows)

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def dataset(self) -> Dataset:
        """The dataset that indices refer to."""
        return self.cache.dataset

    @property
    def is_cached(self) -> bool:
        """Whether images are read from memory rather than decoded at each use."""
        return self.cache.images is not None

    def image(self, index: tf.Tensor) -> tf.Tensor:
        """One image as the cache holds it: scalar int64 -> uint8 [height, width, channels]."""
        if self.is_cached:
            return self.images(index[tf.newaxis])[0]
        return self.cache.read(index)

    def images(self, indices: tf.Tensor) -> tf.Tensor:
        """Several images of a cache: int64 [n] -> uint8 [n, height, width, channels]."""
        return tf.gather(self.cache.images, tf.gather(self._rows, indices))

    @cached_property
    def labels(self) -> tf.Tensor:
        """The class of each image, int32 [n].

        Raises:
            ValueError: images have no labels.
        """
        if not self.dataset.has_labels:
            raise ValueError(f"{self.dataset.name}: images have no labels")
        with tf.device("CPU:0"), tf.init_scope():
            return tf.constant(self.dataset.labels)

    @cached_property
    def relative_boxes(self) -> np.ndarray:
        """The box of the one object in each image: float32 [n, 4], yxyx relative to height and width.

        Raises:
            ValueError: an image does not have exactly one object.
        """
        return self.dataset.relative_boxes()
