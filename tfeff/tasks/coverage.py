"""How well the places at which a detector predicts, such as anchors or proposals, cover the objects."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfeff.boxes import paired_iou


class Coverage(NamedTuple):
    """What an untrained detector can learn of the objects of a batch.

    Attributes:
        learned: bool [b, k], whether at least one anchor, cell or proposal learns the object.
        overlap: float [b, k], the highest IoU that an anchor has with the object; of a detector without anchors, the
            highest IoU that a predicted box can have with it.
        sizes_hw: float32 [m, 2], the different heights and widths of the anchors or cells, in pixels.
    """

    learned: tf.Tensor
    overlap: tf.Tensor
    sizes_hw: np.ndarray


def sizes(sides: tf.Tensor) -> np.ndarray:
    """Returns the different heights and widths among float [1, n, 2], to a hundredth of a pixel."""
    return np.unique(np.round(sides.numpy()[0], 2), axis=0).astype(np.float32)


def owned(kind_is_positive: tf.Tensor, index: tf.Tensor, count: int) -> tf.Tensor:
    """Returns which of `count` objects belong to a positive anchor or cell: bool [b, k].

    Args:
        kind_is_positive: bool [b, n].
        index: the object of each positive one, int [b, n].
        count: k.
    """
    mine = tf.one_hot(index, count, on_value=True, off_value=False) & kind_is_positive[..., tf.newaxis]
    return tf.reduce_any(mine, axis=1)


def best_overlap(anchors_yxyx: tf.Tensor, boxes_yxyx: tf.Tensor) -> tf.Tensor:
    """Returns the highest IoU of each box with an anchor: [b, k].

    Anchors are [n, 4] or [b, n, 4], and boxes [b, k, 4].
    """
    images, count = boxes_yxyx.shape[0], anchors_yxyx.shape[-2]
    anchors = tf.broadcast_to(anchors_yxyx, (images, count, 4))
    overlaps = [
        paired_iou(own[:, tf.newaxis], boxes[tf.newaxis], ops=tf)
        for own, boxes in zip(tf.unstack(anchors), tf.unstack(boxes_yxyx), strict=True)
    ]
    return tf.reduce_max(tf.stack(overlaps), axis=1)
