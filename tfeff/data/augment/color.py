"""Color jitter: brightness, contrast, saturation and hue as one affine map per image."""

import math

import numpy as np
import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.policy import Augmentation

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_RGB_TO_YIQ = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


def jitter(images: tf.Tensor, augmentation: Augmentation, draws: Draws) -> tf.Tensor:
    """Random brightness, contrast, saturation and hue, in this order, without clipping in between.

    Saturation and hue preserve luma (hue is a rotation in the I-Q plane of YIQ), so all four combine to one matrix and
    one offset per image. For gray images, saturation and hue do nothing.

    Args:
        images: float32 [n, height, width, channels], channels known, in [0, 255].
        augmentation: uses brightness, contrast, saturation and hue.
        draws: the n examples.

    Returns:
        float32 of the same shape, clipped to [0, 255].
    """
    # In double precision, since the last bit of float32 sums and sines depends on the batch size.
    chance = 2.0 * tf.cast(draws.uniform(Purpose.COLOR, 4), tf.float64) - 1.0
    brightness = 1.0 + augmentation.brightness * chance[:, 0]
    contrast = 1.0 + augmentation.contrast * chance[:, 1]
    gain = brightness * contrast
    mean_color = tf.reduce_mean(tf.cast(images, tf.float64), axis=(1, 2))
    luma = LUMA if images.shape[-1] == 3 else np.ones(1)
    offset = (brightness - gain) * tf.reduce_sum(mean_color * luma, axis=-1)
    if images.shape[-1] == 3 and (augmentation.saturation or augmentation.hue):
        matrix = _turn(1.0 + augmentation.saturation * chance[:, 2], 2 * math.pi * augmentation.hue * chance[:, 3])
        matrix = tf.cast(matrix, tf.float32)[:, tf.newaxis, tf.newaxis]
        images = sum(images[..., i : i + 1] * matrix[..., i] for i in range(3))
    gain, offset = (tf.cast(value, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis] for value in (gain, offset))
    return tf.clip_by_value(images * gain + offset, 0.0, 255.0)


def _turn(saturation: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """RGB matrices that scale and rotate chroma: float64 [n, 3, 3]."""
    cosine, sine = saturation * tf.cos(angle), saturation * tf.sin(angle)
    one, zero = tf.ones_like(cosine), tf.zeros_like(cosine)
    rows = [one, zero, zero, zero, cosine, -sine, zero, sine, cosine]
    chroma = tf.reshape(tf.stack(rows, axis=-1), (-1, 3, 3))
    return _YIQ_TO_RGB @ chroma @ _RGB_TO_YIQ
