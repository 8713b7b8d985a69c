"""The transform for images with any number of objects each."""

from collections.abc import Mapping

import tensorflow as tf

from tfeff.data.augment import boxes as box_augment
from tfeff.data.augment.annotated_image import AnnotatedImage
from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.policy import BoxAugmentation
from tfeff.data.images import resizing
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Batch, Shard, Transform

NO_LABEL = -1
"""The label of padding."""


class BoxTransform(Transform):
    """Augmentation of images with boxes, which are scaled to one size; objects are padded to a fixed number.

    A batch holds, for K = `max_objects`,

    - `image`: float32 [b, height, width, channels], in [0, 255]; padding is gray;
    - `boxes_yxyx`: float32 [b, K, 4], in pixels of `image`, clipped to it; 0 for padding;
    - `label`: int32 [b, K]; -1 for padding;
    - `valid`: bool [b, K], False for padding;
    - `difficult` and `crowd`: bool [b, K], see `tfeff.data.dataset.Objects`; difficult are also objects of which
      augmentation leaves too little;
    - `dropped`: int32 [b], how many objects were dropped because an image had more than K. The largest ones stay,
      difficult ones and crowds only in places that others leave, in the dataset's order;

    with M = `max_extra_boxes` above 0,

    - `extra_boxes_yxyx`: float32 [b, M, 4], the reader's extra boxes, best first, moved and clipped as the objects are;
      those outside the image and those beyond M are dropped;
    - `extra_valid`: bool [b, M];

    with `keyed`,

    - `key`: int32 [b, 2], a random key of the example in its epoch, for what a task draws at random;

    and, unless images are augmented,

    - `image_size`: int32 [b, 2], (height, width) of the stored image;
    - `window_yxyx`: float32 [b, 4], the position of the stored image in `image`. In the stored image, a box of `image`
      is (box - top left of the window) * image_size / size of the window.

    Args:
        reader: images with objects.
        size, seed: see `Transform`.
        max_objects: K.
        max_extra_boxes: M; 0 omits extra boxes.
        stretch: whether images fill `size` instead of keeping their aspect ratio.
        keyed: whether batches have a `key`.
        augmentation, plain_from: see `Transform`; default no augmentation.

    Raises:
        ValueError: images have no objects, or are cached in a form that lost the aspect ratio to keep.
    """

    per_example = True

    def __init__(
        self,
        reader: Reader,
        size: tuple[int, int],
        *,
        seed: int = 0,
        max_objects: int = 100,
        max_extra_boxes: int = 0,
        stretch: bool = False,
        keyed: bool = False,
        augmentation: BoxAugmentation | None = None,
        plain_from: int | None = None,
    ) -> None:
        self.reader, self.size, self.seed = reader, size, seed
        self.max_objects, self.max_extra_boxes = max_objects, max_extra_boxes
        self.stretch, self.keyed = stretch, keyed
        self.augmentation: BoxAugmentation = augmentation or BoxAugmentation()
        self.plain_from = plain_from
        cache, dataset = reader.cache, reader.dataset
        if not dataset.has_objects:
            raise ValueError(f"{dataset.name}: images have no objects")
        if cache.fit == "stretch" and not stretch and dataset.size != cache.image_size:
            raise ValueError(f'{dataset.name}: images were stretched in the cache; open it with fit = "letterbox"')
        if max_extra_boxes and reader.extra_boxes is None:
            raise ValueError(f"{dataset.name}: max_extra_boxes is {max_extra_boxes}, but the reader has no extra boxes")

    def dependencies(self, draws: Draws) -> tf.Tensor:
        """See `Transform`."""
        return box_augment.dependencies(len(self.reader), self.augmentation, draws)

    def load(self, draws: Draws) -> Batch:
        """See `Transform`."""
        example = self._in_phases(draws.epoch, lambda augmentation: self._example(draws, augmentation))
        if self.keyed:
            example["key"] = tf.cast(draws.uniform(Purpose.SAMPLING, 2)[0] * 2.0**24, tf.int32)
        return {key: value[tf.newaxis] for key, value in example.items()}

    def finish(self, loaded: Batch, table: Mapping[str, tf.Tensor], shard: Shard) -> Batch:
        """See `Transform`."""
        real = (table["weight"] > 0)[:, tf.newaxis]
        masks = {key: value & real for key, value in loaded.items() if value.dtype == tf.bool}
        return loaded | masks

    def _example(self, draws: Draws, augmentation: BoxAugmentation) -> Batch:
        """Returns the tensors of one augmented example."""

        varies = self.augmentation.any or self.given is not None
        fixed = None if varies else self.reader.annotated(draws.index[0])

        def read(index: tf.Tensor) -> AnnotatedImage:
            return self.reader.annotated(index)[0] if fixed is None else fixed[0]

        image = box_augment.augment(read, len(self.reader), self.size, augmentation, draws, stretch=self.stretch)
        if self.given is not None and augmentation is self.augmentation:
            image = self.given.image(image, draws, augmentation.min_share)
        sides = image.boxes_yxyx[:, 2:] - image.boxes_yxyx[:, :2]
        count = tf.shape(sides)[0]
        kept = tf.minimum(count, self.max_objects)
        order = tf.argsort(tf.reduce_prod(sides, axis=-1), direction="DESCENDING", stable=True)
        ignored = tf.cast(tf.gather(image.difficult | image.crowd, order), tf.int32)
        largest = tf.sort(tf.gather(order, tf.argsort(ignored, stable=True))[:kept])
        padding = self.max_objects - kept
        example = {
            "image": image.image,
            "boxes_yxyx": _padded(tf.gather(image.boxes_yxyx, largest), padding, self.max_objects),
            "label": _padded(tf.gather(image.labels, largest), padding, self.max_objects, NO_LABEL),
            "valid": tf.range(self.max_objects) < kept,
            "difficult": _padded(tf.gather(image.difficult, largest), padding, self.max_objects, False),
            "crowd": _padded(tf.gather(image.crowd, largest), padding, self.max_objects, False),
            "dropped": count - kept,
        }
        if self.max_extra_boxes:
            extra = image.extra_boxes_yxyx[: self.max_extra_boxes]
            number = tf.shape(extra)[0]
            example["extra_boxes_yxyx"] = _padded(extra, self.max_extra_boxes - number, self.max_extra_boxes)
            example["extra_valid"] = tf.range(self.max_extra_boxes) < number
        if fixed is not None:
            original, stored_size = fixed
            example |= {"image_size": stored_size, "window_yxyx": self._window(original.image)}
        return example

    def _window(self, image: tf.Tensor) -> tf.Tensor:
        """Returns the position of an image on the canvas without augmentation: float32 [4]."""
        covered = tf.constant(self.size)
        if not self.stretch:
            covered = resizing.letterbox_size(tf.shape(image)[:2], self.size)
        return tf.pad(tf.cast(covered, tf.float32), [[2, 0]])


def _padded(values: tf.Tensor, padding: tf.Tensor, count: int, value: float = 0) -> tf.Tensor:
    """Returns [n, ...] -> [count, ...], with n + padding = count."""
    paddings = [[0, padding]] + [[0, 0]] * (len(values.shape) - 1)
    padded = tf.pad(values, paddings, constant_values=value)
    return tf.ensure_shape(padded, (count, *values.shape[1:]))


class SingleObjectTransform(Transform):
    """Stretches images to one size and augments them together with their boxes.

    A batch holds

    - `image`: float32 [b, height, width, channels], in [0, 255];
    - `label`: float32 [b, num_classes], one-hot;
    - `box`: float32 [b, 4], yxyx relative to height and width.

    Args:
        reader: images of one size, stretched, each with one object.
        size, seed: see `Transform`.
        augmentation, plain_from: see `Transform`; default no augmentation.
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

    def finish(self, loaded: Batch, table: Mapping[str, tf.Tensor], shard: Shard) -> Batch:
        """See `Transform`."""
        return self._in_phases(
            table["epoch"], lambda augmentation: self._augmented(loaded["image"], table, augmentation)
        )

    def _augmented(self, images: tf.Tensor, table: Mapping[str, tf.Tensor], augmentation: BoxAugmentation) -> Batch:
        draws = self.draws(table)
        labels = tf.one_hot(tf.gather(self.reader.labels, table["index"]), self.reader.dataset.num_classes)
        boxes = tf.gather(self._boxes, table["index"])
        images, boxes = box_augment.augment_single_objects(images, boxes, self.size, augmentation, draws)
        if self.given is not None and augmentation is self.augmentation:
            images, boxes = self.given.single_objects(images, boxes, draws, augmentation.min_share)
        return {"image": images, "label": labels, "box": boxes}
