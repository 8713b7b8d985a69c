"""Crops and flips that copy pixels, crops of random size, and one resampling for rotation, shift, scale and shear."""

import math

import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.policy import Augmentation
from tfeff.data.images import resizing
from tfeff.errors import UserError

CROP_RATIOS = 3 / 4, 4 / 3
"""Least and greatest aspect ratio of a random crop."""


def crop_and_flip(images: tf.Tensor, augmentation: Augmentation, draws: Draws) -> tf.Tensor:
    """Returns random crops of the reflection-padded images and random flips, without interpolation.

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


def random_crop(
    images: tf.Tensor,
    size: tuple[int, int],
    augmentation: Augmentation,
    draws: Draws,
    interpolation: str = "bilinear",
) -> tf.Tensor:
    """Returns crops of random size, aspect ratio and place, stretched to `size` as `resizing.resize` does.

    The logarithm of the aspect ratio is uniform within CROP_RATIOS, and the area is uniform from `crop_area` to the
    largest that fits with this ratio. So every draw gives a crop, while the usual implementations draw both again, up
    to ten times, until the crop fits.

    Args:
        images: any real dtype, [n, height, width, channels].
        size: (height, width) of the result.
        augmentation: uses crop_area.
        draws: the n examples.
        interpolation: a key of `resizing.FILTERS`.

    Returns:
        float32 [n, *size, channels], within [0, 255].
    """
    top_left, extent = crop_boxes(tf.shape(images)[1:3], augmentation.crop_area, draws.uniform(Purpose.CROP, 4))
    scale = tf.constant(size, tf.float64) / extent
    scale, offset = tf.cast(scale, tf.float32), tf.cast(-top_left * scale, tf.float32)
    crops = resizing.crops(tf.cast(images, tf.float32), size, scale, offset, interpolation)
    return crops if interpolation == "bilinear" else tf.clip_by_value(crops, 0.0, 255.0)


def crop_boxes(size: tf.Tensor, least: float, chance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns random crops.

    Args:
        size: int [2], (height, width) of the images.
        least: smallest area, relative to the image; above 0.
        chance: [n, 4], in [0, 1).

    Returns:
        top and left in pixels, float64 [n, 2]; height and width in pixels, float64 [n, 2].
    """
    chance, size = tf.cast(chance, tf.float64), tf.cast(size, tf.float64)
    low, high = map(math.log, CROP_RATIOS)
    ratio = tf.exp(low + chance[:, 0] * (high - low))  # width / height, in pixels
    relative = ratio * size[0] / size[1]  # of the fractions of the sides
    largest = tf.minimum(relative, 1 / relative)
    area = tf.minimum(tf.cast(least, tf.float64), largest)
    area += chance[:, 1] * (largest - area)
    shares = tf.stack([tf.sqrt(area / relative), tf.sqrt(area * relative)], axis=-1)
    extent = shares * size
    return chance[:, 2:] * (size - extent), extent


def warp(images: tf.Tensor, augmentation: Augmentation, draws: Draws) -> tf.Tensor:
    """Rotates, shears, zooms and shifts randomly about the image's center, in one resampling.

    Borders are reflected.

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
) -> tf.Tensor:
    """Resamples the input at c + linear (p - c - shift) for each output pixel p, c being the image's center.

    Args:
        images: float32 [n, height, width, channels], height and width known.
        linear: float64 [n, 2, 2], on coordinates (y, x): the inverse of the transform. Double precision, since
            the last bit of a float32 sine depends on the position in the batch.
        shift: float64 [n, 2], shift of the image in pixels (down, right).
        fill_mode: values outside the image: `REFLECT` or `CONSTANT`.
        fill_value: the constant.

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
        interpolation="BILINEAR",
        fill_mode=fill_mode,
    )


def _source_positions(length: int, padding: int, chance: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Returns the source pixel of each of `length` pixels along one axis: int64 [n, length]."""
    offset = tf.cast(tf.floor(chance * (2 * padding + 1)), tf.int64)[:, tf.newaxis] - padding
    pixel = tf.range(length, dtype=tf.int64)[tf.newaxis]
    position = tf.where(mirrored[:, tf.newaxis], length - 1 - pixel, pixel) + offset
    last = length - 1
    return last - tf.abs(last - tf.abs(position))
