"""Assignment of anchors to objects, inside the training graph."""

from typing import Literal, NamedTuple

import tensorflow as tf

from tfeff.boxes import paired_iou
from tfeff.boxes.assignment import IGNORED_OVERLAP

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


class Match(NamedTuple):
    """The object of each anchor.

    Attributes:
        kind: int32 [b, n], POSITIVE, NEGATIVE or IGNORED.
        object: int32 [b, n], index of the object of each positive anchor; of the others, any index.
    """

    kind: tf.Tensor
    object: tf.Tensor


def match(
    anchors_yxyx: tf.Tensor,
    boxes_yxyx: tf.Tensor,
    valid: tf.Tensor,
    ignored: tf.Tensor,
    *,
    positive_overlap: float,
    negative_overlap: float,
    forced: Literal["best", "ties", "none"] = "best",
    background_overlap: float = 0.0,
) -> Match:
    """Matches anchors to the objects that they overlap most, if they overlap them enough.

    Further anchors are positive by force, unless they overlap no object. With "best", each object takes the anchor that
    overlaps it most; if several objects want one anchor, the first of them gets it, as in the TensorFlow Object
    Detection API. With "ties", all anchors that overlap an object as much as its best anchor become positive, but for
    the object that they overlap most, as in torchvision and Detectron2.

    Negative anchors are ignored if more than IGNORED_OVERLAP of their area lies in an ignored object.

    Args:
        anchors_yxyx: float [n, 4], or those of each image, [b, n, 4].
        boxes_yxyx: float [b, k, 4].
        valid: bool [b, k], False for padding.
        ignored: bool [b, k], difficult objects and crowds.
        positive_overlap: minimum IoU of a positive anchor.
        negative_overlap: IoU below which an anchor is negative; in between it is ignored.
        forced: which anchors are positive in any case.
        background_overlap: IoU below which an anchor is ignored; 0: none is.
    """
    given = tf.stop_gradient(anchors_yxyx)

    def single(inputs: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        boxes, usable, hidden, *own = inputs
        anchors = own[0] if own else given
        count = tf.shape(boxes)[0]
        overlap = tf.where(usable, paired_iou(anchors[:, tf.newaxis], boxes[tf.newaxis], ops=tf), -1.0)
        best, assigned = tf.reduce_max(overlap, axis=1), tf.argmax(overlap, axis=1, output_type=tf.int32)
        kind = tf.where(best >= positive_overlap, POSITIVE, tf.where(best < negative_overlap, NEGATIVE, IGNORED))
        if background_overlap:
            kind = tf.where(best < background_overlap, IGNORED, kind)
        highest = tf.reduce_max(overlap, axis=0)
        if forced == "ties":
            kind = tf.where(tf.reduce_any((overlap == highest) & (highest > 0), axis=1), POSITIVE, kind)
        if forced == "best":
            first = tf.math.unsorted_segment_min(
                tf.where(highest > 0, tf.range(count), count), tf.argmax(overlap, axis=0), tf.shape(anchors)[0]
            )
            taken = first < count
            kind, assigned = tf.where(taken, POSITIVE, kind), tf.where(taken, first, assigned)

        def without_hidden() -> tf.Tensor:
            covered = tf.where(hidden, _covered(anchors[:, tf.newaxis], boxes[tf.newaxis]), 0.0)
            return tf.where((tf.reduce_max(covered, axis=1) > IGNORED_OVERLAP) & (kind == NEGATIVE), IGNORED, kind)

        kind = tf.cond(tf.reduce_any(hidden), without_hidden, lambda: kind)
        return kind, assigned

    signature = (tf.TensorSpec((given.shape[-2],), tf.int32),) * 2
    own = (given,) if given.shape.rank == 3 else ()
    inputs = tf.cast(boxes_yxyx, given.dtype), valid & ~ignored, valid & ignored, *own
    return Match(*tf.map_fn(single, inputs, fn_output_signature=signature))


def _covered(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns the share of each first box that lies in the second."""
    sides = tf.maximum(tf.minimum(first[..., 2:], second[..., 2:]) - tf.maximum(first[..., :2], second[..., :2]), 0.0)
    return tf.math.divide_no_nan(tf.reduce_prod(sides, -1), tf.reduce_prod(first[..., 2:] - first[..., :2], -1))
