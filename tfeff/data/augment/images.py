"""Augmentation of a batch of images with one label each: all steps in order, among them color jitter and erasing."""

import math

import numpy as np
import tensorflow as tf

from tfeff.data.augment import geometry
from tfeff.data.augment.autoaugment import autoaugment, randaugment
from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.policy import Augmentation
from tfeff.data.images import resizing


def augment(
    images: tf.Tensor,
    size: tuple[int, int],
    augmentation: Augmentation,
    draws: Draws,
    interpolation: str = "bilinear",
) -> tf.Tensor:
    """Augments each image with its own random numbers and resizes the batch to the network's resolution.

    Padded crops and flips copy pixels of the cached size; random crops replace the resizing, which all other steps
    follow.

    Args:
        images: uint8 [n, height, width, channels], height and width known.
        size: (height, width) of the result.
        augmentation: the settings; MixUp and CutMix are ignored here, see `mixing`.
        draws: the examples.
        interpolation: interpolation of the resizing, a key of `resizing.FILTERS`.

    Returns:
        float32 [n, *size, channels] in [0, 255].
    """
    if augmentation.horizontal_flip or augmentation.vertical_flip or augmentation.crop_padding:
        images = geometry.crop_and_flip(images, augmentation, draws)
    if augmentation.crop_area:
        images = geometry.random_crop(images, size, augmentation, draws, interpolation)
    else:
        images = resizing.resize(images, size, interpolation)
    if augmentation.warps:
        images = geometry.warp(images, augmentation, draws)
    if augmentation.jitters:
        images = jitter(images, augmentation, draws)
    if augmentation.autoaugment:
        images = autoaugment(images, draws)
    if augmentation.randaugment_layers:
        images = randaugment(images, augmentation.randaugment_layers, augmentation.randaugment_magnitude, draws)
    if augmentation.random_erasing:
        images = random_erasing(images, augmentation.random_erasing, draws)
    return images


_AREA = (0.02, 0.4)  # The paper's s_l and s_h.
_ASPECT = 0.3  # The paper's r_1: height / width within [r_1, 1 / r_1].


def random_erasing(images: tf.Tensor, probability: float, draws: Draws) -> tf.Tensor:
    """Fills a random rectangle of each image with one random color, with the given probability.

    Its area is uniform in [0.02, 0.4] of the image's, and the logarithm of its aspect ratio is uniform. Sides are
    clipped to the image's.

    Args:
        images: float32 [n, height, width, channels], height, width and channels known, in [0, 255].
        probability: probability in [0, 1].
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
    """Returns which of `length` pixels an interval of `side` pixels at a place in [0, 1) covers: bool [n, length]."""
    side = tf.cast(tf.clip_by_value(tf.round(side), 1.0, float(length)), tf.float32)
    start = tf.floor(place * (length - side + 1.0))[:, tf.newaxis]
    pixel = tf.range(length, dtype=tf.float32)[tf.newaxis]
    return (start <= pixel) & (pixel < start + side[:, tf.newaxis])


LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_RGB_TO_YIQ = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


def jitter(images: tf.Tensor, augmentation: Augmentation, draws: Draws, covered: tf.Tensor | None = None) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue randomly, in this order, without clipping in between.

    Saturation and hue preserve luma (hue is a rotation in the I-Q plane of YIQ), so all four combine to one matrix and
    one offset per image. For gray images, saturation and hue do nothing.

    Args:
        images: float32 [n, height, width, channels], channels known, in [0, 255].
        augmentation: uses brightness, contrast, saturation and hue.
        draws: the n examples.
        covered: bool [n, height, width, 1], the pixels that change and whose mean luma contrast keeps; None: all.

    Returns:
        float32 of the same shape, clipped to [0, 255].
    """
    # In double precision, since the last bit of float32 sums and sines depends on the batch size.
    chance = 2.0 * tf.cast(draws.uniform(Purpose.COLOR, 4), tf.float64) - 1.0
    brightness = 1.0 + augmentation.brightness * chance[:, 0]
    contrast = 1.0 + augmentation.contrast * chance[:, 1]
    gain = brightness * contrast
    # Channels [n, height, width] of their own take a third of the time of operations that broadcast over channels.
    given = channels = tf.unstack(images, axis=-1)
    shown = None if covered is None else tf.cast(covered[..., 0], tf.float32)
    if len(channels) == 3 and (augmentation.saturation or augmentation.hue):
        matrix = _turn(1.0 + augmentation.saturation * chance[:, 2], 2 * math.pi * augmentation.hue * chance[:, 3])
        channels = [
            tf.add_n([channel * _of_image(matrix[:, row, column]) for column, channel in enumerate(channels)])
            for row in range(3)
        ]
    channels = [channel * _of_image(gain) for channel in channels]
    if augmentation.contrast:
        weights = LUMA if len(given) == 3 else np.ones(1)
        luma = tf.add_n([weight * _mean(channel, shown) for weight, channel in zip(weights, given, strict=True)])
        channels = [channel + _of_image((brightness - gain) * luma) for channel in channels]
    channels = [tf.clip_by_value(channel, 0.0, 255.0) for channel in channels]
    if shown is not None:  # products are exact, and faster than `tf.where`
        channels = [new * shown + old * (1.0 - shown) for new, old in zip(channels, given, strict=True)]
    return tf.stack(channels, axis=-1)


def _of_image(amount: tf.Tensor) -> tf.Tensor:
    return tf.cast(amount, tf.float32)[:, tf.newaxis, tf.newaxis]


def _mean(channel: tf.Tensor, shown: tf.Tensor | None) -> tf.Tensor:
    """Returns the mean of the pixels that are shown, 1 or 0, or of all: float64 [n]."""
    if shown is None:
        return tf.reduce_mean(tf.cast(channel, tf.float64), axis=(1, 2))
    total = tf.reduce_sum(tf.cast(channel * shown, tf.float64), axis=(1, 2))
    return tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(shown, tf.float64), axis=(1, 2)))


def _turn(saturation: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Returns RGB matrices that scale and rotate chroma: float64 [n, 3, 3]."""
    cosine, sine = saturation * tf.cos(angle), saturation * tf.sin(angle)
    one, zero = tf.ones_like(cosine), tf.zeros_like(cosine)
    rows = [one, zero, zero, zero, cosine, -sine, zero, sine, cosine]
    chroma = tf.reshape(tf.stack(rows, axis=-1), (-1, 3, 3))
    return _YIQ_TO_RGB @ chroma @ _RGB_TO_YIQ
