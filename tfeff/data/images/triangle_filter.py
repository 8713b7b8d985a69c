"""Small images made smaller: antialiased bilinear resampling as two matrix products.

The filter is separable and linear, so one matrix resamples all rows of a batch and another all columns. Weights and
intermediate values are rounded to so few binary places that every product and every partial sum of 8-bit levels is a
float32 without rounding. The order of summation then does not matter: threads, the size of the batch and the processor
change no bit of an image. What the rounding costs is some 0.01 levels of 255 (root mean square), at most about 0.1.
"""

import numpy as np
import tensorflow as tf

_MIDDLE = 128.0  # Less this, a level takes 7 bits and the sign.
# Binary places. With those 7 bits, either sum fills the 24 bits of a float32: 7 + 17, and 7 + 5 + 12.
_ROW_WEIGHT_PLACES = 17
_BETWEEN_PLACES = 5
_COLUMN_WEIGHT_PLACES = 12


def resample(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """A batch at another size; the work grows with the cube of the sides, so that it pays for small images only.

    Args:
        images: Any real dtype [batch, height, width, channels], all but batch known; exact for whole numbers in 0..255.
        size: (height, width).

    Returns:
        float32 [batch, *size, channels].
    """
    batch, height, width, channels = images.shape
    rows = weights(height, size[0], _ROW_WEIGHT_PLACES)
    columns = np.kron(weights(width, size[1], _COLUMN_WEIGHT_PLACES), np.eye(channels)).T
    # Graphics processors may round the factors of a float32 product.
    with tf.device("CPU:0"):
        levels = tf.reshape(tf.cast(images, tf.float32) - _MIDDLE, (-1, height, width * channels))
        between = tf.matmul(tf.constant(rows, tf.float32), levels)
        between = tf.round(between * 2.0**_BETWEEN_PLACES) / 2.0**_BETWEEN_PLACES
        levels = tf.matmul(tf.reshape(between, (-1, width * channels)), tf.constant(columns, tf.float32))
        return tf.ensure_shape(tf.reshape(levels + _MIDDLE, (-1, *size, channels)), (batch, *size, channels))


def weights(length: int, target: int, places: int) -> np.ndarray:
    """What each of `length` pixels gives to each of `target` pixels: float64 [target, length].

    A triangle of half-width max(1, length / target) about each target's centre (as in PIL), cut off at the borders.
    Each row adds up to 1 exactly, in multiples of 2**-places, none of them negative.
    """
    step = length / target
    centres = (np.arange(target)[:, np.newaxis] + 0.5) * step
    triangles = np.maximum(1.0 - np.abs(np.arange(length) + 0.5 - centres) / max(step, 1.0), 0.0)
    shares = np.cumsum(triangles, axis=1) / triangles.sum(axis=1, keepdims=True)
    return np.diff(np.rint(shares * 2.0**places) / 2.0**places, axis=1, prepend=0.0)
