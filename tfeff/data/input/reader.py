"""Images by index, with what is known about each: the only part of the input pipeline that touches a dataset."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import tensorflow as tf

from tfeff.data.augment.annotated_image import AnnotatedImage, annotated
from tfeff.data.dataset import Dataset
from tfeff.data.images import resizing
from tfeff.data.images.storage import host_constant
from tfeff.data.input.cache import ImageCache

ExtraBoxes = Callable[[tf.Tensor], tf.Tensor]
"""Index (int64 scalar) -> float32 [m, 4], yxyx in pixels of the stored image, best first; runs inside tf.data."""


class Reader:
    """Reader of images, labels and objects inside TensorFlow graphs.

    Args:
        cache: the images, cached or decoded at each use.
        extra_boxes: gives each image boxes besides its objects, such as proposals.
    """

    def __init__(self, cache: ImageCache, extra_boxes: ExtraBoxes | None = None) -> None:
        self.cache = cache
        self.extra_boxes = extra_boxes

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def dataset(self) -> Dataset:
        """The dataset that indices refer to."""
        return self.cache.dataset

    @property
    def is_cached(self) -> bool:
        """Whether images are read from memory rather than decoded at each use."""
        return self.cache.pixels is not None

    def image(self, index: tf.Tensor) -> tf.Tensor:
        """Returns one image as the cache holds it: scalar int64 -> uint8 [height, width, channels]."""
        return self.cache.read(index)

    def images(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns several images of a cache: int64 [n] -> uint8 [n, height, width, channels]."""
        return self.cache.gather(indices)

    def annotated(self, index: tf.Tensor) -> tuple[AnnotatedImage, tf.Tensor]:
        """Returns one image with its objects and extra boxes: scalar int64 -> image, int32 [2].

        A cached image has the size at which it is cached, without the padding of a letterbox; boxes follow it. The
        second result is (height, width) of the stored image.

        Raises:
            ValueError: the dataset has no objects, or cached images have unknown original sizes.
        """
        image = self.image(index)
        stored_size = tf.shape(image)[:2]
        scale = tf.ones(4)
        if self.cache.image_size is not None:
            size = tf.constant(self.cache.image_size) if self.cache.uniform else stored_size
            stored_size = self._sizes[index]
            if self.cache.fit == "letterbox":
                size = resizing.letterbox_size(stored_size, self.cache.image_size)
                image = image[: size[0], : size[1]]
            scale = tf.tile(tf.cast(size / stored_size, tf.float32), [2])
        first, last = self._starts[index], self._starts[index + 1]
        boxes, labels, difficult, crowd = (values[first:last] for values in self._objects)
        extra = tf.zeros((0, 4))
        if self.extra_boxes is not None:
            extra = tf.ensure_shape(self.extra_boxes(index), (None, 4)) * scale
        image = tf.ensure_shape(image, (None, None, self.dataset.channels))
        return annotated(image, boxes * scale, labels, difficult, crowd, extra), stored_size

    @cached_property
    def labels(self) -> tf.Tensor:
        """The class of each image, int32 [n].

        Raises:
            ValueError: images have no labels.
        """
        if not self.dataset.has_labels:
            raise ValueError(f"{self.dataset.name}: images have no labels")
        return host_constant(self.dataset.labels)

    @cached_property
    def relative_boxes(self) -> np.ndarray:
        """The box of the one object in each image: float32 [n, 4], yxyx relative to height and width.

        Raises:
            ValueError: an image does not have exactly one object.
        """
        return self.dataset.relative_boxes()

    @cached_property
    def object_counts(self) -> np.ndarray:
        """Number of objects in each image, int64 [n].

        Raises:
            ValueError: the dataset has no objects.
        """
        if not self.dataset.has_objects:
            raise ValueError(f"{self.dataset.name}: images have no objects")
        return np.array([len(each) for each in self.dataset.objects], np.int64)

    @cached_property
    def _starts(self) -> tf.Tensor:
        """Where the objects of each image start in `_objects`: int64 [n + 1]."""
        return host_constant(np.concatenate([[0], np.cumsum(self.object_counts)]))

    @cached_property
    def _objects(self) -> tuple[tf.Tensor, ...]:
        """Boxes, labels and the flags difficult and crowd of all objects, one image after the other."""
        objects = self.dataset.objects or ()
        columns = (
            np.concatenate([np.zeros((0, 4)), *(each.boxes_yxyx for each in objects)]).astype(np.float32),
            np.concatenate([np.zeros(0), *(each.labels for each in objects)]).astype(np.int32),
            np.concatenate([np.zeros(0), *(each.difficult for each in objects)]).astype(bool),
            np.concatenate([np.zeros(0), *(each.crowd for each in objects)]).astype(bool),
        )
        return tuple(map(host_constant, columns))

    @cached_property
    def _sizes(self) -> tf.Tensor:
        """(height, width) of each stored image: int32 [n, 2]."""
        if not len(self.dataset.sizes):
            raise ValueError(f"{self.dataset.name}: unknown image sizes; boxes cannot follow resized images")
        return host_constant(self.dataset.sizes)
