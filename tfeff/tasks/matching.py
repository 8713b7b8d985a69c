"""Assignment of anchors to objects, inside the training graph.

Kinds and indices are int64, because on GPUs TensorFlow computes with int32 on the host.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from tfeff.boxes import paired_iou, share_inside
from tfeff.boxes.assignment import IGNORED_OVERLAP

POSITIVE, NEGATIVE, IGNORED = np.int64(1), np.int64(0), np.int64(-1)
PAIRS = 2**22
"""Of more pairs of an anchor and an object, the images are matched one by one: this bounds memory (16 MB a tensor)."""


class Match(NamedTuple):
    """The object of each anchor.

    Attributes:
        kind: int64 [b, n], POSITIVE, NEGATIVE or IGNORED.
        object: int64 [b, n], index of the object of each positive anchor; of the others, any index.
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
    anchors = tf.stop_gradient(anchors_yxyx)
    anchors = anchors if anchors.shape.rank == 3 else anchors[tf.newaxis]
    boxes, usable, hidden = tf.cast(boxes_yxyx, anchors.dtype), valid & ~ignored, valid & ignored
    settings: dict[str, Any] = {
        "positive_overlap": positive_overlap,
        "negative_overlap": negative_overlap,
        "forced": forced,
        "background_overlap": background_overlap,
    }
    if (boxes.shape[0] or 0) * anchors.shape[1] * boxes.shape[1] <= PAIRS:
        return _match(anchors, boxes, usable, hidden, **settings)
    own = (anchors,) if anchors.shape[0] == boxes.shape[0] else ()

    def single(image: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        given = [each[tf.newaxis] for each in image]
        kind, assigned = _match(given[3] if own else anchors, *given[:3], **settings)
        return kind[0], assigned[0]

    signature = (tf.TensorSpec((anchors.shape[1],), tf.int64),) * 2
    return Match(*tf.map_fn(single, (boxes, usable, hidden, *own), fn_output_signature=signature))


def _match(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    usable: tf.Tensor,
    hidden: tf.Tensor,
    *,
    positive_overlap: float,
    negative_overlap: float,
    forced: str,
    background_overlap: float,
) -> Match:
    """Matches anchors [b, n, 4] or [1, n, 4] of some images; which of their boxes are usable, and which are ignored."""
    overlap = paired_iou(anchors[:, :, tf.newaxis], boxes[:, tf.newaxis], ops=tf)
    overlap = tf.where(usable[:, tf.newaxis], overlap, -1.0)
    best, assigned = tf.reduce_max(overlap, axis=2), tf.argmax(overlap, axis=2)
    kind = tf.where(best < negative_overlap, NEGATIVE, IGNORED)
    kind = tf.where(best >= positive_overlap, POSITIVE, kind)
    if background_overlap:
        kind = tf.where(best < background_overlap, IGNORED, kind)
    highest = tf.reduce_max(overlap, axis=1, keepdims=True)
    if forced == "ties":
        tied = tf.reduce_any((overlap == highest) & (highest > 0), axis=2)
        kind = tf.where(tied, POSITIVE, kind)
    if forced == "best":
        # Of the objects that want an anchor, the first.
        wanted = tf.one_hot(tf.argmax(overlap, axis=1), overlap.shape[1], on_value=True, off_value=False, axis=1)
        wanted &= highest > 0
        taken, first = tf.reduce_any(wanted, axis=2), tf.argmax(wanted, axis=2)
        kind, assigned = tf.where(taken, POSITIVE, kind), tf.where(taken, first, assigned)

    def without_hidden() -> tf.Tensor:
        covered = share_inside(anchors[:, :, tf.newaxis], boxes[:, tf.newaxis], ops=tf)
        covered = tf.where(hidden[:, tf.newaxis], covered, 0.0)
        unclear = (tf.reduce_max(covered, axis=2) > IGNORED_OVERLAP) & (kind == NEGATIVE)
        return tf.where(unclear, IGNORED, kind)

    kind = tf.cond(tf.reduce_any(hidden), without_hidden, lambda: kind)
    return Match(kind, assigned)
