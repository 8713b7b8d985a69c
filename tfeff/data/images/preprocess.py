"""From encoded bytes to the pixels a network sees: the same functions in training, testing and serving.

An image takes two steps. `fit` brings it, whatever its size, to the loader's fixed size, rounded to uint8 so that a
cache holds exactly what would be computed again. `resize` brings a batch of those to the network's resolution.

Both are bilinear with half-pixel centres and antialiased: where the image shrinks, the triangle filter is widened by
the factor of shrinkage (as in PIL), since a photo at a fifth of its size would otherwise lose most of its pixels. Where
the image grows, that is plain bilinear interpolation. The aspect ratio is not kept: the whole image is used.
"""

import numpy as np
import tensorflow as tf

from tfeff.data.images import bitmap, triangle_filter

_SMALL = 64  # Sides in pixels up to which matrices shrink a batch at least twice as fast as TensorFlow's kernel.
_LUMA_WEIGHTS = (19595, 38470, 7471)  # ITU-R BT.601 in 1/65536, as PIL's and OpenCV's conversion to gray.


def decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """One encoded image as pixels.

    JPEG, PNG, BMP, GIF (its first frame) and WebP are told apart by content, whatever the file is called. Gray and
    palette images become RGB, transparency is dropped, 16-bit samples lose their lower byte. Pixels are taken as they
    are stored: an orientation noted in EXIF metadata is not followed, in training, evaluation and serving alike.

    Args:
        encoded: Scalar string.
        channels: 3 for RGB, 1 for its luma.

    Returns:
        uint8 [height, width, channels].

    Raises:
        tf.errors.InvalidArgumentError: not an image of these formats, or a damaged one.
    """
    image = tf.cond(tf.io.is_jpeg(encoded), lambda: _decode_jpeg(encoded), lambda: _decode_other(encoded))
    return image if channels == 3 else luma(image)


def _decode_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    # The default transform is no faster, and off by up to a dozen levels from what PIL and OpenCV read.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return tf.cond(bitmap.has_palette(encoded), lambda: bitmap.colors(encoded, image[..., 0]), lambda: image)


def luma(image: tf.Tensor) -> tf.Tensor:
    """ITU-R BT.601 luma of RGB pixels, rounded: uint8 [..., 3] -> uint8 [..., 1]."""
    weighted = tf.cast(image, tf.int32) * tf.constant(_LUMA_WEIGHTS)
    total = tf.reduce_sum(weighted, axis=-1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(total + 0x8000, 16), tf.uint8)


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Decoded RGB pixels, uint8 [..., 3], as a network of `channels` takes them: uint8 [..., channels]."""
    return pixels if channels == 3 else np.asarray(luma(tf.constant(pixels)))


def fit(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """One image at the loader's size.

    Args:
        image: uint8 [height, width, channels].
        size: (height, width).

    Returns:
        uint8 [*size, channels], rounded; an image already of that size is unchanged.
    """

    def resampled() -> tf.Tensor:
        pixels = tf.image.resize(image[tf.newaxis], size, antialias=True)[0]
        return tf.saturate_cast(tf.round(pixels), tf.uint8)

    fits = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
    fitted = tf.cond(fits, lambda: image, resampled)
    return tf.ensure_shape(fitted, (*size, image.shape[-1]))


def resize(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """A batch at the network's resolution.

    Args:
        images: Any real dtype [batch, height, width, channels], all but batch known.
        size: (height, width).

    Returns:
        float32 [batch, *size, channels]; no bit of an image depends on the batch it comes in.
    """
    height, width = images.shape[1:3]
    # Growing needs no wider filter, and the kernel without one is several times faster.
    shrinks = size[0] < height or size[1] < width
    if shrinks and max(height, width, *size) <= _SMALL:
        return triangle_filter.resample(images, size)
    images = tf.cast(images, tf.float32)
    if (height, width) == tuple(size):
        return images
    return tf.image.resize(images, size, antialias=shrinks)
