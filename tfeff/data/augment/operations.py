"""The operations that AutoAugment and RandAugment choose from (Cubuk et al. 2019, table 6; 2020, section 3).

Pixel operations follow PIL's ImageOps and ImageEnhance, over a batch: images and results are float32 [n, height, width,
channels] of whole numbers in 0..255, and amounts are one number per image, [n].
"""

import math
from collections.abc import Callable
from enum import IntEnum

import tensorflow as tf

from tfeff.data.augment import geometry
from tfeff.data.images import decoding, resizing

# Ends of the operations' ranges, at strength 1.
_SHEAR = 0.3
_TRANSLATION = 150 / 331  # 150 pixels of the 331 of the paper's images
_ROTATION = math.radians(30)
_ENHANCEMENT = 0.9
_POSTERIZED_BITS = 4.0
_GRAY = 128.0
KERNEL = 3
"""Side of the kernel of sharpness."""
_BORDER = [[0, 0], [1, 1], [1, 1], [0, 0]]

_Photometric = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]  # images, strength, sign -> images


class Operation(IntEnum):
    """One operation on an image."""

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    AUTO_CONTRAST = 6
    EQUALIZE = 7
    INVERT = 8
    POSTERIZE = 9
    SOLARIZE = 10
    COLOR = 11
    CONTRAST = 12
    BRIGHTNESS = 13
    SHARPNESS = 14


# Images whose operations share a group are processed together.
_IDENTITY_GROUP, _WARP_GROUP, _FIRST_PHOTOMETRIC_GROUP = range(3)


def apply(images: tf.Tensor, operation: tf.Tensor, strength: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    """Applies its own operation to each image of a batch.

    Strength 0 changes nothing (except for operations without a strength). Strength 1 shears by 0.3, translates by
    150/331 of the side, rotates by 30 degrees, enhances by a factor of 1 +- 0.9, posterizes to 4 bits, or solarizes
    from level 0. Uncovered pixels become gray.

    Args:
        images: float32 [n, height, width, channels], height, width and channels known; whole numbers in 0..255.
        operation: integers [n], values of `Operation`.
        strength: float32 [n], in [0, 1].
        sign: float32 [n], -1 or 1: the direction, where the operation has one.

    Returns:
        float32 of the same shape, whole numbers in 0..255.
    """
    first, operation = int(Operation.AUTO_CONTRAST), tf.cast(operation, tf.int64)
    warps, identity = (tf.constant(number, tf.int64) for number in (_WARP_GROUP, _IDENTITY_GROUP))
    group = tf.where(operation >= first, operation - first + _FIRST_PHOTOMETRIC_GROUP, warps)
    group = tf.where(operation == int(Operation.IDENTITY), identity, group)
    groups = len(Operation) - first + _FIRST_PHOTOMETRIC_GROUP
    count = tf.shape(images, tf.int64)[:1]
    positions = tf.dynamic_partition(tf.range(count[0]), tf.cast(group, tf.int32), groups)
    parts = []
    for number, rows in enumerate(positions):
        part = tf.gather(images, rows)
        amount, direction = tf.gather(strength, rows), tf.gather(sign, rows)
        if number == _WARP_GROUP:
            part = _warp(part, tf.gather(operation, rows), amount * direction)
        elif number >= _FIRST_PHOTOMETRIC_GROUP:
            part = _PHOTOMETRIC[Operation(number - _FIRST_PHOTOMETRIC_GROUP + first)](part, amount, direction)
        parts.append(part)
    order, shape = tf.concat(positions, axis=0)[:, tf.newaxis], tf.concat([count, images.shape[1:]], axis=0)
    return tf.ensure_shape(tf.scatter_nd(order, tf.concat(parts, axis=0), shape), images.shape)


def _warp(images: tf.Tensor, operation: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    height, width = images.shape[1:3]
    amount = tf.cast(amount, tf.float64)

    def where(kind: Operation, value: tf.Tensor) -> tf.Tensor:
        return tf.where(operation == int(kind), value, tf.zeros_like(value))

    angle = where(Operation.ROTATE, amount * _ROTATION)
    shear_x, shear_y = (where(kind, amount * _SHEAR) for kind in (Operation.SHEAR_X, Operation.SHEAR_Y))
    down = where(Operation.TRANSLATE_Y, amount * _TRANSLATION * height)
    right = where(Operation.TRANSLATE_X, amount * _TRANSLATION * width)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    linear = tf.reshape(tf.stack([cosine, shear_y - sine, shear_x + sine, cosine], axis=-1), (-1, 2, 2))
    shift = tf.stack([down, right], axis=-1)
    return tf.round(geometry.resample(images, linear, shift, fill_mode="CONSTANT", fill_value=_GRAY))


def invert(images: tf.Tensor) -> tf.Tensor:
    """Inverts all levels."""
    return 255.0 - images


def solarize(images: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Inverts levels at or above the threshold (float32 [n], 0..256)."""
    return tf.where(images < _each(threshold), images, 255.0 - images)


def posterize(images: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps the highest bits (float32 [n], whole, 0..8) of each level."""
    step = _each(2.0 ** (8.0 - bits))
    return tf.floor(images / step) * step


def autocontrast(images: tf.Tensor) -> tf.Tensor:
    """Stretches each channel so that its darkest level becomes 0 and its lightest 255."""
    levels = tf.cast(images, tf.float64)
    low = tf.reduce_min(levels, axis=(1, 2), keepdims=True)
    high = tf.reduce_max(levels, axis=(1, 2), keepdims=True)
    scale = 255.0 / tf.maximum(high - low, 1.0)
    stretched = tf.clip_by_value(tf.floor(levels * scale - low * scale), 0.0, 255.0)
    return tf.where(high > low, tf.cast(stretched, tf.float32), images)


def equalize(images: tf.Tensor) -> tf.Tensor:
    """Equalizes the histogram of each channel, as far as whole levels allow."""
    shape = tf.shape(images)
    n, channels = shape[0], images.shape[-1]
    planes = tf.reshape(tf.transpose(tf.cast(images, tf.int64), (0, 3, 1, 2)), (n * channels, shape[1] * shape[2]))
    count = tf.cast(n * channels, tf.int64)
    flat = tf.reshape(planes + 256 * tf.range(count)[:, tf.newaxis], [-1])
    if resizing.on_device():  # a tenth as fast on a CPU
        counts = tf.scatter_nd(flat[:, tf.newaxis], tf.ones_like(flat, tf.float32), 256 * count[tf.newaxis])
        counts = tf.cast(counts, tf.int64)
    else:
        counts = tf.math.bincount(flat, minlength=256 * count, dtype=tf.int64)
    histogram = tf.reshape(counts, (n * channels, 256))
    levels = tf.range(256, dtype=tf.int64)
    highest = tf.reduce_max(tf.where(histogram > 0, levels, tf.zeros_like(levels)), axis=1, keepdims=True)
    at_highest = tf.gather(histogram, highest, axis=1, batch_dims=1)
    step = (tf.reduce_sum(histogram, axis=1, keepdims=True) - at_highest) // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    # With fewer pixels than levels below the highest, there is nothing to equalize.
    table = tf.where(step > 0, table, levels)
    spread = tf.reshape(tf.gather(table, planes, axis=1, batch_dims=1), (n, channels, shape[1], shape[2]))
    return tf.ensure_shape(tf.cast(tf.transpose(spread, (0, 2, 3, 1)), tf.float32), images.shape)


def color(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Changes the saturation: 0 gives the gray image, 1 the image itself."""
    return _blend(_luma(images), images, factor)


def contrast(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Changes the contrast: 0 gives the image's mean luma, 1 the image itself."""
    mean = tf.reduce_mean(tf.cast(_luma(images), tf.float64), axis=(1, 2), keepdims=True)
    return _blend(tf.cast(tf.floor(mean + 0.5), tf.float32), images, factor)


def brightness(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Changes the brightness: 0 gives black, 1 the image itself."""
    return _blend(tf.zeros_like(images), images, factor)


def sharpness(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Changes the sharpness: 0 gives the image smoothed by a 3x3 kernel (1 around 5, over 13), 1 the image itself.

    Images have sides of at least KERNEL.
    """
    height, width = tf.unstack(tf.shape(images)[1:3] - KERNEL + 1)
    box = tf.add_n([images[:, y : height + y, x : width + x] for y in range(KERNEL) for x in range(KERNEL)])
    inner = images[:, 1:-1, 1:-1]
    smooth = tf.floor((box + 4.0 * inner) / 13.0 + 0.5)
    # The border, which the kernel does not cover, keeps its pixels.
    kept = images - tf.pad(inner, _BORDER)
    return _blend(kept + tf.pad(smooth, _BORDER), images, factor)


def _each(amount: tf.Tensor) -> tf.Tensor:
    return amount[:, tf.newaxis, tf.newaxis, tf.newaxis]


def _luma(images: tf.Tensor) -> tf.Tensor:
    """Returns the luma of whole levels, as `decoding.luma`: products and sums of 24 bits are exact in float32."""
    if images.shape[-1] == 1:
        return images
    total = tf.reduce_sum(images * tf.constant(decoding.LUMA_WEIGHTS, tf.float32), axis=-1, keepdims=True)
    return tf.floor((total + 2.0**15) / 2.0**16)


def _blend(zero: tf.Tensor, one: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Interpolates or extrapolates: `zero` at factor 0, `one` at 1; clipped, and truncated to whole levels."""
    return tf.floor(tf.clip_by_value(zero + _each(factor) * (one - zero), 0.0, 255.0))


def _enhanced(enhance: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> _Photometric:
    return lambda images, strength, sign: enhance(images, 1.0 + _ENHANCEMENT * strength * sign)


_PHOTOMETRIC: dict[Operation, _Photometric] = {
    Operation.AUTO_CONTRAST: lambda images, strength, sign: autocontrast(images),
    Operation.EQUALIZE: lambda images, strength, sign: equalize(images),
    Operation.INVERT: lambda images, strength, sign: invert(images),
    Operation.POSTERIZE: lambda images, strength, sign: posterize(images, 8.0 - tf.round(_POSTERIZED_BITS * strength)),
    Operation.SOLARIZE: lambda images, strength, sign: solarize(images, 256.0 * (1.0 - strength)),
    Operation.COLOR: _enhanced(color),
    Operation.CONTRAST: _enhanced(contrast),
    Operation.BRIGHTNESS: _enhanced(brightness),
    Operation.SHARPNESS: _enhanced(sharpness),
}
