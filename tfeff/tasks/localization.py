"""Localization: class and box of the single object in an image, from one network with one loss."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, models
from tfeff.boxes import paired_iou, yxyx_from_relative
from tfeff.data.dataset import Dataset
from tfeff.data.input.box_transform import SingleObjectTransform
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.data.sources.annotations import single_objects
from tfeff.evaluation.localization import IOU_THRESHOLD
from tfeff.models.derived import BOX, LOGITS
from tfeff.tasks.classification import correct, cross_entropy, entropy
from tfeff.tasks.task import IMAGES, LOCALIZATION, Batch, ImageTask, to_float32


class LocalizationTask(ImageTask):
    """Class and box of one object.

    Networks come from `tfeff.models.localizer`; batches have a `box`, relative yxyx.
    """

    section: config.LocalizationSettings
    kind = LOCALIZATION
    losses: ClassVar = {"class_loss": IMAGES, "box_loss": IMAGES}
    metrics: ClassVar = {"accuracy": IMAGES, "iou": IMAGES, "localization_accuracy": IMAGES}

    def __init__(self, section: config.LocalizationSettings | None = None) -> None:
        super().__init__(section or config.LocalizationSettings())

    def dataset(self, split: Dataset) -> Dataset:
        """Returns the images with an object; see `single_objects`."""
        return single_objects(split)

    def network(self, description: models.Architecture, *, num_classes: int, channels: int) -> models.Network:
        """Returns a backbone with a classifier and a box regressor."""
        backbone = models.build(description, num_classes=num_classes, channels=channels, include_top=False)
        return models.localizer(
            backbone,
            num_classes=num_classes,
            dropout=description.dropout,
            grid=self.section.grid,
            hidden=self.section.hidden,
        )

    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        """See `SingleObjectTransform`."""
        return SingleObjectTransform(
            reader, size, seed=seed, augmentation=self.section.augmentation, plain_from=plain_from
        )

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns class loss, box loss, accuracy, mean IoU and localization accuracy.

        The losses are α × cross-entropy in nats and β × squared error of the box. A localization is correct if the
        class is and the IoU is at least IOU_THRESHOLD.
        """
        boxes = to_float32(outputs[BOX])
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
        """Returns `probabilities` [b, classes]; `box` [b, 4], relative yxyx."""
        return {
            "probabilities": tf.nn.softmax(tf.cast(outputs[LOGITS], tf.float32)),
            "box": tf.cast(outputs[BOX], tf.float32),
        }

    def placed(self, predictions: dict[str, tf.Tensor], sizes: tf.Tensor, covered: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `ImageTask`."""
        return predictions | {"box": in_pixels(predictions["box"], sizes)}

    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """Returns the first class and the whole image for every image."""
        return {
            "label": tf.one_hot(tf.zeros(batch_size, tf.int32), classes),
            "box": tf.tile([[0.0, 0.0, 1.0, 1.0]], (batch_size, 1)),
            "weight": tf.ones(batch_size),
        }

    def constant_loss(self, targets: Mapping[str, np.ndarray]) -> float:
        """Returns the loss of the mean box, the best constant box."""
        spread = np.sum(np.var(targets["box"], axis=0, dtype=np.float64))
        class_loss = entropy(targets["label"], self.section.label_smoothing)
        return float(self.section.class_weight * class_loss + self.section.box_weight * spread)


def in_pixels(box: Any, sizes: Any) -> tf.Tensor:
    """Returns relative boxes_yxyx, [b, 4], in pixels of images of these heights and widths, [b, 2]."""
    height, width = tf.unstack(tf.cast(sizes, tf.float32), axis=1)
    return yxyx_from_relative(box, (height, width), ops=tf)
