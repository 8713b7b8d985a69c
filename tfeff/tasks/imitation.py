"""Losses of networks that imitate others."""

from collections.abc import Sequence

import tensorflow as tf

from tfeff.boxes import paired_iou
from tfeff.tasks.task import to_float32

_SMALLEST = 1e-6  # probability, so that logarithms are finite


def softened(teachers: Sequence[tf.Tensor], temperature: float) -> tf.Tensor:
    """Returns the mean of the teachers' probabilities at a temperature: at least float32 [b, classes].

    Args:
        teachers: logits [b, classes] each.
        temperature: divides the logits.
    """
    return tf.add_n([tf.nn.softmax(to_float32(each) / temperature) for each in teachers]) / len(teachers)


def divergence(logits: tf.Tensor, wanted: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns the divergence of predicted probabilities from those of teachers, both at a temperature.

    It is multiplied by the square of the temperature, so that gradients do not shrink with it (Hinton et al.,
    arXiv:1503.02531, section 2).

    Args:
        logits: [b, classes].
        wanted: probabilities [b, classes], see `softened`.
        temperature: divides the logits.

    Returns:
        At least float32 [b], 0 for equal probabilities.
    """
    cross_entropy = tf.nn.softmax_cross_entropy_with_logits(wanted, to_float32(logits) / temperature)
    entropy = -tf.reduce_sum(wanted * tf.math.log(tf.maximum(wanted, _SMALLEST)), axis=-1)
    return (cross_entropy - entropy) * temperature**2


def feature_difference(features: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """Returns the squared difference of features, relative to the variance of the teacher's in the batch.

    The estimate of the variance has no bias, so that the loss does not grow where a batch is divided into parts. If the
    numbers of features differ, the similarities between the images of the batch are compared instead (Tung and Mori,
    arXiv:1907.09682, equation 4).

    Args:
        features: [b, n], with b at least 2.
        teacher: [b, m].

    Returns:
        At least float32 [b].
    """
    features, teacher = to_float32(features), tf.stop_gradient(to_float32(teacher))
    if features.shape[-1] != teacher.shape[-1]:
        features, teacher = (tf.math.l2_normalize(each @ tf.transpose(each), axis=1) for each in (features, teacher))
        return tf.reduce_sum(tf.square(features - teacher), axis=-1)
    images = tf.cast(tf.shape(teacher)[0], teacher.dtype)
    variance = tf.reduce_mean(tf.math.reduce_variance(teacher, axis=0)) * images / (images - 1.0)
    return tf.math.divide_no_nan(tf.reduce_mean(tf.square(features - teacher), axis=-1), variance)


def dense_difference(
    boxes: tf.Tensor, scores: tf.Tensor, teacher_boxes: tf.Tensor, teacher_scores: tf.Tensor
) -> tf.Tensor:
    """Measures how far a dense detector's predictions are from a teacher's at the same positions.

    The binary cross-entropy of all scores, minus the teacher's own, and 1 - IoU of the boxes, weighted by the teacher's
    highest score; both are summed over the positions and divided by 1 plus the sum of these scores.

    Args:
        boxes, teacher_boxes: boxes_yxyx [b, n, 4].
        scores, teacher_scores: [b, n, classes], in [0, 1].

    Returns:
        float32 [b], 0 for equal predictions.
    """
    teacher_boxes, teacher_scores = tf.stop_gradient(teacher_boxes), tf.stop_gradient(teacher_scores)
    ours, theirs = (tf.clip_by_value(each, _SMALLEST, 1.0 - _SMALLEST) for each in (scores, teacher_scores))
    difference = theirs * tf.math.log(theirs / ours) + (1.0 - theirs) * tf.math.log((1.0 - theirs) / (1.0 - ours))
    certainty = tf.reduce_max(teacher_scores, axis=-1)
    apart = (1.0 - paired_iou(boxes, teacher_boxes, ops=tf)) * certainty
    total = tf.reduce_sum(difference, axis=(1, 2)) + tf.reduce_sum(apart, axis=1)
    return total / (tf.reduce_sum(certainty, axis=1) + 1.0)
