"""EfficientDet and RetinaNet: anchors, focal loss for classes and Huber loss for boxes (Lin et al., arXiv:1708.02002;
Tan et al., arXiv:1911.09070).

Matching, losses and their normalization are those of EfficientDet's reference implementation (google/automl
`efficientdet/`); RetinaNet's settings make them those of Detectron2, with another normalization.
"""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfeff import config
from tfeff.boxes import clip, decode, encode
from tfeff.networks.detectors.efficientdet import CODES, LOGITS
from tfeff.tasks.losses import focal_loss, huber_loss
from tfeff.tasks.matching import ANCHORS, IGNORED, POSITIVE, AnchorMatching
from tfeff.tasks.object_detection import DenseDetectionTask
from tfeff.tasks.suppression import suppress
from tfeff.tasks.task import Batch, to_float32

POSITIVES = "positives"
"""The count of both losses: all positive anchors."""
SIZE = "size"
"""The output with the size of the input, of RetinaNet."""


class EfficientDetTask(AnchorMatching, DenseDetectionTask):
    """See `config.EfficientDetSettings`. Outputs: those of the network, and `anchors`, float32 [1, n, 4]."""

    section: config.FocalSettings
    losses: ClassVar = {"class_loss": POSITIVES, "box_loss": POSITIVES}
    added: ClassVar = {POSITIVES: 1.0}

    def __init__(self, section: config.FocalSettings | None = None) -> None:
        super().__init__(section or config.EfficientDetSettings())

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the focal loss of classes and the Huber loss of boxes.

        The focal loss is summed over all classes of all anchors that are not ignored. The Huber loss of a positive
        anchor is the mean over the four numbers of its code.
        """
        section = self.section
        logits, codes = to_float32(outputs[LOGITS]), to_float32(outputs[CODES])
        anchors = tf.cast(outputs[ANCHORS], codes.dtype)
        boxes = tf.cast(batch["boxes_yxyx"], codes.dtype)
        matched = self.matched(anchors[0], boxes, batch)
        weight = tf.cast(batch["weight"], codes.dtype)[:, tf.newaxis]
        positive = tf.cast(matched.kind == POSITIVE, codes.dtype) * weight
        used = tf.cast(matched.kind != IGNORED, codes.dtype) * weight

        labels = tf.gather(batch["label"], matched.object, batch_dims=1)
        targets = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype) * positive[..., tf.newaxis]
        focal = focal_loss(targets, logits, alpha=section.focal_alpha, gamma=section.focal_gamma)
        errors = codes - encode(tf.gather(boxes, matched.object, batch_dims=1), anchors, ops=keras.ops)
        # Padding would give infinite errors, and infinity times zero is not a number.
        errors = tf.where(positive[..., tf.newaxis] > 0, errors, 0.0)
        huber = tf.reduce_mean(huber_loss(errors, delta=section.huber_delta), axis=-1)
        return {
            "class_loss": tf.reduce_sum(tf.reduce_sum(focal, axis=-1) * used),
            "box_loss": section.box_weight * tf.reduce_sum(huber * positive),
            POSITIVES: tf.reduce_sum(positive),
        }

    def candidates(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """See `ObjectDetectionTask`."""
        codes = tf.cast(outputs[CODES], tf.float32)
        return decode(codes, outputs[ANCHORS], ops=keras.ops), tf.sigmoid(tf.cast(outputs[LOGITS], tf.float32))


class RetinaNetTask(EfficientDetTask):
    """See `config.RetinaNetSettings`. Outputs: also the size of the input in pixels, `size`, float32 [1, 2].

    As in torchvision and Detectron2, boxes are clipped before they suppress others; here to the input, of which images
    may leave a part empty.
    """

    FORCED = "ties"

    def __init__(self, section: config.RetinaNetSettings | None = None) -> None:
        super().__init__(section or config.RetinaNetSettings())

    def geometry(self, description: Any, size: tuple[int, int]) -> dict[str, tf.Tensor]:
        """Returns `anchors` and `size`."""
        return super().geometry(description, size) | {SIZE: tf.constant([size], tf.float32)}

    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """See `ObjectDetectionTask`."""
        boxes, scores = self.candidates(outputs)
        height, width = tf.unstack(outputs[SIZE][0])
        return suppress(clip(boxes, (height, width), ops=keras.ops), scores, self.section.suppression)
