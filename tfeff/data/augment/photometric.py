"""The pixel operations of AutoAugment and RandAugment, as PIL's ImageOps and ImageEnhance define them, over a batch.

Images and results are float32 [n, height, width, channels] of whole numbers in 0..255. Amounts are one number per
image, [n].
"""

import tensorflow as tf

from tfeff.data.images import graph_decoding


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
    planes = tf.reshape(tf.transpose(tf.cast(images, tf.int32), (0, 3, 1, 2)), (n * channels, shape[1] * shape[2]))
    plane = tf.range(n * channels)[:, tf.newaxis]
    counts = tf.math.bincount(tf.reshape(planes + 256 * plane, [-1]), minlength=256 * n * channels)
    histogram = tf.reshape(counts, (n * channels, 256))
    levels = tf.range(256)
    highest = tf.reduce_max(tf.where(histogram > 0, levels, 0), axis=1, keepdims=True)
    at_highest = tf.gather(histogram, highest, axis=1, batch_dims=1)
    step = (tf.reduce_sum(histogram, axis=1, keepdims=True) - at_highest) // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    # With fewer pixels than levels below the highest, there is nothing to equalize.
    table = tf.where(step > 0, table, levels)
    spread = tf.reshape(tf.gather(table, planes, axis=1, batch_dims=1), (n, channels, shape[1], shape[2]))
    return tf.ensure_shape(tf.cast(tf.transpose(spread, (0, 2, 3, 1)), tf.float32), images.shape)


def color(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Saturation: 0 gives the gray image, 1 the image itself."""
    return _blend(_luma(images), images, factor)


def contrast(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Contrast: 0 gives the image's mean luma, 1 the image itself."""
    mean = tf.reduce_mean(tf.cast(_luma(images), tf.float64), axis=(1, 2), keepdims=True)
    return _blend(tf.cast(tf.floor(mean + 0.5), tf.float32), images, factor)


def brightness(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Brightness: 0 gives black, 1 the image itself."""
    return _blend(tf.zeros_like(images), images, factor)


def sharpness(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Sharpness: 0 gives the image smoothed by a 3x3 kernel (1 around 5, over 13), 1 the image itself."""
    height, width = images.shape[1:3]
    box = sum(images[:, y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3))
    smooth = tf.floor((box + 4.0 * images[:, 1:-1, 1:-1]) / 13.0 + 0.5)
    inner = tf.pad(tf.ones((1, height - 2, width - 2, 1), tf.bool), [[0, 0], [1, 1], [1, 1], [0, 0]])
    # The border, which the kernel does not cover, keeps its pixels.
    smooth = tf.where(inner, tf.pad(smooth, [[0, 0], [1, 1], [1, 1], [0, 0]]), images)
    return _blend(smooth, images, factor)


def _each(amount: tf.Tensor) -> tf.Tensor:
    return amount[:, tf.newaxis, tf.newaxis, tf.newaxis]


def _luma(images: tf.Tensor) -> tf.Tensor:
    return images if images.shape[-1] == 1 else tf.cast(graph_decoding.luma(images), tf.float32)


def _blend(zero: tf.Tensor, one: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Interpolates or extrapolates: `zero` at factor 0, `one` at 1; clipped, and truncated to whole levels."""
    return tf.floor(tf.clip_by_value(zero + _each(factor) * (one - zero), 0.0, 255.0))
