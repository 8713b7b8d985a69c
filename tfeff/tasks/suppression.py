"""From the predictions of a dense detector to detections: the best candidates, what non-maximum suppression leaves of
them, or peaks alone, a fixed number.

Everything is in one TensorFlow graph of static shapes, without class-wise loops, so that exports contain it.
"""

import math
from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from tfeff import config

NAMES = ("boxes", "scores", "labels", "count")
GAUSSIAN_THRESHOLD = 1.0
"""With soft suppression, no overlap removes a box."""


def suppress(boxes_yxyx: tf.Tensor, scores: tf.Tensor, section: config.Suppression) -> dict[str, tf.Tensor]:
    """Returns detections of each image, by descending score, padded with zeros.

    Args:
        boxes_yxyx: float32 [b, n, 4], or a box for each class, [b, n, classes, 4].
        scores: float32 [b, n, classes].
        section: the settings.

    Returns:
        For d = `section.detections`: `boxes` float32 [b, d, 4]; `scores` float32 [b, d]; `labels` int32 [b, d];
        `count` int32 [b], detections that are not padding.
    """

    boxes, scores, axis, integer = _arranged(boxes_yxyx, scores)
    box, best, label = _candidates(boxes, scores, section, axis, integer)
    apart = box if section.class_agnostic else _apart(box, label, scores.shape[-1])
    kept, score, count = _kept(apart, best, section)
    gather = partial(tf.gather, indices=kept, axis=axis, batch_dims=axis)
    real = tf.range(section.detections, dtype=tf.int64) < tf.expand_dims(count, -1)
    return _detections(real, count, gather(box), gather(best) if score is None else score, gather(label), axis)


def strongest(boxes_yxyx: tf.Tensor, scores: tf.Tensor, section: config.Suppression) -> dict[str, tf.Tensor]:
    """Returns the detections with the highest scores, as `suppress` does, but without suppression.

    There is one box for all classes. Of the settings, `minimum_score` and `detections` apply.
    """
    boxes, scores, axis, integer = _arranged(boxes_yxyx, scores)
    gather = partial(tf.gather, axis=axis, batch_dims=axis)
    # The best pairs of box and class are among the boxes whose best class scores highest.
    _, chosen = tf.math.top_k(tf.reduce_max(scores, axis=-1), min(scores.shape[axis], section.detections))
    boxes, scores = gather(boxes, chosen), gather(scores, chosen)
    count, classes = scores.shape[axis:]
    pairs = tf.reshape(scores, [-1, count * classes][1 - axis :])
    best, pair = tf.math.top_k(pairs, min(count * classes, section.detections))
    pair = tf.cast(pair, integer)
    if missing := section.detections - best.shape[-1]:  # the network has few positions; a score of 0 is no detection
        best, pair = (tf.pad(each, [*[[0, 0]] * axis, [0, missing]]) for each in (best, pair))
    real = best > section.minimum_score
    number = tf.reduce_sum(tf.cast(real, integer), axis=-1)
    return _detections(real, number, gather(boxes, pair // classes), best, pair % classes, axis)


def peaks(scores: tf.Tensor, grids: Sequence[tuple[int, int]]) -> tf.Tensor:
    """Returns which cells have the highest score of a class among themselves and their neighbors in the same level.

    "Objects as Points" (arXiv:1904.07850, section 4) finds its detections in this way. Of neighbors with equal scores,
    which are frequent in 8-bit integers, the first by rows is the peak.

    Args:
        scores: probabilities or logits, [b, n, classes].
        grids: rows and columns of each level.

    Returns:
        bool [b, n, classes].
    """
    found = []
    for part, (rows, columns) in zip(tf.split(scores, [h * w for h, w in grids], axis=1), grids, strict=True):
        grid = tf.reshape(part, (-1, rows, columns, part.shape[-1]))
        highest = tf.nn.max_pool2d(grid, 3, strides=1, padding="SAME")
        peak = (grid >= highest) & _above_earlier(grid)
        found.append(tf.reshape(peak, (-1, rows * columns, part.shape[-1])))
    return tf.concat(found, axis=1)


def _above_earlier(grid: tf.Tensor) -> tf.Tensor:
    """Returns which cells have higher scores than their neighbors in the row above, and the left one."""
    rows, columns = grid.shape[1:3]
    above = left = grid == grid
    if rows > 1:
        highest = tf.nn.max_pool2d(grid[:, :-1], (1, 3), strides=1, padding="SAME")
        above = tf.concat([above[:, :1], grid[:, 1:] > highest], axis=1)
    if columns > 1:
        left = tf.concat([left[:, :, :1], grid[:, :, 1:] > grid[:, :, :-1]], axis=2)
    return above & left


def _detections(
    real: tf.Tensor, count: tf.Tensor, boxes: tf.Tensor, scores: tf.Tensor, labels: tf.Tensor, axis: int
) -> dict[str, tf.Tensor]:
    """Returns the detections by name, of a batch; those that are not `real`, bool [..., d], become zeros.

    `axis` is 1 for a batch, 0 for one image, which gets its batch dimension back.
    """
    found = (
        tf.where(real[..., tf.newaxis], boxes, 0.0),
        tf.where(real, scores, 0.0),
        tf.where(real, tf.cast(labels, tf.int32), 0),
        tf.cast(count, tf.int32),
    )
    return dict(zip(NAMES, found if axis else (each[tf.newaxis] for each in found), strict=True))


def _arranged(boxes: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, int, tf.DType]:
    """Returns boxes and scores in float32, the axis of the boxes, and the type of integers to compute with.

    A single image loses its batch dimension, because other runtimes than TensorFlow lack some operators with one:
    OpenVINO 2026.4 crashes in gathers. LiteRT needs more than 30 ms for `[0]` of the scores of EfficientDet-D0.

    On GPUs, TensorFlow computes with int32 on the host. Exports, whose batch is one image or of unknown size, are also
    for LiteRT, which does not divide int64.
    """
    boxes, scores = tf.cast(boxes, tf.float32), tf.cast(scores, tf.float32)
    images = boxes.shape[0]
    if images == 1:
        return tf.squeeze(boxes, 0), tf.squeeze(scores, 0), 0, tf.int32
    return boxes, scores, 1, tf.int64 if images else tf.int32


def _candidates(
    boxes: tf.Tensor, scores: tf.Tensor, section: config.Suppression, axis: int, integer: tf.DType
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns boxes [..., c, 4], scores and labels [..., c] of the best c pairs of a box and a class.

    Args:
        boxes: [..., n, 4] or [..., n, classes, 4].
        scores: [..., n, classes].
        section: the settings.
        axis: of the boxes: 1 for a batch, 0 for one image.
        integer: the type of the labels.
    """
    classes = scores.shape[-1]
    gather = partial(tf.gather, axis=axis, batch_dims=axis)
    limit = partial(tf.minimum, section.entering)
    # They are among the boxes whose best class scores highest: sorting is the slow part.
    best, chosen = tf.math.top_k(tf.reduce_max(scores, axis=-1), limit(tf.shape(scores)[axis]))
    box, scores = gather(boxes, chosen), gather(scores, chosen)
    count = tf.shape(scores)[axis]
    single = box.shape.rank == axis + 2
    if not single:
        box = tf.reshape(box, [*[-1] * axis, count * classes, 4])
    if section.class_agnostic:
        label = tf.argmax(scores, axis=-1, output_type=integer)
        return box if single else gather(box, classes * tf.range(tf.cast(count, integer)) + label), best, label
    best, position = tf.math.top_k(tf.reshape(scores, [*[-1] * axis, count * classes]), limit(count * classes))
    position = tf.cast(position, integer)
    return gather(box, position // classes if single else position), best, position % classes


def _kept(
    boxes: tf.Tensor, scores: tf.Tensor, section: config.Suppression
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]:
    """Returns the indices of the remaining boxes, their scores if these have changed, and their number.

    Boxes are [c, 4] or [b, c, 4]. Images are suppressed one by one: only an operator for one image has a kernel for
    GPUs, and soft suppression has none.
    """
    soft = section.kind == "gaussian"
    common = {
        "max_output_size": section.detections,
        "iou_threshold": GAUSSIAN_THRESHOLD if soft else section.overlap,
        "score_threshold": section.minimum_score,
        "pad_to_max_output_size": True,
    }

    def single(image: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        inputs = {"boxes": image[0], "scores": image[1], **common}
        if soft:  # TensorFlow's weight is exp(-IoU^2 / (2 sigma))
            kept, score, count = tf.raw_ops.NonMaxSuppressionV5(**inputs, soft_nms_sigma=section.sigma / 2)
            return tf.cast(kept, tf.int64), tf.cast(count, tf.int64), score
        return tuple(tf.cast(each, tf.int64) for each in tf.raw_ops.NonMaxSuppressionV4(**inputs))

    if boxes.shape.rank == 2:
        found = single((boxes, scores))
    else:
        size = (section.detections,)
        signature = tf.TensorSpec(size, tf.int64), tf.TensorSpec((), tf.int64), tf.TensorSpec(size, tf.float32)
        found = tf.map_fn(single, (boxes, scores), fn_output_signature=signature if soft else signature[:2])
    return found[0], found[2] if soft else None, found[1]


def _apart(boxes: tf.Tensor, labels: tf.Tensor, classes: int) -> tf.Tensor:
    """Moves boxes so that those of different classes do not overlap.

    One pass then treats each class on its own.

    Each class has a cell of a square grid around the origin. In a row of cells, coordinates would become so large that
    float32 rounds away hundredths of a pixel.
    """
    columns = math.isqrt(classes - 1) + 1
    cell = tf.stack([labels // columns, labels % columns] * 2, axis=-1) - columns // 2
    span = tf.reduce_max(tf.abs(boxes), axis=(-2, -1), keepdims=True) * 2.0 + 1.0
    return boxes + span * tf.cast(cell, boxes.dtype)
