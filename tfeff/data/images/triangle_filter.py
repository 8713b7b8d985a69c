"""Shrinking small images: antialiased bilinear resampling as two matrix products.

The filter is separable and linear, so one matrix resamples all rows of a batch and another all columns. Weights and
intermediate values are rounded to so few binary places that all products and partial sums of 8-bit levels are exact in
float32. The order of summation is then irrelevant: results do not depend on threads, batch size or processor. The
rounding error is about 0.01 of 255 levels (root mean square), at most about 0.1.
"""

import numpy as np
import tensorflow as tf

_MIDDLE = 128.0  # Minus this, a level takes 7 bits and the sign.
# Binary places. With those 7 bits, either sum fills the 24 bits of a float32: 7 + 17, and 7 + 5 + 12.
_ROW_WEIGHT_PLACES = 17
_BETWEEN_PLACES = 5
_COLUMN_WEIGHT_PLACES = 12


def resample(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes a batch. The cost grows with the cube of the sides, so this pays off for small images only.

    Args:
        images: any real dtype, [batch, height, width, channels], all but batch known; whole numbers in 0..255 are
            resampled exactly.
        size: (height, width).

    Returns:
        float32 [batch, *size, channels].
    """
    batch, height, width, channels = images.shape
    rows = weights(height, size[0], _ROW_WEIGHT_PLACES)
    columns = np.kron(weights(width, size[1], _COLUMN_WEIGHT_PLACES), np.eye(channels)).T
    # GPUs may round the factors of a float32 product.
    with tf.device("CPU:0"):
        levels = tf.reshape(tf.cast(images, tf.float32) - _MIDDLE, (-1, height, width * channels))
        between = tf.matmul(tf.constant(rows, tf.float32), levels)
        between = tf.round(between * 2.0**_BETWEEN_PLACES) / 2.0**_BETWEEN_PLACES
        levels = tf.matmul(tf.reshape(between, (-1, width * channels)), tf.constant(columns, tf.float32))
        return tf.ensure_shape(tf.reshape(levels + _MIDDLE, (-1, *size, channels)), (batch, *size, channels))


def weights(length: int, target: int, places: int) -> np.ndarray:
    """The weight of each of `length` pixels in each of `target` pixels: float64 [target, length].

    A triangle of half-width max(1, length / target) about each target's center (as in PIL), truncated at the borders.
    Each row sums to 1 exactly, in multiples of 2**-places, none of them negative.
    """
    step = length / target
    centers = (np.arange(target)[:, np.newaxis] + 0.5) * step
    triangles = np.maximum(1.0 - np.abs(np.arange(length) + 0.5 - centers) / max(step, 1.0), 0.0)
    shares = np.cumsum(triangles, axis=1) / triangles.sum(axis=1, keepdims=True)
    return np.diff(np.rint(shares * 2.0**places) / 2.0**places, axis=1, prepend=0.0)
