"""Localization: class and box of the single object in an image, from one network with one loss."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfeff import evaluation
from tfeff.boxes import paired_iou, yxyx_from_relative
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.evaluation.localization import IOU_THRESHOLD
from tfeff.models.heads.localizer import BOX, LOGITS
from tfeff.reporting.classification import classification_figures
from tfeff.reporting.detection_gallery import detection_gallery_figure
from tfeff.reporting.detections import DetectedImage
from tfeff.reporting.localization import iou_figure, per_class_rows, summary_rows
from tfeff.tasks.classification import correct, cross_entropy, pixels
from tfeff.tasks.task import IMAGES, Batch, Evaluation, ImageTask, precise, predict

GALLERY = 9
"""Images in each gallery of best and worst boxes."""


class Localization(ImageTask):
    """Class and box of one object. Networks come from `tfeff.models.heads.localizer`; batches have a `box`, relative
    yxyx.

    Args:
        class_weight: α of the loss α × cross-entropy + β × squared error.
        box_weight: β; the squared error is summed over the four coordinates.
        label_smoothing: fraction of the label spread over all classes in training.
    """

    losses: ClassVar = {"class_loss": IMAGES, "box_loss": IMAGES}
    metrics: ClassVar = {"accuracy": IMAGES, "iou": IMAGES, "localization_accuracy": IMAGES}

    def __init__(self, class_weight: float, box_weight: float, label_smoothing: float = 0.0) -> None:
        self.class_weight = class_weight
        self.box_weight = box_weight
        self.label_smoothing = label_smoothing

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """α × cross-entropy in nats; β × squared error of the box; accuracy; IoU; localization accuracy: correct class
        and IoU of at least IOU_THRESHOLD."""
        boxes = precise(outputs[BOX])
        weight, truth = tf.cast(batch["weight"], boxes.dtype), tf.cast(batch["box"], boxes.dtype)
        class_loss = cross_entropy(batch["label"], outputs[LOGITS], self.label_smoothing if training else 0.0)
        right, overlap = correct(batch["label"], outputs[LOGITS]), paired_iou(boxes, truth, ops=keras.ops)
        each = {
            "class_loss": self.class_weight * class_loss,
            "box_loss": self.box_weight * tf.reduce_sum(tf.square(boxes - truth), axis=-1),
            "accuracy": right,
            "iou": overlap,
            "localization_accuracy": right * tf.cast(overlap >= IOU_THRESHOLD, right.dtype),
        }
        totals = {name: tf.reduce_sum(values * weight) for name, values in each.items()}
        return totals | {IMAGES: tf.reduce_sum(weight)}

    @staticmethod
    def decode(outputs: Any) -> dict[str, tf.Tensor]:
        """`probabilities` [b, classes]; `box` [b, 4], relative yxyx."""
        return {
            "probabilities": tf.nn.softmax(tf.cast(outputs[LOGITS], tf.float32)),
            "box": tf.cast(outputs[BOX], tf.float32),
        }

    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """The first class and the whole image for every image."""
        return {
            "label": tf.one_hot(tf.zeros(batch_size, tf.int32), classes),
            "box": tf.tile([[0.0, 0.0, 1.0, 1.0]], (batch_size, 1)),
            "weight": tf.ones(batch_size),
        }

    def evaluate(self, network: keras.Model, pipeline: Batches) -> Evaluation:
        """Computes a `LocalizationReport`, with figures of classes, IoU, best and worst boxes."""
        images, names = pipeline.images, pipeline.images.dataset.class_names
        predictions = predict(network, pipeline, self.decode)
        probabilities, boxes = predictions["probabilities"], predictions["box"]
        labels, objects = images.dataset.labels, pipeline.transform.reader.relative_boxes
        report = evaluation.localization_report(labels, probabilities, objects, boxes, names).to_json()
        figures: dict[str, Figure] = classification_figures(report)
        figures["overlaps"] = iou_figure(report["iou_counts"], report["mean_iou"], IOU_THRESHOLD)
        overlap = paired_iou(boxes, objects)
        order = np.argsort(overlap, kind="stable")
        for name, chosen in (("worst_boxes", order[:GALLERY]), ("best_boxes", order[::-1][:GALLERY])):
            figures[name] = detection_gallery_figure(
                drawings(images, objects, chosen, probabilities[chosen], boxes[chosen]),
                [f"{names[labels[index]]}, IoU {overlap[index]:.2f}" for index in chosen],
                title=name.replace("_", " ").capitalize(),
            )
        return Evaluation(report, figures)

    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Metrics over all images, and per class."""
        return summary_rows(report), per_class_rows(report)

    def scalars(self, report: Mapping[str, Any]) -> dict[str, float]:
        """Accuracy, mean IoU, localization accuracy."""
        return {
            "accuracy": report["top1"],
            "iou": report["mean_iou"],
            "localization_accuracy": report["localization_accuracy"],
        }

    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Accuracy, mean IoU and localization accuracy, with their intervals."""
        return {
            "accuracy": report["top1"],
            "accuracy_interval": report["top1_interval"],
            "iou": report["mean_iou"],
            "iou_interval": report["mean_iou_interval"],
            "localization_accuracy": report["localization_accuracy"],
            "localization_accuracy_interval": report["localization_accuracy_interval"],
        }


def drawings(
    images: ImageCache,
    objects_rel_yxyx: np.ndarray,
    positions: np.ndarray,
    probabilities: np.ndarray,
    boxes_rel_yxyx: np.ndarray,
) -> list[DetectedImage]:
    """Images with their predicted box and class and the ground-truth box, for a gallery.

    Args:
        images: n images of one size.
        objects_rel_yxyx: ground-truth boxes, float [n, 4].
        positions: indices of the images to show, int [m].
        probabilities: predicted probabilities, float [m, classes].
        boxes_rel_yxyx: predicted boxes, float [m, 4].
    """
    names = images.dataset.class_names
    assert images.image_size is not None
    predicted = yxyx_from_relative(boxes_rel_yxyx, images.image_size)
    truth = yxyx_from_relative(objects_rel_yxyx[positions], images.image_size)
    return [
        DetectedImage(image, box[None], [names[row.argmax()]], row.max(keepdims=True), true_box[None])
        for image, box, row, true_box in zip(pixels(images, positions), predicted, probabilities, truth, strict=True)
    ]
