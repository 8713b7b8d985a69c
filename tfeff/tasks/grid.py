"""A grid of cells, each of which learns one object (Redmon et al., arXiv:1506.02640, section 2.2).

Targets, errors and their normalization are those of darknet's `detection_layer.c`: all outputs are linear, and the
network predicts the square roots of height and width. Darknet's gradients are half of those of the squared errors here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfeff import config
from tfeff.boxes import paired_iou
from tfeff.config.task_parts import Teacher
from tfeff.data.dataset import Dataset
from tfeff.networks.detectors.yolo import CELLS
from tfeff.tasks.cells import CELL_PAIRS, containing, hidden, images_with_shared_cells, owners
from tfeff.tasks.coverage import Coverage, owned, sizes
from tfeff.tasks.matching import by_image
from tfeff.tasks.object_detection import DenseDetectionTask, relative_objects
from tfeff.tasks.task import IMAGES, Batch, to_float32

CORNERS, STRIDES = "corners", "strides"


class GridTask(DenseDetectionTask):
    """See `config.GridSettings`. Outputs: that of the network; `corners` and `strides` of its n cells, float32
    [1, n, 2]."""

    section: config.GridSettings
    losses: ClassVar = {"class_loss": IMAGES, "confidence_loss": IMAGES, "box_loss": IMAGES}

    def __init__(self, section: config.GridSettings | None = None) -> None:
        super().__init__(section or config.GridSettings())

    def measured(self, images: Dataset, description: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Counts the images in which two objects share a cell, which can learn only one of them."""
        (level,) = description.points.levels
        rows, columns = (-(-side // 2**level) for side in description.size)
        boxes = relative_objects(images, description.size, stretch=self.section.stretch)
        shared = images_with_shared_cells(boxes, rows, columns)
        return {}, (f"grid of {rows}x{columns}: in {shared:,} of {len(images):,} images, two objects share a cell",)

    def geometry(self, description: Any, size: tuple[int, int]) -> dict[str, tf.Tensor]:
        """Returns `corners` and `strides`."""
        points = description.points
        strides = points.strides(size)
        return {
            CORNERS: tf.constant((points.centers(size) - strides / 2)[None]),
            STRIDES: tf.constant(strides[None]),
        }

    def coverage(self, batch: Batch, geometry: Mapping[str, tf.Tensor]) -> Coverage:
        """Measures coverage by the cells that own an object. A cell predicts boxes of any size."""
        objects = tf.cast(batch["boxes_yxyx"], tf.float32)
        usable = batch["valid"] & ~(batch["difficult"] | batch["crowd"])
        has, index = _owners(geometry[CORNERS], geometry[STRIDES], objects, usable)
        learned = owned(has, index, objects.shape[1])
        return Coverage(learned, tf.cast(learned, tf.float32), sizes(geometry[STRIDES]))

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the squared errors of classes, confidences and boxes.

        Classes count in cells with an object, and boxes if they are responsible. The target of a confidence is the
        box's IoU with the object if the box is responsible, else 0. Other boxes of cells in ignored objects learn no
        confidence.
        """
        section = self.section
        classes, confidence, place, root = self._parts(outputs)
        corners, strides = (tf.cast(outputs[key], classes.dtype) for key in (CORNERS, STRIDES))
        objects = tf.cast(batch["boxes_yxyx"], classes.dtype)
        ignored = batch["difficult"] | batch["crowd"]

        def assigned(objects: tf.Tensor, usable: tf.Tensor, ignored: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return *_owners(corners, strides, objects, usable), hidden(corners, strides, objects, ignored)

        given, dtypes = (objects, batch["valid"] & ~ignored, batch["valid"] & ignored), (tf.bool, tf.int64, tf.bool)
        has, index, kept = by_image(assigned, given, dtypes, corners.shape[1], most=CELL_PAIRS)
        weight = tf.cast(batch["weight"], classes.dtype)[:, tf.newaxis]
        filled = tf.cast(has, classes.dtype) * weight

        labels = tf.gather(batch["label"], index, batch_dims=1)
        target = tf.one_hot(labels, classes.shape[-1], dtype=classes.dtype)
        boxes = tf.gather(objects, index, batch_dims=1)[:, :, tf.newaxis]
        center = _centers(boxes)
        wanted_place = (center - corners[:, :, tf.newaxis]) / strides[:, :, tf.newaxis]
        wanted_root = tf.sqrt(tf.maximum(_sides(boxes), 0.0) / self._extent(outputs))

        predicted = tf.stop_gradient(self._boxes(outputs))
        overlap = paired_iou(predicted, boxes, ops=tf)
        apart = (center - _centers(predicted)) ** 2 + (_sides(boxes) - _sides(predicted)) ** 2
        # The best IoU decides; if no box overlaps the object, the smallest distance.
        none = tf.reduce_max(overlap, axis=-1, keepdims=True) <= 0
        best = tf.argmax(tf.where(none, -tf.reduce_sum(apart, axis=-1), overlap), axis=-1)
        responsible = tf.one_hot(best, overlap.shape[-1], dtype=classes.dtype) * filled[..., tf.newaxis]

        error = (place - wanted_place) ** 2 + (root - wanted_root) ** 2
        no_object = section.no_object_weight * tf.cast(~kept[..., tf.newaxis], classes.dtype)
        each = tf.where(responsible > 0, tf.ones_like(responsible), no_object) * weight[..., tf.newaxis]
        return {
            "class_loss": tf.reduce_sum(tf.reduce_sum((classes - target) ** 2, axis=-1) * filled),
            "confidence_loss": tf.reduce_sum(each * (confidence - overlap * responsible) ** 2),
            "box_loss": section.box_weight * tf.reduce_sum(tf.reduce_sum(error, axis=-1) * responsible),
            IMAGES: tf.reduce_sum(weight),
        }

    def teacher_targets(self, teachers: Sequence[Any], section: Teacher) -> dict[str, tf.Tensor]:
        """`cells_0`, and so on: the output of each."""
        return {f"cells_{number}": to_float32(each[CELLS]) for number, each in enumerate(teachers)}

    def imitated(self, outputs: Any, targets: Mapping[str, tf.Tensor], section: Teacher) -> tf.Tensor:
        """Returns the squared differences from the teachers' outputs, weighted as in `totals`.

        A teacher's confidences say which boxes are responsible for an object. The scores, which other detectors
        imitate, have no gradient where an output is negative.
        """
        ours = self._parts(outputs)
        apart = [self._apart(ours, self._parts({CELLS: tf.stop_gradient(each)})) for each in targets.values()]
        return section.weight / len(apart) * tf.add_n(apart)

    def _apart(self, ours: Sequence[tf.Tensor], theirs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the weighted squared differences of `_parts`, [b]."""
        classes, confidence, place, root = ((own - other) ** 2 for own, other in zip(ours, theirs, strict=True))
        certain = tf.clip_by_value(theirs[1], 0.0, 1.0)
        weight = certain + self.section.no_object_weight * (1.0 - certain)
        boxes = self.section.box_weight * certain * tf.reduce_sum(place + root, axis=-1)
        cells = tf.reduce_max(certain, axis=-1) * tf.reduce_sum(classes, axis=-1)
        return tf.reduce_sum(cells + tf.reduce_sum(weight * confidence + boxes, axis=-1), axis=-1)

    def candidates(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """See `ObjectDetectionTask`. A score is the product of a box's confidence and its cell's class probability."""
        classes, confidence, _, _ = self._parts(outputs)
        # Both are linear: without limits, two negative values would give a positive score.
        classes, confidence = (tf.clip_by_value(each, 0.0, 1.0) for each in (classes, confidence))
        scores = confidence[..., tf.newaxis] * classes[:, :, tf.newaxis]
        count = classes.shape[1] * confidence.shape[2]
        boxes = tf.reshape(self._boxes(outputs), (-1, count, 4))
        return tf.cast(boxes, tf.float32), tf.cast(tf.reshape(scores, (-1, count, classes.shape[2])), tf.float32)

    def _parts(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns classes [b, n, C]; of each box, confidence [b, n, B], position in the cell and roots of the sides [b,
        n, B, 2]."""
        cells, number = to_float32(outputs[CELLS]), self.section.network.boxes
        classes, confidence, codes = tf.split(cells, [cells.shape[-1] - 5 * number, number, 4 * number], axis=-1)
        codes = tf.reshape(codes, (-1, cells.shape[1], number, 4))
        return classes, confidence, codes[..., :2], codes[..., 2:]

    def _boxes(self, outputs: Any) -> tf.Tensor:
        """Returns the predicted boxes, [b, n, B, 4], not clipped."""
        _, _, place, root = self._parts(outputs)
        corners, strides = (tf.cast(outputs[key], place.dtype)[:, :, tf.newaxis] for key in (CORNERS, STRIDES))
        centers, halves = corners + place * strides, root**2 * self._extent(outputs) / 2
        return tf.concat([centers - halves, centers + halves], axis=-1)

    def _extent(self, outputs: Any) -> tf.Tensor:
        """Returns the height and width of the grid in pixels, [2]."""
        dtype = to_float32(outputs[CELLS]).dtype
        return tf.reduce_max(tf.cast(outputs[CORNERS] + outputs[STRIDES], dtype), axis=(0, 1))


def _owners(
    corners: tf.Tensor, strides: tf.Tensor, objects: tf.Tensor, usable: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """See `cells.owners`. An object belongs to the cell that contains its center."""
    inside = containing(corners, strides, objects)
    return owners(tf.argmax(inside, axis=1), usable, inside.shape[1])


def _centers(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _sides(boxes: tf.Tensor) -> tf.Tensor:
    return boxes[..., 2:] - boxes[..., :2]
