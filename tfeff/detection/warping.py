"""Regions of an image as pixels of one size (Girshick et al., arXiv:1311.2524, appendix A)."""

import tensorflow as tf

OVERSAMPLING = 2
"""Samples for each pixel each way, averaged: regions are larger than the network's input more often than not."""


def warp(image: tf.Tensor, boxes_yxyx: tf.Tensor, side: int, context: int = 0) -> tf.Tensor:
    """Each region stretched to a square, with some of what surrounds it.

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
    sides = boxes[:, 2:] - boxes[:, :2]
    margin = sides * (context / (side - 2 * context))
    low, high = boxes[:, :2] - margin, boxes[:, 2:] + margin
    # The kernel samples from the first coordinate to the last; ours are the centres of its samples.
    count = side * OVERSAMPLING
    half = (high - low) / (2 * count)
    extent = tf.cast(tf.shape(pixels)[:2] - 1, tf.float32)
    extent = tf.maximum(extent, 1.0)
    corners = tf.concat([(low + half - 0.5) / extent, (high - half - 0.5) / extent], axis=1)
    owner = tf.zeros(tf.shape(boxes)[:1], tf.int32)
    samples = tf.image.crop_and_resize((pixels - mean)[tf.newaxis], corners, owner, (count, count))
    pooled = tf.nn.avg_pool2d(samples, OVERSAMPLING, OVERSAMPLING, "VALID")
    return pooled + mean
