"""YOLO with anchors: each object is learned by one anchor (Redmon and Farhadi, arXiv:1804.02767, section 2.1).

Targets, losses and their normalization are those of darknet's `yolo_layer.c`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.boxes import paired_iou
from tfeff.boxes.anchors import anchor_sizes, shape_iou
from tfeff.boxes.coding import LOG_SIZE_LIMIT
from tfeff.data.augment.policy import MIN_SIDE
from tfeff.data.dataset import Dataset
from tfeff.networks.detectors.yolo import CODES, LOGITS
from tfeff.tasks.cells import CELL_PAIRS, containing, hidden, owners
from tfeff.tasks.coverage import Coverage, owned, sizes
from tfeff.tasks.matching import by_image
from tfeff.tasks.object_detection import DenseDetectionTask, relative_objects
from tfeff.tasks.task import IMAGES, Batch, to_float32

CORNERS, STRIDES, ANCHORS = "corners", "strides", "anchors"


class AnchorYoloTask(DenseDetectionTask):
    """See `config.AnchorYoloSettings`. Outputs: those of the network; for its n anchors, `corners` (top left of the
    cell), `strides` and `anchors` (height, width), float32 [1, n, 2] in pixels."""

    section: config.AnchorYoloSettings
    losses: ClassVar = {"object_loss": IMAGES, "class_loss": IMAGES, "box_loss": IMAGES}

    def __init__(self, section: config.AnchorYoloSettings | None = None) -> None:
        super().__init__(section or config.AnchorYoloSettings())

    def measured(self, images: Dataset, description: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Returns the anchors, by k-means on the boxes of the training images, unless the config sets them."""
        if self.section.anchors_per_level is None:
            return {}, ()
        boxes = np.concatenate(relative_objects(images, description.size, stretch=self.section.stretch))
        sizes = boxes[:, 2:] - boxes[:, :2]
        sizes = sizes[(sizes * description.size >= MIN_SIDE).all(axis=1)]  # training drops the others
        if not len(sizes):
            return {}, ("no boxes to find anchors for",)
        anchors = anchor_sizes(sizes, self.section.anchors_per_level * len(description.levels))
        overlap = shape_iou(sizes, anchors).max(axis=1).mean()
        note = (
            f"{len(anchors)} anchors by k-means on {len(sizes):,} boxes; mean IoU of a box with the best: {overlap:.3f}"
        )
        return {"anchors": [round(float(side), 5) for side in anchors.ravel()]}, (note,)

    def geometry(self, description: Any, size: tuple[int, int]) -> dict[str, tf.Tensor]:
        """Returns `corners`, `strides` and `anchors`."""
        described = description
        each = described.per_position
        centers, strides = described.points.centers(size), described.points.strides(size)
        sizes = described.shapes * size
        cells = [math.prod(-(-side // 2**level) for side in size) for level in described.points.levels]
        anchors = np.concatenate([np.tile(sizes[level], (count, 1)) for level, count in enumerate(cells)])
        return {
            CORNERS: tf.constant(np.repeat(centers - strides / 2, each, axis=0)[None]),
            STRIDES: tf.constant(np.repeat(strides, each, axis=0)[None]),
            ANCHORS: tf.constant(anchors[None], tf.float32),
        }

    def coverage(self, batch: Batch, geometry: Mapping[str, tf.Tensor]) -> Coverage:
        """Measures coverage by the responsible anchors, and by the shapes of all anchors."""
        objects, anchors = tf.cast(batch["boxes_yxyx"], tf.float32), geometry[ANCHORS]
        usable = batch["valid"] & ~(batch["difficult"] | batch["crowd"])
        positive, index = self._owners(objects, usable, geometry[CORNERS], geometry[STRIDES], anchors)
        shapes = sizes(anchors)
        sides = (objects[..., 2:] - objects[..., :2]).numpy()
        fit = np.maximum(shape_iou(sides.reshape(-1, 2), shapes).max(axis=1), 0.0).reshape(sides.shape[:2])
        return Coverage(owned(positive, index, objects.shape[1]), tf.constant(fit), shapes)

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the losses of objectness, classes, positions and sizes.

        Binary cross-entropy of objectness and, for positive anchors, of classes and position; squared error of the
        positive anchors' sizes. Other anchors of cells in ignored objects learn no objectness.
        """
        section = self.section
        logits, codes = to_float32(outputs[LOGITS]), to_float32(outputs[CODES])
        corners, strides, anchors = (tf.cast(outputs[key], codes.dtype) for key in (CORNERS, STRIDES, ANCHORS))
        objects = tf.cast(batch["boxes_yxyx"], codes.dtype)
        positive, index, background = self._assigned(batch, outputs, objects, corners, strides, anchors)
        boxes = tf.gather(objects, index, batch_dims=1)
        weight = tf.cast(batch["weight"], codes.dtype)[:, tf.newaxis]
        chosen = tf.cast(positive, codes.dtype) * weight

        used = tf.cast(positive | background, codes.dtype) * weight
        objectness = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(positive, logits.dtype), logits[..., 0])

        labels = tf.one_hot(tf.gather(batch["label"], index, batch_dims=1), logits.shape[-1] - 1, dtype=logits.dtype)
        classes = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits[..., 1:])

        sides = boxes[..., 2:] - boxes[..., :2]
        place = ((boxes[..., :2] + boxes[..., 2:]) / 2 - corners) / strides
        place = tf.where(positive[..., tf.newaxis], place, 0.5)
        size = tf.math.log(tf.where(positive[..., tf.newaxis], tf.maximum(sides, 1e-3), anchors) / anchors)
        position = tf.nn.sigmoid_cross_entropy_with_logits(place, codes[..., :2])
        # Darknet's gradient is the plain difference: that of half the squared error.
        shape = 0.5 * (codes[..., 2:] - size) ** 2
        extent = tf.reduce_max(corners + strides, axis=1, keepdims=True)
        scale = 2.0 - tf.reduce_prod(sides / extent, axis=-1)
        box = scale * tf.reduce_sum(position + shape, axis=-1)
        return {
            "object_loss": section.object_weight * tf.reduce_sum(objectness * used),
            "class_loss": section.class_weight * tf.reduce_sum(tf.reduce_sum(classes, axis=-1) * chosen),
            "box_loss": section.box_weight * tf.reduce_sum(box * chosen),
            IMAGES: tf.reduce_sum(weight),
        }

    def candidates(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """See `ObjectDetectionTask`. A score is the product of objectness and class probability."""
        probabilities = tf.sigmoid(tf.cast(outputs[LOGITS], tf.float32))
        return tf.cast(self._boxes(outputs), tf.float32), probabilities[..., :1] * probabilities[..., 1:]

    def _boxes(self, outputs: Any) -> tf.Tensor:
        """Returns the predicted boxes, [b, n, 4], not clipped."""
        codes = to_float32(outputs[CODES])
        corners, strides, anchors = (tf.cast(outputs[key], codes.dtype) for key in (CORNERS, STRIDES, ANCHORS))
        centers = corners + tf.sigmoid(codes[..., :2]) * strides
        halves = anchors * tf.exp(tf.minimum(codes[..., 2:], LOG_SIZE_LIMIT)) / 2
        return tf.concat([centers - halves, centers + halves], axis=-1)

    def _assigned(
        self,
        batch: Batch,
        outputs: Any,
        objects: tf.Tensor,
        corners: tf.Tensor,
        strides: tf.Tensor,
        anchors: tf.Tensor,
    ) -> Sequence[tf.Tensor]:
        """Returns `_owners`, and which anchors learn that they are background unless they are positive, bool [b, n]."""

        def assigned(
            objects: tf.Tensor, valid: tf.Tensor, ignored: tf.Tensor, predicted: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            positive, index = self._owners(objects, valid & ~ignored, corners, strides, anchors)
            overlaps = paired_iou(predicted[:, :, tf.newaxis], objects[:, tf.newaxis], ops=tf)
            best = tf.reduce_max(tf.where(valid[:, tf.newaxis], overlaps, 0.0), axis=-1)
            kept = hidden(corners, strides, objects, valid & ignored)
            return positive, index, (best <= self.section.ignore_overlap) & ~kept

        ignored, predicted = batch["difficult"] | batch["crowd"], tf.stop_gradient(self._boxes(outputs))
        given, dtypes = (objects, batch["valid"], ignored, predicted), (tf.bool, tf.int64, tf.bool)
        return by_image(assigned, given, dtypes, anchors.shape[1], most=CELL_PAIRS)

    def _owners(
        self, objects: tf.Tensor, usable: tf.Tensor, corners: tf.Tensor, strides: tf.Tensor, anchors: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `cells.owners`. An object takes, of all anchors in the cells that contain its center, the one whose shape
        fits best."""
        sides = (objects[..., 2:] - objects[..., :2])[:, tf.newaxis]
        common = tf.reduce_prod(tf.minimum(sides, anchors[:, :, tf.newaxis]), axis=-1)
        areas = tf.reduce_prod(sides, axis=-1) + tf.reduce_prod(anchors, axis=-1)[..., tf.newaxis]
        fit = tf.where(containing(corners, strides, objects), common / (areas - common), -1.0)
        return owners(tf.argmax(fit, axis=1), usable, anchors.shape[1])
