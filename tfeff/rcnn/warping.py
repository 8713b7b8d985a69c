"""Regions of an image as pixels of one size (Girshick et al., arXiv:1311.2524, appendix A)."""

import tensorflow as tf

OVERSAMPLING = 2
"""Samples for each pixel each way, averaged."""
LEVELS = 8
"""Of the pyramid that large regions are sampled from: each has half the size of the one before."""


def warp(image: tf.Tensor, boxes_yxyx: tf.Tensor, side: int, context: int = 0) -> tf.Tensor:
    """Each region stretched to a square, with some of what surrounds it.

    Large regions are sampled from an image that was halved, by averages of 2x2 pixels, until samples lie less than two
    of its pixels apart: every pixel of the region counts.

    Args:
        image: any real dtype [height, width, channels].
        boxes_yxyx: float [n, 4], pixels of the image; without area they give the pixel at their corner.
        side: of the result.
        context: pixels of the result, on each side, that show what surrounds the region. What lies outside the image is
            filled with the image's mean.

    Returns:
        float32 [n, side, side, channels].
    """
    pixels = tf.cast(image, tf.float32)
    boxes = tf.cast(boxes_yxyx, tf.float32)
    # Outside the image samples are 0: after the mean is taken off, that is the mean.
    mean = tf.reduce_mean(pixels, axis=(0, 1))
    level_pixels = pixels - mean
    margin = (boxes[:, 2:] - boxes[:, :2]) * (context / (side - 2 * context))
    low, high = boxes[:, :2] - margin, boxes[:, 2:] + margin
    count = side * OVERSAMPLING
    steps = tf.reduce_max(high - low, axis=1) / count
    wanted = tf.floor(tf.math.log(tf.maximum(steps, 1.0)) / tf.math.log(2.0))
    level_of = tf.minimum(tf.cast(wanted, tf.int32), LEVELS - 1)
    rows, samples = list[tf.Tensor](), list[tf.Tensor]()
    for level in range(LEVELS):
        if level:
            level_pixels = _halved(level_pixels)
        own = tf.where(level_of == level)[:, 0]
        scale = 0.5**level
        rows.append(own)
        samples.append(_sampled(level_pixels, tf.gather(low, own) * scale, tf.gather(high, own) * scale, count))
    stitched = tf.dynamic_stitch([tf.cast(of, tf.int32) for of in rows], samples)
    pooled = tf.nn.avg_pool2d(stitched, OVERSAMPLING, OVERSAMPLING, "VALID")
    return tf.ensure_shape(pooled, (None, side, side, image.shape[-1])) + mean


def _halved(pixels: tf.Tensor) -> tf.Tensor:
    """Averages of 2x2 pixels; an odd last row or column counts twice."""
    odd = tf.shape(pixels)[:2] % 2
    even = tf.pad(pixels, [[0, odd[0]], [0, odd[1]], [0, 0]], "SYMMETRIC")
    return tf.nn.avg_pool2d(even[tf.newaxis], 2, 2, "VALID")[0]


def _sampled(pixels: tf.Tensor, low: tf.Tensor, high: tf.Tensor, count: int) -> tf.Tensor:
    """float32 [n, count, count, channels]: bilinear samples at the centres of equal parts of each box; 0 outside."""
    # A frame of its outermost pixels, since those reach half a pixel beyond their centres.
    framed = tf.pad(pixels, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    half = (high - low) / (2 * count)
    # The kernel samples from a first coordinate to a last one, as shares of the distance between the outermost centres.
    extent = tf.cast(tf.shape(framed)[:2] - 1, tf.float32)
    corners = tf.concat([(low + half + 0.5) / extent, (high - half + 0.5) / extent], axis=1)
    owner = tf.zeros(tf.shape(low)[:1], tf.int32)
    return tf.image.crop_and_resize(framed[tf.newaxis], corners, owner, (count, count))
