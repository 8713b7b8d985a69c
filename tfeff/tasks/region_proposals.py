"""Regions from the outputs of a region proposal network: the best of each level, without near duplicates."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfeff.boxes import clip, decode

INDEX_DTYPE = tf.int64
"""Type of indices: on GPUs, TensorFlow computes with int32 on the host."""
MINIMUM_PROPOSAL_SIDE = 1e-3
"""Proposals with a shorter side, in pixels, are dropped."""


def propose(
    objectness: tf.Tensor,
    codes: tf.Tensor,
    anchors_yxyx: tf.Tensor,
    counts: Sequence[int],
    size: tuple[int, int],
    *,
    per_level: int,
    total: int,
    overlap: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns proposals of each image, the best first.

    Of each level, the boxes with the highest scores are decoded, clipped to the image and thinned by non-maximum
    suppression; of all levels together, the best remain.

    Args:
        objectness: [b, n], logits.
        codes: [b, n, 4].
        anchors_yxyx: [n, 4].
        counts: anchors of each level, n together.
        size: (height, width) of the images, in pixels.
        per_level: at most this many boxes of a level enter its suppression.
        total: p, at most this many proposals remain.
        overlap: a box is removed if its IoU with a better one exceeds this.

    Returns:
        boxes_yxyx [b, p, 4], float32, padded with zeros; bool [b, p], False for padding.
    """
    anchors = tf.cast(anchors_yxyx, codes.dtype)
    found = []
    first = 0
    for count in counts:
        level = slice(first, first + count)
        first += count
        best, index = tf.math.top_k(objectness[:, level], min(per_level, count))
        chosen = tf.gather(anchors[level], index)
        # Rows of all images as one table: OpenVINO 2026.4 crashes in a gather with batch dimensions.
        index = tf.cast(index, INDEX_DTYPE)
        rows = index + count * tf.range(tf.shape(index, INDEX_DTYPE)[0])[:, tf.newaxis]
        boxes = decode(tf.gather(tf.reshape(codes[:, level], (-1, 4)), rows), chosen, ops=keras.ops)
        boxes = clip(boxes, size, ops=keras.ops)
        wide = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] >= MINIMUM_PROPOSAL_SIDE, axis=-1)
        found.append((boxes, tf.where(wide, best, tf.cast(-float("inf"), best.dtype))))

    def single(levels: list[tuple[tf.Tensor, tf.Tensor]]) -> tuple[tf.Tensor, tf.Tensor]:
        kept = []
        for boxes, scores in levels:
            precise = tf.cast(boxes, tf.float32), tf.cast(scores, tf.float32)
            indices, number = tf.raw_ops.NonMaxSuppressionV4(
                boxes=precise[0],
                scores=precise[1],
                max_output_size=min(total, scores.shape[0]),
                iou_threshold=overlap,
                score_threshold=tf.float32.min,
                pad_to_max_output_size=True,
            )
            real = tf.range(tf.shape(indices, INDEX_DTYPE)[0]) < tf.cast(number, INDEX_DTYPE)
            kept.append((tf.gather(boxes, indices), tf.where(real, tf.gather(scores, indices), scores.dtype.min)))
        boxes, scores = (tf.concat(parts, axis=0) for parts in zip(*kept, strict=True))
        most = min(total, sum(min(total, each.shape[0]) for _, each in levels))
        best, index = tf.math.top_k(scores, most)
        valid = best > scores.dtype.min
        boxes = tf.where(valid[:, tf.newaxis], tf.gather(boxes, index), 0.0)
        return tf.pad(boxes, [[0, total - most], [0, 0]]), tf.pad(valid, [[0, total - most]])

    if codes.shape[0] == 1:  # without a loop, which other runtimes than TensorFlow may lack
        boxes, valid = single([(boxes[0], scores[0]) for boxes, scores in found])
        return boxes[tf.newaxis], valid[tf.newaxis]
    signature = tf.TensorSpec((total, 4), codes.dtype), tf.TensorSpec((total,), tf.bool)
    return tf.map_fn(single, found, fn_output_signature=signature)
