"""Warping of regions of an image to one size (Girshick et al., arXiv:1311.2524, appendix A)."""

from typing import NamedTuple

import tensorflow as tf

OVERSAMPLING = 2
"""Samples per pixel along each axis; they are averaged."""
LEVELS = 8
"""Levels of the image pyramid from which large regions are sampled; each halves the size."""


class Pyramid(NamedTuple):
    """An image at several sizes.

    Attributes:
        mean: its mean color, float32 [channels].
        levels: `LEVELS` times float32 [height, width, channels], each half as high and wide as the one before, with a
            border of one pixel. The mean color is subtracted.
    """

    mean: tf.Tensor
    levels: tuple[tf.Tensor, ...]


def warp(image: tf.Tensor, boxes_yxyx: tf.Tensor, side: int, context: int = 0) -> tf.Tensor:
    """Stretches each region of an image to a square: `sampled` from its `pyramid`; see there."""
    return sampled(pyramid(image), boxes_yxyx, side, context)


def pyramid(image: tf.Tensor) -> Pyramid:
    """Returns an image, any real dtype [height, width, channels], and its averages of 2x2 pixels, again and again."""
    pixels = tf.cast(image, tf.float32)
    # Samples outside the image are 0, which is the mean once it has been subtracted.
    mean = tf.reduce_mean(pixels, axis=(0, 1))
    levels = [pixels - mean]
    while len(levels) < LEVELS:
        levels.append(_halved(levels[-1]))
    # Padded by one pixel, since the outermost pixels extend half a pixel beyond their centers.
    return Pyramid(mean, tuple(tf.pad(level, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC") for level in levels))


def sampled(image: Pyramid, boxes_yxyx: tf.Tensor, side: int, context: int = 0) -> tf.Tensor:
    """Stretches each region to a square, with some context around it.

    A region is read from the first level on which its samples are less than two pixels apart, so that every pixel of a
    large region contributes.

    Args:
        image: the image.
        boxes_yxyx: float [n, 4], pixels of the image; a box without area gives the pixel at its corner.
        side: height and width of the result.
        context: pixels of the result, on each side, that show the surroundings of the region. Pixels outside the image
            have the image's mean color.

    Returns:
        float32 [n, side, side, channels].
    """
    boxes = tf.cast(boxes_yxyx, tf.float32)
    margin = (boxes[:, 2:] - boxes[:, :2]) * (context / (side - 2 * context))
    low, high = boxes[:, :2] - margin, boxes[:, 2:] + margin
    count = side * OVERSAMPLING
    steps = tf.reduce_max(high - low, axis=1) / count
    wanted = tf.floor(tf.math.log(tf.maximum(steps, 1.0)) / tf.math.log(2.0))
    level_of = tf.minimum(tf.cast(wanted, tf.int32), LEVELS - 1)
    rows, samples = list[tf.Tensor](), list[tf.Tensor]()
    for level, pixels in enumerate(image.levels):
        indices = tf.where(level_of == level)[:, 0]
        scale = 0.5**level
        rows.append(indices)
        samples.append(_sampled(pixels, tf.gather(low, indices) * scale, tf.gather(high, indices) * scale, count))
    stitched = tf.dynamic_stitch([tf.cast(indices, tf.int32) for indices in rows], samples)
    pooled = tf.nn.avg_pool2d(stitched, OVERSAMPLING, OVERSAMPLING, "VALID")
    return tf.ensure_shape(pooled, (None, side, side, image.mean.shape[0])) + image.mean


def _halved(pixels: tf.Tensor) -> tf.Tensor:
    """Returns averages of 2x2 pixels; an unpaired last row or column is repeated."""
    missing = tf.shape(pixels)[:2] % 2
    even = tf.pad(pixels, [[0, missing[0]], [0, missing[1]], [0, 0]], "SYMMETRIC")
    return tf.nn.avg_pool2d(even[tf.newaxis], 2, 2, "VALID")[0]


def _sampled(padded: tf.Tensor, low: tf.Tensor, high: tf.Tensor, count: int) -> tf.Tensor:
    """Samples the centers of equal parts of each box bilinearly: float32 [n, count, count, channels].

    Samples outside the image, which has a border of one pixel, are 0.
    """
    half = (high - low) / (2 * count)
    # The op takes the first and the last coordinate, relative to the distance between the outermost centers.
    extent = tf.cast(tf.shape(padded)[:2] - 1, tf.float32)
    corners = tf.concat([(low + half + 0.5) / extent, (high - half + 0.5) / extent], axis=1)
    owner = tf.zeros(tf.shape(low)[:1], tf.int32)
    return tf.image.crop_and_resize(padded[tf.newaxis], corners, owner, (count, count))
