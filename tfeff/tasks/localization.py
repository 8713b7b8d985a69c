"""Localization: class and box of the single object in an image, from one network with one loss."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfeff import config, evaluation, models
from tfeff.boxes import paired_iou, yxyx_from_relative
from tfeff.data.dataset import Dataset
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.reader import Reader
from tfeff.data.input.single_object_transform import SingleObjectTransform
from tfeff.data.input.transform import Transform
from tfeff.data.sources.single_objects import single_objects
from tfeff.evaluation.localization import IOU_THRESHOLD
from tfeff.models.heads.classifier import CLASSIFIER
from tfeff.models.heads.localizer import BOX, LOGITS
from tfeff.reporting.classification import classification_figures
from tfeff.reporting.detection_gallery import detection_gallery_figure
from tfeff.reporting.detections import DetectedImage
from tfeff.reporting.localization import iou_figure, per_class_rows, summary_rows
from tfeff.tasks.classification import correct, cross_entropy, entropy, pixels
from tfeff.tasks.task import IMAGES, Batch, Evaluation, ImageTask, Predictions, precise

GALLERY = 9
"""Images in each gallery of best and worst boxes."""


class Localization(ImageTask):
    """Class and box of one object. Networks come from `tfeff.models.heads.localizer`; batches have a `box`, relative
    yxyx."""

    section: config.Localization
    annotations = "objects"
    boxes: ClassVar = {"box": "yxyx, relative to the image"}
    losses: ClassVar = {"class_loss": IMAGES, "box_loss": IMAGES}
    metrics: ClassVar = {"accuracy": IMAGES, "iou": IMAGES, "localization_accuracy": IMAGES}

    def __init__(self, section: config.Localization | None = None) -> None:
        super().__init__(section or config.Localization())

    def dataset(self, split: Dataset) -> Dataset:
        """The images with an object; see `single_objects`."""
        return single_objects(split)

    def network(self, name: str, *, num_classes: int, channels: int, **options: Any) -> keras.Model:
        """A backbone with a classifier and a box regressor."""
        backbone = models.build(name, num_classes=num_classes, channels=channels, include_top=False, **options)
        return models.localizer(
            backbone,
            num_classes=num_classes,
            dropout=models.architecture(name, **options).dropout,
            grid=self.section.grid,
            hidden=self.section.hidden,
        )

    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        """See `SingleObjectTransform`."""
        return SingleObjectTransform(
            reader, size, seed=seed, augmentation=self.section.augmentation, plain_from=plain_from
        )

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """α × cross-entropy in nats; β × squared error of the box; accuracy; IoU; localization accuracy: correct class
        and IoU of at least IOU_THRESHOLD."""
        boxes = precise(outputs[BOX])
        weight, truth = tf.cast(batch["weight"], boxes.dtype), tf.cast(batch["box"], boxes.dtype)
        class_loss = cross_entropy(batch["label"], outputs[LOGITS], self.section.label_smoothing if training else 0.0)
        right, overlap = correct(batch["label"], outputs[LOGITS]), paired_iou(boxes, truth, ops=keras.ops)
        each = {
            "class_loss": self.section.class_weight * class_loss,
            "box_loss": self.section.box_weight * tf.reduce_sum(tf.square(boxes - truth), axis=-1),
            "accuracy": right,
            "iou": overlap,
            "localization_accuracy": right * tf.cast(overlap >= IOU_THRESHOLD, right.dtype),
        }
        totals = {name: tf.reduce_sum(values * weight) for name, values in each.items()}
        return totals | {IMAGES: tf.reduce_sum(weight)}

    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """`probabilities` [b, classes]; `box` [b, 4], relative yxyx."""
        return {
            "probabilities": tf.nn.softmax(tf.cast(outputs[LOGITS], tf.float32)),
            "box": tf.cast(outputs[BOX], tf.float32),
        }

    def served(
        self, predictions: dict[str, tf.Tensor], names: tf.Tensor, sizes: tf.Tensor, covered: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """With the box in pixels of the original image."""
        height, width = tf.unstack(tf.cast(sizes, tf.float32), axis=1)
        box = yxyx_from_relative(predictions["box"], (height, width), ops=tf)
        return super().served(predictions, names, sizes, covered) | {"box": box}

    def logits(self, network: keras.Model) -> keras.layers.Layer:
        """The classifier."""
        return network.get_layer(CLASSIFIER)

    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """The first class and the whole image for every image."""
        return {
            "label": tf.one_hot(tf.zeros(batch_size, tf.int32), classes),
            "box": tf.tile([[0.0, 0.0, 1.0, 1.0]], (batch_size, 1)),
            "weight": tf.ones(batch_size),
        }

    def constant_loss(self, targets: Mapping[str, np.ndarray]) -> float:
        """The best constant box is the mean box."""
        spread = np.sum(np.var(targets["box"], axis=0, dtype=np.float64))
        class_loss = entropy(targets["label"], self.section.label_smoothing)
        return float(self.section.class_weight * class_loss + self.section.box_weight * spread)

    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        """Computes a `LocalizationReport`, with figures of classes, IoU, best and worst boxes."""
        images, names = pipeline.images, pipeline.images.dataset.class_names
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
