"""Crops and flips, which copy pixels, and one resampling for rotation, shift, scale and shear."""

import math

import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.policy import Augmentation
from tfeff.errors import UserError


def crop_and_flip(images: tf.Tensor, augmentation: Augmentation, draws: Draws) -> tf.Tensor:
    """Random crops of the reflection-padded images and random flips, without interpolation.

    Args:
        images: any dtype, [n, height, width, channels], height and width known.
        augmentation: uses crop_padding, horizontal_flip and vertical_flip.
        draws: the n examples.

    Returns:
        The same dtype and shape.

    Raises:
        UserError: the padding is not below the image's sides.
    """
    height, width = images.shape[1:3]
    padding = augmentation.crop_padding
    if padding >= min(height, width):
        raise UserError(f"augmentation.crop_padding: {padding} must be below the image size ({height}, {width})")
    chance = draws.uniform(Purpose.PLACEMENT, 4)
    rows = _source_positions(height, padding, chance[:, 0], chance[:, 1] < 0.5 * augmentation.vertical_flip)
    columns = _source_positions(width, padding, chance[:, 2], chance[:, 3] < 0.5 * augmentation.horizontal_flip)
    if padding or augmentation.vertical_flip:
        images = tf.gather(images, rows, axis=1, batch_dims=1)
    if padding or augmentation.horizontal_flip:
        images = tf.gather(images, columns, axis=2, batch_dims=1)
    return images


def warp(images: tf.Tensor, augmentation: Augmentation, draws: Draws) -> tf.Tensor:
    """Random rotation, shear, zoom and shift about the image's center, in one resampling with reflected borders.

    Args:
        images: float32 [n, height, width, channels], height and width known.
        augmentation: uses rotation, shear, scale and shift.
        draws: the n examples.

    Returns:
        The same dtype and shape.
    """
    height, width = images.shape[1:3]
    chance = 2.0 * tf.cast(draws.uniform(Purpose.WARP, 5), tf.float64) - 1.0
    angle = chance[:, 0] * math.radians(augmentation.rotation)
    slant = tf.tan(chance[:, 1] * math.radians(augmentation.shear))
    zoom = 1.0 + chance[:, 2] * augmentation.scale
    shift = chance[:, 3:5] * augmentation.shift * tf.constant([height, width], tf.float64)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # The inverse of zoom * rotation(angle) * shear(slant), on (y, x).
    linear = tf.stack([cosine, -sine, sine - slant * cosine, cosine + slant * sine], axis=-1) / zoom[:, tf.newaxis]
    return resample(images, tf.reshape(linear, (-1, 2, 2)), shift, fill_mode="REFLECT")


def resample(
    images: tf.Tensor,
    linear: tf.Tensor,
    shift: tf.Tensor,
    *,
    fill_mode: str,
    fill_value: float = 0.0,
    interpolation: str = "BILINEAR",
) -> tf.Tensor:
    """Resamples the input at c + linear (p - c - shift) for each output pixel p, c being the image's center.

    Args:
        images: float32 [n, height, width, channels], height and width known.
        linear: float64 [n, 2, 2], on coordinates (y, x): the inverse of the transform. Double precision, since
            the last bit of a float32 sine depends on the position in the batch.
        shift: float64 [n, 2], shift of the image in pixels (down, right).
        fill_mode: values outside the image: `REFLECT` or `CONSTANT`.
        fill_value: the constant.
        interpolation: `BILINEAR` or `NEAREST`.

    Returns:
        The same dtype and shape.
    """
    height, width = images.shape[1:3]
    center = tf.constant([(height - 1) / 2, (width - 1) / 2], tf.float64)
    offset = center - tf.linalg.matvec(linear, center + shift)
    # The operation expects (x, y): swap rows and columns.
    transforms = tf.stack(
        [
            linear[:, 1, 1],
            linear[:, 1, 0],
            offset[:, 1],
            linear[:, 0, 1],
            linear[:, 0, 0],
            offset[:, 0],
            tf.zeros_like(offset[:, 0]),
            tf.zeros_like(offset[:, 0]),
        ],
        axis=-1,
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.cast(transforms, tf.float32),
        output_shape=(height, width),
        fill_value=fill_value,
        interpolation=interpolation,
        fill_mode=fill_mode,
    )


def _source_positions(length: int, padding: int, chance: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """The source pixel of each of `length` pixels along one axis: int32 [n, length]."""
    offset = tf.cast(tf.floor(chance * (2 * padding + 1)), tf.int32)[:, tf.newaxis] - padding
    pixel = tf.range(length)[tf.newaxis]
    position = tf.where(mirrored[:, tf.newaxis], length - 1 - pixel, pixel) + offset
    last = length - 1
    return last - tf.abs(last - tf.abs(position))
