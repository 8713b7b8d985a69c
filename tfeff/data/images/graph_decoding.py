"""Decoding inside TensorFlow graphs, the same in training, evaluation and serving."""

import numpy as np
import tensorflow as tf

from tfeff.data.images import bitmap

_LUMA_WEIGHTS = (19595, 38470, 7471)  # ITU-R BT.601 in 1/65536, as PIL's and OpenCV's conversion to gray.


def decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes one image.

    The format (JPEG, PNG, BMP, the first frame of a GIF, WebP) is detected by content, not by file name. Gray and
    palette images become RGB, transparency is dropped, 16-bit samples lose their lower byte. EXIF orientation is
    ignored: pixels stay as stored.

    Args:
        encoded: scalar string.
        channels: 3 for RGB, 1 for its luma.

    Returns:
        uint8 [height, width, channels].

    Raises:
        tf.errors.InvalidArgumentError: not an image of these formats, or a corrupt one.
    """
    image = tf.cond(tf.io.is_jpeg(encoded), lambda: _decode_jpeg(encoded), lambda: _decode_other(encoded))
    return image if channels == 3 else luma(image)


def _decode_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    # The default DCT is no faster, and differs from PIL and OpenCV by up to a dozen levels.
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
    """Converts decoded RGB pixels to a number of channels: uint8 [..., 3] -> uint8 [..., channels]."""
    return pixels if channels == 3 else np.asarray(luma(tf.constant(pixels)))
