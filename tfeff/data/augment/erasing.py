"""Random erasing (Zhong et al. 2020)."""

import math

import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws, Purpose

_AREA = (0.02, 0.4)  # The paper's s_l and s_h.
_ASPECT = 0.3  # The paper's r_1: height / width within [r_1, 1 / r_1].


def random_erasing(images: tf.Tensor, probability: float, draws: Draws) -> tf.Tensor:
    """Fills a random rectangle of each image with one random color, with the given probability.

    Its area is uniform in [0.02, 0.4] of the image's, and the logarithm of its aspect ratio is uniform. Sides are
    clipped to the image's.

    Args:
        images: float32 [n, height, width, channels], height, width and channels known, in [0, 255].
        probability: in [0, 1].
        draws: the n examples.

    Returns:
        float32 of the same shape.
    """
    height, width, channels = images.shape[1:]
    chance = draws.uniform(Purpose.ERASING, 5 + channels)
    # In double precision, since the last bit of a float32 exponential depends on the position in the batch.
    shape = tf.cast(chance[:, 1:3], tf.float64)
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * shape[:, 0]) * height * width
    aspect = tf.exp(math.log(_ASPECT) * (2.0 * shape[:, 1] - 1.0))
    rows = _interval(tf.sqrt(area * aspect), chance[:, 3], height)
    columns = _interval(tf.sqrt(area / aspect), chance[:, 4], width)
    happens = (chance[:, 0] < probability)[:, tf.newaxis, tf.newaxis]
    erased = happens & rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :]
    paint = tf.floor(256.0 * chance[:, tf.newaxis, tf.newaxis, 5:])
    return tf.where(erased[..., tf.newaxis], paint, images)


def _interval(side: tf.Tensor, place: tf.Tensor, length: int) -> tf.Tensor:
    """Which of `length` pixels an interval of `side` pixels at a place in [0, 1) covers: bool [n, length]."""
    side = tf.cast(tf.clip_by_value(tf.round(side), 1.0, float(length)), tf.float32)
    start = tf.floor(place * (length - side + 1.0))[:, tf.newaxis]
    pixel = tf.range(length, dtype=tf.float32)[tf.newaxis]
    return (start <= pixel) & (pixel < start + side[:, tf.newaxis])
