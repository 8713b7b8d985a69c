"""From the predictions of a dense detector to detections: the best candidates, non-maximum suppression unless there are
no duplicates, a fixed number.

Everything is in one TensorFlow graph of static shapes, without class-wise loops, so that exports contain it.
"""

import math
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

    def single(inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        return _suppressed(*inputs, section)

    signature = (
        tf.TensorSpec((section.detections, 4), tf.float32),
        tf.TensorSpec((section.detections,), tf.float32),
        tf.TensorSpec((section.detections,), tf.int32),
        tf.TensorSpec((), tf.int32),
    )
    inputs = tf.cast(boxes_yxyx, tf.float32), tf.cast(scores, tf.float32)
    if inputs[0].shape[0] == 1:  # without a loop, which other runtimes than TensorFlow may lack
        # LiteRT needs more than 30 ms for `[0]` of the scores of EfficientDet-D0.
        outputs = [each[tf.newaxis] for each in single((tf.squeeze(inputs[0], 0), tf.squeeze(inputs[1], 0)))]
        return dict(zip(NAMES, outputs, strict=True))
    outputs = tf.map_fn(single, inputs, fn_output_signature=signature)
    return dict(zip(NAMES, outputs, strict=True))


def strongest(boxes_yxyx: tf.Tensor, scores: tf.Tensor, section: config.Suppression) -> dict[str, tf.Tensor]:
    """Returns the detections with the highest scores, as `suppress` does, but without suppression.

    There is one box for all classes. Of the settings, `minimum_score` and `detections` apply.
    """
    boxes, scores = tf.cast(boxes_yxyx, tf.float32), tf.cast(scores, tf.float32)
    axis = 1
    if boxes.shape[0] == 1:  # OpenVINO 2026.4 crashes in gathers with batch dimensions
        boxes, scores, axis = tf.squeeze(boxes, 0), tf.squeeze(scores, 0), 0
    gather = partial(tf.gather, axis=axis, batch_dims=axis)
    # The best pairs of box and class are among the boxes whose best class scores highest.
    _, chosen = tf.math.top_k(tf.reduce_max(scores, axis=-1), min(scores.shape[axis], section.detections))
    boxes, scores = gather(boxes, chosen), gather(scores, chosen)
    count, classes = scores.shape[axis:]
    pairs = tf.reshape(scores, [-1, count * classes][1 - axis :])
    best, pair = tf.math.top_k(pairs, min(count * classes, section.detections))
    real = best > section.minimum_score
    found = (
        tf.where(real[..., tf.newaxis], gather(boxes, pair // classes), 0.0),
        tf.where(real, best, 0.0),
        tf.where(real, pair % classes, 0),
        tf.reduce_sum(tf.cast(real, tf.int32), axis=-1),
    )
    if missing := section.detections - best.shape[-1]:  # the network has few positions
        none, end = [[0, 0]] * axis, [[0, missing]]
        found = (tf.pad(found[0], [*none, *end, [0, 0]]), *(tf.pad(each, none + end) for each in found[1:3]), found[3])
    return dict(zip(NAMES, found if axis else (each[tf.newaxis] for each in found), strict=True))


def _suppressed(boxes: tf.Tensor, scores: tf.Tensor, section: config.Suppression) -> tuple[tf.Tensor, ...]:
    """One image: boxes [n, 4] or [n, classes, 4], scores [n, classes]."""
    classes = scores.shape[-1]
    # The best pairs of box and class are among the boxes whose best class scores highest: sorting is the slow part.
    best, chosen = tf.math.top_k(tf.reduce_max(scores, axis=-1), tf.minimum(tf.shape(scores)[0], section.candidates))
    box, scores = tf.gather(boxes, chosen), tf.gather(scores, chosen)
    if section.class_agnostic:
        label = tf.argmax(scores, axis=-1, output_type=tf.int32)
        if box.shape.rank == 3:  # without batch dimensions of the gather, in which OpenVINO 2026.4 crashes
            box = tf.gather(tf.reshape(box, (-1, 4)), classes * tf.range(tf.size(label)) + label)
    else:
        flat = tf.reshape(scores, [-1])
        best, position = tf.math.top_k(flat, tf.minimum(tf.size(flat), section.candidates))
        label = position % classes
        box = (
            tf.gather(box, position // classes)
            if box.shape.rank == 2
            else tf.gather(tf.reshape(box, (-1, 4)), position)
        )
    apart = box if section.class_agnostic else _apart(box, label, classes)
    soft = section.kind == "gaussian"
    kept, score, count = tf.raw_ops.NonMaxSuppressionV5(
        boxes=apart,
        scores=best,
        max_output_size=section.detections,
        iou_threshold=GAUSSIAN_THRESHOLD if soft else section.overlap,
        score_threshold=section.minimum_score,
        # TensorFlow's weight is exp(-IoU^2 / (2 sigma)).
        soft_nms_sigma=section.sigma / 2 if soft else 0.0,
        pad_to_max_output_size=True,
    )
    real = tf.range(section.detections) < count
    return (
        tf.where(real[:, tf.newaxis], tf.gather(box, kept), 0.0),
        tf.where(real, score, 0.0),
        tf.where(real, tf.gather(label, kept), 0),
        count,
    )


def _apart(boxes: tf.Tensor, labels: tf.Tensor, classes: int) -> tf.Tensor:
    """Moves boxes so that those of different classes do not overlap.

    One pass then treats each class on its own.

    Each class has a cell of a square grid around the origin. In a row of cells, coordinates would become so large that
    float32 rounds away hundredths of a pixel.
    """
    columns = math.isqrt(classes - 1) + 1
    cell = tf.stack([labels // columns, labels % columns] * 2, axis=-1) - columns // 2
    span = tf.reduce_max(tf.abs(boxes)) * 2.0 + 1.0
    return boxes + span * tf.cast(cell, boxes.dtype)
