"""Mosaic: parts of four images around one point (Bochkovskiy et al. 2020, section 3.3)."""

from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from tfeff.data.augment.annotated_image import AnnotatedImage, clipped, joined
from tfeff.data.augment.counter_rng import Draws, Purpose

TILES = 4
CORNERS = ((1, 1), (1, 0), (0, 1), (0, 0))
"""For each tile, the corner of its image (1 is bottom or right) at the meeting point, which padding must not cover."""
_CENTER = (0.25, 0.75)  # range of the meeting point, relative to height and width
_CHOICE, _PLACE, _PARTNERS = 0, slice(1, 3), slice(3, 6)
_NUMBERS = 6


def chosen(probability: float, draws: Draws) -> tf.Tensor:
    """Returns whether the one example of `draws` becomes a mosaic: bool scalar."""
    return draws.uniform(Purpose.MOSAIC, _NUMBERS)[0, _CHOICE] < probability


def partners(count: int, draws: Draws) -> tf.Tensor:
    """Returns the other three images of an example's mosaic: int64 [3], indices among `count` images.

    The example itself is drawn only if there is no other image.
    """
    return draws.others(draws.uniform(Purpose.MOSAIC, _NUMBERS)[0, _PARTNERS], count)


def mosaic(images: Sequence[AnnotatedImage], min_share: float, draws: Draws) -> AnnotatedImage:
    """Joins corners of four images at a random point, at their own scales.

    The bottom right part of the first image fills the top left tile, the bottom left part of the second the top right
    tile, and so on row by row. Extra boxes of the four images are interleaved, so that the best come first.

    Args:
        images: four of one size, height and width known.
        min_share: objects with a lower visible share become difficult.
        draws: one example.

    Returns:
        One image of that size, with the objects of all four.
    """
    height, width = images[0].image.shape[:2]
    low, high = _CENTER
    chance = tf.cast(draws.uniform(Purpose.MOSAIC, _NUMBERS)[0, _PLACE], tf.float64)
    place = tf.cast(tf.round((low + (high - low) * chance) * [height, width]), tf.int32)
    y, x = tf.unstack(place)
    rows = [(y - height, 0, y), (y, y, height)]  # shift of the image, first and last edge of its tile
    columns = [(x - width, 0, x), (x, x, width)]
    tiles = []
    for image, ((down, top, bottom), (right, left, end)) in zip(
        images, [(row, column) for row in rows for column in columns], strict=True
    ):
        shift = tf.cast(tf.stack([down, right, down, right]), tf.float32)
        window = tf.cast(tf.stack([top, left, bottom, end]), tf.float32)
        pixels, covered = (
            whole[top - down : bottom - down, left - right : end - right] for whole in (image.image, image.covered)
        )
        tiles.append(clipped(image.moved(pixels, covered, partial(tf.add, shift)), window, min_share))
    pixels = _tiled([tile.image for tile in tiles], images[0].image.shape)
    covered = _tiled([tile.covered for tile in tiles], images[0].covered.shape)
    return joined(pixels, covered, tiles)


def _tiled(parts: Sequence[tf.Tensor], shape: tf.TensorShape) -> tf.Tensor:
    """Returns four parts row by row in one: [height, width, channels]."""
    return tf.ensure_shape(tf.concat([tf.concat(parts[:2], axis=1), tf.concat(parts[2:], axis=1)], axis=0), shape)
