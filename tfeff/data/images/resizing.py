"""Resizing, the same in training, evaluation and serving.

An image is resized twice. `fit`, `crop` or `letterbox` brings each decoded image to the size of the image cache,
rounded to uint8 so that cached and freshly decoded pixels are equal. `resize` brings a batch of those to the network's
resolution.

All resizing is bilinear with half-pixel centers and antialiasing: to shrink, the triangle filter is widened by the
scale factor, as in PIL. To enlarge, this is plain bilinear interpolation.
"""

from collections.abc import Callable

import tensorflow as tf

from tfeff.data.images import triangle_filter

FILL = 128
"""Gray level of padding."""
_SMALL = 64  # Up to this side, in pixels, matrices shrink a batch at least twice as fast as TensorFlow's kernel.


def fit(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Stretches one image to a size; the aspect ratio is not kept.

    Args:
        image: uint8 [height, width, channels].
        size: (height, width).

    Returns:
        uint8 [*size, channels], rounded. An image of that size is returned unchanged.
    """
    return tf.ensure_shape(_resampled(image, tf.constant(size)), (*size, image.shape[-1]))


def crop(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Scales one image to the smallest size that covers `size`, keeping its aspect ratio, and cuts out the center.

    Args:
        image: uint8 [height, width, channels].
        size: (height, width).

    Returns:
        uint8 [*size, channels], rounded. An image of that size is returned unchanged.
    """
    covering = tf.maximum(size, _proportional(tf.shape(image)[:2], size, tf.reduce_max))
    top, left = tf.unstack((covering - size) // 2)
    center = _resampled(image, covering)[top : top + size[0], left : left + size[1]]
    return tf.ensure_shape(center, (*size, image.shape[-1]))


def letterbox(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Scales one image to the largest size that fits, keeping its aspect ratio, and pads it with gray.

    The image is at the top left and covers `letterbox_size` pixels.

    Args:
        image: uint8 [height, width, channels].
        size: (height, width) of the canvas.

    Returns:
        uint8 [*size, channels], rounded. An image of that size is returned unchanged.
    """
    return _padded(_resampled(image, letterbox_size(tf.shape(image)[:2], size)), size)


def letterbox_size(native: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """The largest size with the aspect ratio of an image that fits a canvas, rounded, at least 1 pixel each way.

    Args:
        native: int32 [..., 2], (height, width) of the image.
        size: (height, width) of the canvas.

    Returns:
        int32 [..., 2].
    """
    return tf.maximum(1, _proportional(native, size, tf.reduce_min))


def fit_within(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Scales one image like `letterbox`, without rounding: what an image passes through after its cache.

    Args:
        image: any real dtype, [height, width, channels].
        size: (height, width) of the canvas.

    Returns:
        float32 [*size, channels].
    """
    return _padded(tf.image.resize(image, letterbox_size(tf.shape(image)[:2], size), antialias=True), size)


def resize(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Stretches a batch to the network's resolution.

    Args:
        images: any real dtype, [batch, height, width, channels], all but batch known.
        size: (height, width).

    Returns:
        float32 [batch, *size, channels]. An image's pixels do not depend on the rest of the batch.
    """
    height, width = images.shape[1:3]
    # Enlarging needs no wider filter, and the kernel without antialiasing is several times faster.
    shrinks = size[0] < height or size[1] < width
    if shrinks and max(height, width, *size) <= _SMALL:
        return triangle_filter.resample(images, size)
    images = tf.cast(images, tf.float32)
    if (height, width) == tuple(size):
        return images
    return tf.image.resize(images, size, antialias=shrinks)


FITS = {"stretch": fit, "crop": crop, "letterbox": letterbox}
"""How an image is brought to the size of the cache."""


def _proportional(native: tf.Tensor, size: tuple[int, int], choose: Callable[..., tf.Tensor]) -> tf.Tensor:
    """Sizes int32 [..., 2] times the factor that `choose` takes of both directions, rounded."""
    height_width = tf.cast(native, tf.float64)
    factor = choose(tf.constant(size, tf.float64) / height_width, axis=-1, keepdims=True)
    return tf.cast(tf.round(factor * height_width), tf.int32)


def _padded(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """An image at the top left of a gray canvas."""
    padding = tf.pad((tf.constant(size) - tf.shape(image)[:2])[:, tf.newaxis], [[0, 1], [1, 0]])
    canvas = tf.pad(image, padding, constant_values=tf.constant(FILL, image.dtype))
    return tf.ensure_shape(canvas, (*size, image.shape[-1]))


def _resampled(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """One uint8 image at a size (int32 [2]); unchanged if it has that size."""

    def resampled() -> tf.Tensor:
        pixels = tf.image.resize(image[tf.newaxis], size, antialias=True)[0]
        return tf.saturate_cast(tf.round(pixels), tf.uint8)

    unchanged = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
    return tf.cond(unchanged, lambda: image, resampled)
