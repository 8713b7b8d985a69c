"""YOLO without anchors: task-aligned assignment, CIoU loss and distribution focal loss."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfeff import config
from tfeff.boxes import paired_iou
from tfeff.networks.detectors.yolo import DISTANCES, LOGITS
from tfeff.networks.heads import ONE_TO_MANY
from tfeff.tasks.cells import CELL_PAIRS, hidden, learning
from tfeff.tasks.coverage import Coverage, sizes
from tfeff.tasks.losses import complete_iou, distribution_focal_loss
from tfeff.tasks.matching import by_image
from tfeff.tasks.object_detection import DenseDetectionTask
from tfeff.tasks.suppression import peaks, strongest
from tfeff.tasks.task import Batch, to_float32
from tfeff.tasks.task_aligned import Alignment, align

TARGETS = "targets"
"""The count of all losses: the sum of the class targets of all positive cells."""
CENTERS, STRIDES, REACH, PEAKS = "centers", "strides", "reach", "peaks"


class YoloTask(DenseDetectionTask):
    """See `config.YoloSettings`. Outputs: those of the network; `centers`, `strides` and `reach`, float32 [1, n, 2]."""

    section: config.YoloSettings
    UNCOMPARED = frozenset({DISTANCES, ONE_TO_MANY + DISTANCES})

    def __init__(self, section: config.YoloSettings | None = None) -> None:
        super().__init__(section or config.YoloSettings())
        losses = ("class_loss", "box_loss", "distance_loss")
        prefixes = ("", ONE_TO_MANY) if self.section.network.end_to_end else ("",)
        # Other tasks have these in their class.
        self.losses = {prefix + name: prefix + TARGETS for prefix in prefixes for name in losses}  # type: ignore[misc]
        self.added = {prefix + TARGETS: 1.0 for prefix in prefixes}  # type: ignore[misc]

    @property
    def suppresses(self) -> bool:
        """Unless only peaks are detected."""
        return not self.section.detects_peaks

    def forward(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """See the class; for predictions without suppression, also `peaks`, bool [b, n, classes]."""
        outputs = super().forward(network, batch, training=training)
        if training or self.suppresses:
            return outputs
        grids = network.description.points.grids(network.size)
        return outputs | {PEAKS: peaks(tf.cast(outputs[LOGITS], tf.float32), grids)}

    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """See `ObjectDetectionTask`.

        With `end_to_end`, too, only peaks are detected: cells learn what objects look like long before they learn to
        stay silent next to a better cell (docs/dense_detection.md).
        """
        if self.suppresses:
            return super().decode(outputs)
        boxes, scores = self.candidates(outputs)
        return strongest(boxes, tf.where(outputs[PEAKS], scores, 0.0), self.section.suppression)

    def geometry(self, description: Any, size: tuple[int, int]) -> dict[str, tf.Tensor]:
        """Returns the cells' `centers` and `strides`, and `reach`, their largest distance to a side."""
        points = description.points
        strides = tf.constant(points.strides(size))[tf.newaxis]
        return {
            CENTERS: tf.constant(points.centers(size))[tf.newaxis],
            STRIDES: strides,
            REACH: strides * float(description.bins - 1),
        }

    def coverage(self, batch: Batch, geometry: Mapping[str, tf.Tensor]) -> Coverage:
        """Measures coverage by the cells that can learn an object, and by the boxes they can predict."""
        centers, boxes = geometry[CENTERS], tf.cast(batch["boxes_yxyx"], tf.float32)
        found = learning(centers, geometry[STRIDES], boxes, batch["valid"])
        middle, reach = (each[:, :, tf.newaxis] for each in (centers, geometry[REACH]))
        # The center of a cell lies in all boxes that the cell can predict.
        low, high = boxes[:, tf.newaxis, :, :2], boxes[:, tf.newaxis, :, 2:]
        low = tf.minimum(tf.maximum(low, middle - reach), middle)
        high = tf.minimum(tf.maximum(high, middle), middle + reach)
        reachable = tf.concat([low, high], axis=-1)
        overlaps = tf.where(found, paired_iou(reachable, boxes[:, tf.newaxis], ops=tf), 0.0)
        learned = tf.reduce_any(found, axis=1)
        return Coverage(learned, tf.reduce_max(overlaps, axis=1), sizes(geometry[STRIDES]))

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Binary cross-entropy of all classes of all cells; CIoU loss and distribution focal loss of positive cells,
        weighted by their targets. With `end_to_end`, also those of the heads that only training uses."""
        *first, last = self.branches(outputs)
        totals = self._totals(batch, last, self.section.positives)
        if not first:
            return totals
        further = {ONE_TO_MANY + name: total for name, total in totals.items()}
        return {**self._totals(batch, first[0], 1), **further}

    def branches(self, outputs: Any) -> list[Any]:
        """See `DenseDetectionTask`."""
        others = {name: outputs[ONE_TO_MANY + name] for name in (LOGITS, DISTANCES) if ONE_TO_MANY + name in outputs}
        return [outputs, outputs | others] if others else [outputs]

    def _totals(self, batch: Batch, outputs: Any, positives: int) -> dict[str, tf.Tensor]:
        """Returns the totals of two heads, with at most this many positive cells for each object."""
        section = self.section
        logits, distances = to_float32(outputs[LOGITS]), self._distributions(outputs)
        predicted = self._boxes(outputs, distances)
        weight = tf.cast(batch["weight"], logits.dtype)[:, tf.newaxis]
        objects = tf.cast(batch["boxes_yxyx"], logits.dtype)
        aligned, ignored = self._aligned(batch, outputs, logits, predicted, objects, positives)
        target = aligned.target * weight

        labels = tf.gather(batch["label"], aligned.object, batch_dims=1)
        targets = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype) * target[..., tf.newaxis]
        used = weight * tf.cast(aligned.positive | ~ignored, logits.dtype)
        cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)

        # Cells without an object compare their box with itself, so that nothing becomes infinite.
        boxes = tf.gather(objects, aligned.object, batch_dims=1)
        boxes = tf.where(aligned.positive[..., tf.newaxis], boxes, tf.stop_gradient(predicted))
        overlap = complete_iou(predicted, boxes)
        wanted = self._distances(outputs, boxes)
        return {
            "class_loss": section.class_weight * tf.reduce_sum(tf.reduce_sum(cross_entropy, axis=-1) * used),
            "box_loss": section.box_weight * tf.reduce_sum((1.0 - overlap) * target),
            "distance_loss": section.distance_weight
            * tf.reduce_sum(tf.reduce_mean(distribution_focal_loss(wanted, distances), axis=-1) * target),
            TARGETS: tf.reduce_sum(target),
        }

    def candidates(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """See `ObjectDetectionTask`."""
        boxes = self._boxes(outputs, self._distributions(outputs))
        return tf.cast(boxes, tf.float32), tf.sigmoid(tf.cast(outputs[LOGITS], tf.float32))

    def _distributions(self, outputs: Any) -> tf.Tensor:
        """Returns logits of the distances to the four sides, [b, n, 4, bins]."""
        distances = to_float32(outputs[DISTANCES])
        return tf.reshape(distances, (-1, distances.shape[1], 4, distances.shape[2] // 4))

    def _boxes(self, outputs: Any, distances: tf.Tensor) -> tf.Tensor:
        """Returns the boxes that the distributions mean, [b, n, 4], not clipped."""
        steps = tf.range(distances.shape[-1], dtype=distances.dtype)
        mean = tf.reduce_sum(tf.nn.softmax(distances) * steps, axis=-1)
        centers, strides = (tf.cast(outputs[name], mean.dtype) for name in (CENTERS, STRIDES))
        return tf.concat([centers - mean[..., :2] * strides, centers + mean[..., 2:] * strides], axis=-1)

    def _distances(self, outputs: Any, boxes: tf.Tensor) -> tf.Tensor:
        """Returns distances from the centers of the cells to the sides of boxes, in strides: [b, n, 4]."""
        centers, strides = (tf.cast(outputs[name], boxes.dtype) for name in (CENTERS, STRIDES))
        return tf.concat([(centers - boxes[..., :2]) / strides, (boxes[..., 2:] - centers) / strides], axis=-1)

    def _aligned(
        self,
        batch: Batch,
        outputs: Any,
        logits: tf.Tensor,
        predicted: tf.Tensor,
        objects: tf.Tensor,
        positives: int,
    ) -> tuple[Alignment, tf.Tensor]:
        """Returns the assignment, and the cells that learn no background, bool [b, n]; without gradient."""
        section = self.section
        centers, strides = (tf.cast(outputs[name], objects.dtype) for name in (CENTERS, STRIDES))
        probabilities, predicted = tf.sigmoid(tf.stop_gradient(logits)), tf.stop_gradient(predicted)
        classes, ignored = tf.maximum(tf.cast(batch["label"], tf.int64), 0), batch["difficult"] | batch["crowd"]

        def aligned(
            objects: tf.Tensor,
            classes: tf.Tensor,
            usable: tf.Tensor,
            ignored: tf.Tensor,
            probabilities: tf.Tensor,
            predicted: tf.Tensor,
        ) -> tuple[tf.Tensor, ...]:
            cells = learning(centers, strides, objects, usable)
            pairs = predicted[:, :, tf.newaxis], objects[:, tf.newaxis]
            overlaps = paired_iou(*pairs, ops=tf)
            if section.alignment_overlap == "ciou":
                complete = complete_iou(*pairs)
                known = tf.reduce_any((complete > 0) & cells, axis=1, keepdims=True)
                # Squares, with which training begins, have a negative CIoU with small elongated objects.
                overlaps = tf.where(known, complete, overlaps)
            found = align(
                tf.gather(probabilities, classes, axis=2, batch_dims=1),
                # A negative CIoU would become positive under an even exponent.
                tf.maximum(tf.where(usable[:, tf.newaxis], overlaps, 0.0), 0.0),
                cells,
                alpha=section.alpha,
                beta=section.beta,
                candidates=positives,
            )
            return *found, hidden(centers - strides / 2, strides, objects, ignored)

        given = objects, classes, batch["valid"] & ~ignored, batch["valid"] & ignored, probabilities, predicted
        dtypes = tf.bool, tf.int64, objects.dtype, tf.bool
        *found, kept = by_image(aligned, given, dtypes, centers.shape[1], most=CELL_PAIRS)
        return Alignment(*found), kept
