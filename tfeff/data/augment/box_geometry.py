"""Where pixels come from and where their boxes go: flips, fitting with jitter, rotation.

A box is given by its edges, a pixel by its middle: pixel (y, x) fills the box (y, x, y + 1, x + 1).
"""

import math

import tensorflow as tf

from tfeff.data.augment import geometry
from tfeff.data.augment.annotated_image import AnnotatedImage, clipped
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.counter_rng import Draws, Purpose

FILL = 128.0
"""The gray of what no image covers."""


def flip(image: AnnotatedImage, augmentation: BoxAugmentation, draws: Draws) -> AnnotatedImage:
    """Mirrored left and right, top and bottom, each with probability 1/2.

    Args:
        image: Of any size.
        augmentation: Uses horizontal_flip and vertical_flip.
        draws: One example.
    """
    chance = draws.uniform(Purpose.BOX_FLIP, 2)[0]
    pixels, boxes = image.image, image.boxes_yxyx
    height, width = tf.unstack(tf.cast(tf.shape(pixels)[:2], tf.float32))
    if augmentation.horizontal_flip:
        mirrored = chance[0] < 0.5
        pixels = _mirrored(pixels, 1, mirrored)
        across = [0.0, width, 0.0, width] + [1.0, -1.0, 1.0, -1.0] * tf.gather(boxes, [0, 3, 2, 1], axis=1)
        boxes = tf.where(mirrored, across, boxes)
    if augmentation.vertical_flip:
        mirrored = chance[1] < 0.5
        pixels = _mirrored(pixels, 0, mirrored)
        across = [height, 0.0, height, 0.0] + [-1.0, 1.0, -1.0, 1.0] * tf.gather(boxes, [2, 1, 0, 3], axis=1)
        boxes = tf.where(mirrored, across, boxes)
    return image._replace(image=pixels, boxes_yxyx=boxes)


def fit(
    image: AnnotatedImage,
    size: tuple[int, int],
    augmentation: BoxAugmentation,
    draws: Draws,
    *,
    corner: tuple[int, int] | None = None,
) -> AnnotatedImage:
    """The image as large as fits, or by a random factor larger or smaller, on a canvas of `size`.

    What is too large loses a random border, what is too small lies at random on gray; without jitter it lies top left.

    Args:
        image: Of any size.
        size: (height, width) of what comes out.
        augmentation: Uses scale, aspect and min_share.
        draws: One example.
        corner: Where on the canvas a smaller image lies instead: 0 is top or left, 1 bottom or right.
    """
    chance = tf.cast(draws.uniform(Purpose.BOX_SCALE, 4)[0], tf.float64)
    native, canvas = tf.shape(image.image)[:2], tf.constant(size)
    ratio = tf.cast(canvas, tf.float64) / tf.cast(native, tf.float64)
    factor = 1.0 + augmentation.scale * (2.0 * chance[0] - 1.0)
    stretch = (1.0 + augmentation.aspect) ** (chance[1] - 0.5)
    ideal = tf.reduce_min(ratio) * factor * tf.stack([1.0 / stretch, stretch]) * tf.cast(native, tf.float64)
    target = tf.maximum(1, tf.cast(tf.round(ideal), tf.int32))
    room = canvas - target
    offset = tf.zeros_like(room)
    if augmentation.scale or augmentation.aspect:
        places = tf.cast(tf.abs(room) + 1, tf.float64)
        offset = tf.sign(room) * tf.cast(tf.floor(chance[2:] * places), tf.int32)
    if corner is not None:
        offset = tf.where(room > 0, room * tf.constant(corner), offset)

    resized = tf.image.resize(image.image, target, antialias=True)
    before, first = tf.maximum(offset, 0), tf.maximum(-offset, 0)
    count = tf.minimum(canvas - before, target - first)
    part = tf.slice(resized, [*tf.unstack(first), 0], [*tf.unstack(count), -1])
    margins = tf.concat([tf.stack([before, canvas - before - count], axis=1), [[0, 0]]], axis=0)
    pixels = tf.pad(part, margins, constant_values=FILL)

    scale = tf.cast(target / native, tf.float32)
    boxes = image.boxes_yxyx * tf.tile(scale, [2]) + tf.cast(tf.tile(offset, [2]), tf.float32)
    pixels = tf.ensure_shape(pixels, (*size, image.image.shape[-1]))
    return clipped(image._replace(image=pixels, boxes_yxyx=boxes), _whole(size), augmentation.min_share)


def rotate(image: AnnotatedImage, augmentation: BoxAugmentation, draws: Draws) -> AnnotatedImage:
    """Turned about its centre; what comes from outside is gray, a box becomes the one around its turned corners.

    Args:
        image: Height and width known.
        augmentation: Uses rotation and min_share.
        draws: One example.
    """
    height, width = image.image.shape[:2]
    chance = tf.cast(draws.uniform(Purpose.BOX_ROTATION, 1)[0, 0], tf.float64)
    angle = (2.0 * chance - 1.0) * math.radians(augmentation.rotation)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    forth = tf.reshape(tf.stack([cosine, sine, -sine, cosine]), (2, 2))  # on (y, x)
    pixels = geometry.resample(
        image.image[tf.newaxis],
        tf.transpose(forth)[tf.newaxis],  # the inverse of a rotation
        tf.zeros((1, 2), tf.float64),
        fill_mode="CONSTANT",
        fill_value=FILL,
    )[0]
    center = tf.constant([height / 2, width / 2], tf.float64)
    corners = tf.gather(tf.cast(image.boxes_yxyx, tf.float64), [0, 1, 0, 3, 2, 1, 2, 3], axis=1)
    turned = tf.linalg.matvec(forth, tf.reshape(corners, (-1, 4, 2)) - center) + center
    boxes = tf.concat([tf.reduce_min(turned, axis=1), tf.reduce_max(turned, axis=1)], axis=1)
    image = image._replace(image=tf.ensure_shape(pixels, image.image.shape), boxes_yxyx=tf.cast(boxes, tf.float32))
    return clipped(image, _whole((height, width)), augmentation.min_share)


def _mirrored(pixels: tf.Tensor, axis: int, mirrored: tf.Tensor) -> tf.Tensor:
    turned = tf.cond(mirrored, lambda: tf.reverse(pixels, [axis]), lambda: pixels)
    return tf.ensure_shape(turned, pixels.shape)


def _whole(size: tuple[int, int]) -> tf.Tensor:
    return tf.constant([0.0, 0.0, *size], tf.float32)
