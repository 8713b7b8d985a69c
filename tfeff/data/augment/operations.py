"""The operations that AutoAugment and RandAugment choose from (Cubuk et al. 2019, table 6; 2020, section 3)."""

import math
from collections.abc import Callable
from enum import IntEnum

import tensorflow as tf

from tfeff.data.augment import geometry, photometric

# Ends of the operations' ranges, at strength 1.
_SHEAR = 0.3
_TRANSLATION = 150 / 331  # 150 pixels of the 331 of the paper's images
_ROTATION = math.radians(30)
_ENHANCEMENT = 0.9
_POSTERIZED_BITS = 4.0
_GRAY = 128.0

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
        operation: int32 [n], values of `Operation`.
        strength: float32 [n], in [0, 1].
        sign: float32 [n], -1 or 1: the direction, where the operation has one.

    Returns:
        float32 of the same shape, whole numbers in 0..255.
    """
    first = int(Operation.AUTO_CONTRAST)
    group = tf.where(operation >= first, operation - first + _FIRST_PHOTOMETRIC_GROUP, _WARP_GROUP)
    group = tf.where(operation == Operation.IDENTITY, _IDENTITY_GROUP, group)
    groups = len(Operation) - first + _FIRST_PHOTOMETRIC_GROUP
    positions = tf.dynamic_partition(tf.range(tf.shape(images)[0]), group, groups)
    parts = []
    for number, rows in enumerate(positions):
        part = tf.gather(images, rows)
        amount, direction = tf.gather(strength, rows), tf.gather(sign, rows)
        if number == _WARP_GROUP:
            part = _warp(part, tf.gather(operation, rows), amount * direction)
        elif number >= _FIRST_PHOTOMETRIC_GROUP:
            part = _PHOTOMETRIC[Operation(number - _FIRST_PHOTOMETRIC_GROUP + first)](part, amount, direction)
        parts.append(part)
    return tf.ensure_shape(tf.dynamic_stitch(positions, parts), images.shape)


def _warp(images: tf.Tensor, operation: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    height, width = images.shape[1:3]
    amount = tf.cast(amount, tf.float64)

    def where(kind: Operation, value: tf.Tensor) -> tf.Tensor:
        return tf.where(operation == kind, value, tf.zeros_like(value))

    angle = where(Operation.ROTATE, amount * _ROTATION)
    shear_x, shear_y = (where(kind, amount * _SHEAR) for kind in (Operation.SHEAR_X, Operation.SHEAR_Y))
    down = where(Operation.TRANSLATE_Y, amount * _TRANSLATION * height)
    right = where(Operation.TRANSLATE_X, amount * _TRANSLATION * width)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    linear = tf.reshape(tf.stack([cosine, shear_y - sine, shear_x + sine, cosine], axis=-1), (-1, 2, 2))
    shift = tf.stack([down, right], axis=-1)
    return tf.round(geometry.resample(images, linear, shift, fill_mode="CONSTANT", fill_value=_GRAY))


def _enhanced(enhance: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> _Photometric:
    return lambda images, strength, sign: enhance(images, 1.0 + _ENHANCEMENT * strength * sign)


_PHOTOMETRIC: dict[Operation, _Photometric] = {
    Operation.AUTO_CONTRAST: lambda images, strength, sign: photometric.autocontrast(images),
    Operation.EQUALIZE: lambda images, strength, sign: photometric.equalize(images),
    Operation.INVERT: lambda images, strength, sign: photometric.invert(images),
    Operation.POSTERIZE: lambda images, strength, sign: photometric.posterize(
        images, 8.0 - tf.round(_POSTERIZED_BITS * strength)
    ),
    Operation.SOLARIZE: lambda images, strength, sign: photometric.solarize(images, 256.0 * (1.0 - strength)),
    Operation.COLOR: _enhanced(photometric.color),
    Operation.CONTRAST: _enhanced(photometric.contrast),
    Operation.BRIGHTNESS: _enhanced(photometric.brightness),
    Operation.SHARPNESS: _enhanced(photometric.sharpness),
}
