"""Assignment of anchors to objects, inside the training graph.

Kinds and indices are int64, because on GPUs TensorFlow computes with int32 on the host.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from tfeff.boxes import paired_iou, share_inside
from tfeff.boxes.assignment import IGNORED_OVERLAP
from tfeff.tasks.coverage import Coverage, best_overlap, owned, sizes
from tfeff.tasks.task import Batch

ANCHORS = "anchors"
POSITIVE, NEGATIVE, IGNORED = np.int64(1), np.int64(0), np.int64(-1)
PAIRS = 2**22
"""With more pairs of an anchor and an object in a batch, images are matched one by one. A tensor of pairs then has at
most 16 MB, or those of one image."""


class Match(NamedTuple):
    """The object of each anchor.

    Attributes:
        kind: int64 [b, n], POSITIVE, NEGATIVE or IGNORED.
        object: int64 [b, n], index of the object of each positive anchor; of the others, any index.
    """

    kind: tf.Tensor
    object: tf.Tensor


class AnchorMatching:
    """What detectors share that match anchors to objects.

    The anchors are part of the outputs and of the geometry, as `anchors`, float32 [1, n, 4].
    """

    FORCED: ClassVar[Literal["best", "ties", "none"]] = "best"
    """See `match`."""
    section: Any

    def geometry(self, description: Any, size: tuple[int, int]) -> dict[str, tf.Tensor]:
        """Returns `anchors`."""
        return {ANCHORS: tf.constant(description.anchors.boxes(size))[tf.newaxis]}

    def coverage(self, batch: Batch, geometry: Mapping[str, tf.Tensor]) -> Coverage:
        """Measures coverage by the positive anchors."""
        anchors, boxes = geometry[ANCHORS], tf.cast(batch["boxes_yxyx"], tf.float32)
        matched = self.matched(anchors[0], boxes, batch)
        learned = owned(matched.kind == POSITIVE, matched.object, boxes.shape[1])
        return Coverage(learned, best_overlap(anchors[0], boxes), sizes(anchors[..., 2:] - anchors[..., :2]))

    def matched(self, anchors: tf.Tensor, boxes: tf.Tensor, batch: Batch) -> Match:
        """Returns the object of each anchor."""
        return match(
            anchors,
            boxes,
            batch["valid"],
            batch["difficult"] | batch["crowd"],
            positive_overlap=self.section.positive_overlap,
            negative_overlap=self.section.negative_overlap,
            forced=self.FORCED,
        )


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

    Negative anchors are ignored if more than IGNORED_OVERLAP of their area lies in an ignored object, or if the object
    would make them anything but negative if it were not ignored: by their IoU with it or, unless `forced` is "none",
    because no anchor overlaps it more.

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
    own = (anchors,) if anchors.shape[0] == boxes.shape[0] else ()

    def matched(boxes: tf.Tensor, usable: tf.Tensor, hidden: tf.Tensor, *own: tf.Tensor) -> Match:
        return _match(own[0] if own else anchors, boxes, usable, hidden, **settings)

    return Match(*by_image(matched, (boxes, usable, hidden, *own), (tf.int64, tf.int64), anchors.shape[1]))


def by_image(
    function: Callable[..., Sequence[tf.Tensor]],
    given: Sequence[tf.Tensor],
    dtypes: Sequence[tf.DType],
    count: int,
    *,
    most: int = PAIRS,
) -> Sequence[tf.Tensor]:
    """Returns what a function of a batch returns, called for each image alone if the pairs would take much memory.

    Args:
        function: takes `given` and returns tensors [b, count].
        given: tensors of b images; the first has the k objects of each, [b, k, ...].
        dtypes: those of the returned tensors.
        count: number of anchors or cells of an image.
        most: more pairs of an anchor and an object are not computed at once, except those of one image.
    """
    images, objects = given[0].shape[:2]
    if (images or 0) * objects * count <= most:
        return function(*given)

    def single(image: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        return tuple(each[0] for each in function(*(each[tf.newaxis] for each in image)))

    signature = tuple(tf.TensorSpec((count,), dtype) for dtype in dtypes)
    return tf.map_fn(single, tuple(given), fn_output_signature=signature)


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
        pairs = anchors[:, :, tf.newaxis], boxes[:, tf.newaxis]
        covered, overlap = (
            tf.where(hidden[:, tf.newaxis], each(*pairs, ops=tf), 0.0) for each in (share_inside, paired_iou)
        )
        unclear = (covered > IGNORED_OVERLAP) | ((overlap >= negative_overlap) & (overlap > 0))
        if forced != "none":
            unclear |= (overlap == tf.reduce_max(overlap, axis=1, keepdims=True)) & (overlap > 0)
        return tf.where(tf.reduce_any(unclear, axis=2) & (kind == NEGATIVE), IGNORED, kind)

    kind = tf.cond(tf.reduce_any(hidden), without_hidden, lambda: kind)
    return Match(kind, assigned)
