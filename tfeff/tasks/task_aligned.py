"""Task-aligned assignment: cells learn an object if their class score and their box agree with it best.

Feng et al., "TOOD: Task-aligned One-stage Object Detection" (arXiv:2108.07755), section 3.2.
"""

from typing import NamedTuple

import tensorflow as tf


class Alignment(NamedTuple):
    """The object of each cell.

    Attributes:
        positive: bool [b, n].
        object: int64 [b, n], index of the object of each positive cell; of the others, any index.
        target: [b, n], the class target of each positive cell, in (0, 1]: its metric, scaled so that the best cell of
            an object has the IoU of the object's best box; 0 of the others.
    """

    positive: tf.Tensor
    object: tf.Tensor
    target: tf.Tensor


def align(
    scores: tf.Tensor,
    overlaps: tf.Tensor,
    inside: tf.Tensor,
    *,
    alpha: float,
    beta: float,
    candidates: int,
) -> Alignment:
    """Assigns to each object the cells with the largest score^alpha * overlap^beta among those inside it.

    A cell that several objects want gets the one with which its box overlaps most.

    Args:
        scores: probability of the object's class in each cell, [b, n, k].
        overlaps: overlap of each cell's box with the object, at least 0, [b, n, k].
        inside: whether the cell's center lies in the object, False for padding; bool [b, n, k].
        alpha: exponent of the score.
        beta: exponent of the overlap.
        candidates: cells per object, at most.
    """
    metric = tf.where(inside, scores**alpha * overlaps**beta, 0.0)
    count = min(candidates, metric.shape[1])
    best, cells = tf.math.top_k(tf.transpose(metric, (0, 2, 1)), count)  # [b, k, candidates]
    # Of equal metrics, `top_k` takes the first ones. A mask for each candidate would take `count` times the memory.
    least, last = best[:, tf.newaxis, :, -1], tf.cast(cells[:, tf.newaxis, :, -1], tf.int64)
    first = tf.range(metric.shape[1], dtype=tf.int64)[tf.newaxis, :, tf.newaxis] <= last
    wanted = ((metric > least) | ((metric == least) & first)) & (metric > 0)
    assigned = tf.argmax(tf.where(wanted, overlaps, -1.0), axis=-1)
    kept = wanted & tf.one_hot(assigned, metric.shape[2], on_value=True, off_value=False)

    metric, overlaps = tf.where(kept, metric, 0.0), tf.where(kept, overlaps, 0.0)
    largest = tf.reduce_max(metric, axis=1, keepdims=True)
    scaled = tf.math.divide_no_nan(metric, largest) * tf.reduce_max(overlaps, axis=1, keepdims=True)
    return Alignment(tf.reduce_any(kept, axis=-1), assigned, tf.reduce_sum(scaled, axis=-1))
