"""Losses of detectors, for each prediction; tasks sum and normalize them."""

import math

import tensorflow as tf

from tfeff.boxes import paired_iou


def focal_loss(targets: tf.Tensor, logits: tf.Tensor, *, alpha: float, gamma: float) -> tf.Tensor:
    """Computes the focal loss (arXiv:1708.02002, section 3.2).

    Args:
        targets: 0 or 1, [...].
        logits: [...].
        alpha: weight of positive examples; that of negative ones is 1 - alpha.
        gamma: exponent of 1 - p, where p is the probability of the right answer.

    Returns:
        [...].
    """
    # As a power of 1 - p, the gradient would not be finite for gamma < 1 and p = 1.
    focus = tf.exp(gamma * tf.math.log_sigmoid((1.0 - 2.0 * targets) * logits))
    weight = (targets * alpha + (1.0 - targets) * (1.0 - alpha)) * focus
    return weight * tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)


def huber_loss(errors: tf.Tensor, *, delta: float) -> tf.Tensor:
    """Computes the Huber loss: e² / 2 up to delta, then delta (|e| - delta / 2)."""
    size = tf.abs(errors)
    return tf.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))


def smooth_l1_loss(errors: tf.Tensor, *, beta: float) -> tf.Tensor:
    """Computes the smooth L1 loss (arXiv:1504.08083, equation 3, for beta 1).

    The loss is e² / (2 beta) up to beta, then |e| - beta / 2.
    """
    return huber_loss(errors, delta=beta) / beta if beta else tf.abs(errors)


def complete_iou(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Computes CIoU (Zheng et al., arXiv:1911.08287).

    CIoU is IoU, minus the squared distance of the centers relative to the diagonal of the common bounding box, minus a
    penalty for different aspect ratios, whose weight has no gradient.

    Args:
        first: yxyx in pixels, [..., 4].
        second: as `first`, broadcastable.

    Returns:
        [...], above -1.5 and at most 1.
    """
    overlap = paired_iou(first, second, ops=tf)
    size = tf.maximum(first[..., 2:], second[..., 2:]) - tf.minimum(first[..., :2], second[..., :2])
    offset = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    distance = tf.math.divide_no_nan(tf.reduce_sum(offset**2, axis=-1), tf.reduce_sum(size**2, axis=-1))
    angle = _aspect(first) - _aspect(second)
    shape = 4 / math.pi**2 * angle**2
    weight = tf.stop_gradient(tf.math.divide_no_nan(shape, 1.0 - overlap + shape))
    return overlap - distance - weight * shape


def distribution_focal_loss(distances: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Computes the distribution focal loss: cross-entropy with the two integers next to a distance.

    See arXiv:2006.04388, equation 6.

    Args:
        distances: [...]; clipped to those that the bins can express.
        logits: [..., bins]; logits of the distances 0, 1, ..., bins - 1.

    Returns:
        [...].
    """
    bins = logits.shape[-1]
    distances = tf.clip_by_value(distances, 0.0, bins - 1.0)
    steps = tf.range(bins, dtype=logits.dtype)
    targets = tf.maximum(1.0 - tf.abs(distances[..., tf.newaxis] - steps), 0.0)
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def _aspect(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the angle of the diagonal, [...]; an empty box has that of a square."""
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)
    return tf.math.atan2(sides[..., 1], sides[..., 0])
