"""Flips, scaling with jitter and rotation of an image and its boxes.

Boxes are measured at pixel edges: pixel (y, x) covers the box (y, x, y + 1, x + 1).
"""

import math

import tensorflow as tf

from tfeff.data.augment import geometry
from tfeff.data.augment.annotated_image import AnnotatedImage, clipped
from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.policy import BoxAugmentation
from tfeff.data.images import resizing

FILL = float(resizing.FILL)
"""Gray level of padding."""
_LEAST_SHARE = 1 / 256
"""Share of the image in a pixel of it: less changes no level, so the pixel is padding."""


def flip(image: AnnotatedImage, augmentation: BoxAugmentation, draws: Draws) -> AnnotatedImage:
    """Flips left-right and top-bottom, each with probability 1/2.

    Args:
        image: an image of any size.
        augmentation: uses horizontal_flip and vertical_flip.
        draws: one example.
    """
    chance = draws.uniform(Purpose.BOX_FLIP, 2)[0]
    height, width = tf.unstack(tf.cast(tf.shape(image.image)[:2], tf.float32))

    def flipped_across(boxes: tf.Tensor) -> tf.Tensor:
        mirrored = [0.0, width, 0.0, width] + [1.0, -1.0, 1.0, -1.0] * tf.gather(boxes, [0, 3, 2, 1], axis=1)
        return tf.where(chance[0] < 0.5, mirrored, boxes)

    def flipped_down(boxes: tf.Tensor) -> tf.Tensor:
        mirrored = [height, 0.0, height, 0.0] + [-1.0, 1.0, -1.0, 1.0] * tf.gather(boxes, [2, 1, 0, 3], axis=1)
        return tf.where(chance[1] < 0.5, mirrored, boxes)

    if augmentation.horizontal_flip:
        pixels, covered = (_reversed(whole, 1, chance[0] < 0.5) for whole in (image.image, image.covered))
        image = image.moved(pixels, covered, flipped_across)
    if augmentation.vertical_flip:
        pixels, covered = (_reversed(whole, 0, chance[1] < 0.5) for whole in (image.image, image.covered))
        image = image.moved(pixels, covered, flipped_down)
    return image


def fit(
    image: AnnotatedImage,
    size: tuple[int, int],
    augmentation: BoxAugmentation,
    draws: Draws,
    *,
    stretch: bool = False,
    corner: tf.Tensor | None = None,
) -> AnnotatedImage:
    """Scales an image to a canvas, times a random factor, then crops or pads it.

    An image larger than the canvas is cropped at random, a smaller one is placed at random on gray. Without jitter it
    is placed at the top left.

    Args:
        image: an image of any size.
        size: (height, width) of the canvas.
        augmentation: uses scale, scale_range, aspect and min_share.
        draws: one example.
        stretch: whether to fill the canvas instead of keeping the aspect ratio (before jitter).
        corner: int32 [2], where a smaller image is placed instead; 0 is top or left, 1 bottom or right.
    """
    chance = tf.cast(draws.uniform(Purpose.BOX_SCALE, 4)[0], tf.float64)
    native, canvas = tf.shape(image.image)[:2], tf.constant(size)
    ratio = tf.cast(canvas, tf.float64) / tf.cast(native, tf.float64)
    aspect = (1.0 + augmentation.aspect) ** (chance[1] - 0.5)
    ideal = (
        (ratio if stretch else tf.reduce_min(ratio))
        * _factor(augmentation, chance[0])
        * tf.stack([1.0 / aspect, aspect])
        * tf.cast(native, tf.float64)
    )
    target = tf.maximum(1, tf.cast(tf.round(ideal), tf.int32))
    room = canvas - target
    offset = tf.zeros_like(room)
    if augmentation.resizes:
        places = tf.cast(tf.abs(room) + 1, tf.float64)
        offset = tf.sign(room) * tf.cast(tf.floor(chance[2:] * places), tf.int32)
    if corner is not None:
        offset = tf.where(room > 0, room * corner, offset)

    before, first = tf.maximum(offset, 0), tf.maximum(-offset, 0)
    count = tf.minimum(canvas - before, target - first)
    if augmentation.resizes:
        part = resizing.window(image.image, target, first, count)
    else:
        part = tf.image.resize(image.image, target, antialias=True)
    padding = tf.concat([tf.stack([before, canvas - before - count], axis=1), [[0, 0]]], axis=0)
    pixels = tf.ensure_shape(tf.pad(part, padding, constant_values=FILL), (*size, image.image.shape[-1]))
    covered = tf.ensure_shape(tf.pad(tf.ones_like(part[..., :1], tf.bool), padding), (*size, 1))

    scale, shift = tf.cast(target / native, tf.float32), tf.cast(offset, tf.float32)
    moved = image.moved(pixels, covered, lambda boxes: boxes * tf.tile(scale, [2]) + tf.tile(shift, [2]))
    return clipped(moved, _window(size), augmentation.min_share)


def rotate(image: AnnotatedImage, augmentation: BoxAugmentation, draws: Draws) -> AnnotatedImage:
    """Rotates an image about its center, on gray; a box becomes the bounding box of its rotated corners.

    Args:
        image: height and width known.
        augmentation: uses rotation and min_share.
        draws: one example.
    """
    chance = tf.cast(draws.uniform(Purpose.BOX_ROTATION, 1)[0, 0], tf.float64)
    return rotated(image, (2.0 * chance - 1.0) * math.radians(augmentation.rotation), augmentation.min_share)


def rotated(image: AnnotatedImage, angle: tf.Tensor, min_share: float) -> AnnotatedImage:
    """Rotates an image by an angle in radians, float64; see `warped`."""
    cosine, sine = tf.cos(angle), tf.sin(angle)
    rotation = tf.reshape(tf.stack([cosine, sine, -sine, cosine]), (2, 2))  # on (y, x)
    # The inverse of a rotation is its transpose.
    return warped(image, rotation, tf.transpose(rotation), tf.zeros(2, tf.float64), min_share)


def warped(
    image: AnnotatedImage, linear: tf.Tensor, inverse: tf.Tensor, shift: tf.Tensor, min_share: float
) -> AnnotatedImage:
    """Maps an image about its center, on gray; a box becomes the bounding box of its mapped corners.

    Args:
        image: height and width known.
        linear: float64 [2, 2], on (y, x).
        inverse: of `linear`.
        shift: float64 [2], in pixels (down, right), after `linear`.
        min_share: objects that keep less of their area become difficult.
    """
    height, width = image.image.shape[:2]

    def resampled(pixels: tf.Tensor, fill: float) -> tf.Tensor:
        mapped = geometry.resample(
            pixels[tf.newaxis], inverse[tf.newaxis], shift[tf.newaxis], fill_mode="CONSTANT", fill_value=fill
        )
        return tf.ensure_shape(mapped[0], pixels.shape)

    covered = resampled(tf.cast(image.covered, tf.float32), 0.0) > _LEAST_SHARE
    center = tf.constant([height / 2, width / 2], tf.float64)

    def mapped(boxes: tf.Tensor) -> tf.Tensor:
        corners = tf.gather(tf.cast(boxes, tf.float64), [0, 1, 0, 3, 2, 1, 2, 3], axis=1)
        corners = tf.linalg.matvec(linear, tf.reshape(corners, (-1, 4, 2)) - center) + center + shift
        bounding = tf.concat([tf.reduce_min(corners, axis=1), tf.reduce_max(corners, axis=1)], axis=1)
        return tf.cast(bounding, tf.float32)

    moved = image.moved(resampled(image.image, FILL), covered, mapped)
    return clipped(moved, _window((height, width)), min_share)


def _factor(augmentation: BoxAugmentation, chance: tf.Tensor) -> tf.Tensor:
    """Returns the random scale factor, from a float64 in [0, 1)."""
    if augmentation.scale_range is None:
        return 1.0 + augmentation.scale * (2.0 * chance - 1.0)
    low, high = augmentation.scale_range
    return low + (high - low) * chance


def _reversed(pixels: tf.Tensor, axis: int, condition: tf.Tensor) -> tf.Tensor:
    flipped = tf.cond(condition, lambda: tf.reverse(pixels, [axis]), lambda: pixels)
    return tf.ensure_shape(flipped, pixels.shape)


def _window(size: tuple[int, int]) -> tf.Tensor:
    return tf.constant([0.0, 0.0, *size], tf.float32)
