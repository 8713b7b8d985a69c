"""Detectors with two stages: regions are selected and, in training, sampled between the two parts of the network.

Sampling, losses and their normalization are those of torchvision. A batch with targets is sampled in the forward pass,
because the second stage reads the sampled regions.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfeff import config
from tfeff.boxes import FAST_RCNN_WEIGHTS, clip, decode, encode
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.models.derived import Stages
from tfeff.networks.detectors.rcnn import CODES, LOGITS
from tfeff.tasks.losses import smooth_l1_loss
from tfeff.tasks.matching import IGNORED, POSITIVE, match
from tfeff.tasks.object_detection import ObjectDetectionTask
from tfeff.tasks.sampling import noise, sample
from tfeff.tasks.task import Batch, to_float32

REGIONS = "regions"
"""The count of both losses of the second stage: all sampled regions, also those of the background."""
MINIMUM_DETECTION_SIDE = 1e-2
"""Detections with a shorter side, in pixels, are dropped."""
_REGION_STREAM = 1
CLASS_BOXES, CLASS_SCORES = "class_boxes", "class_scores"
PROPOSALS = "proposals"
SAMPLED_LOGITS, SAMPLED_CODES = "sampled_logits", "sampled_codes"
SAMPLED_LABEL, SAMPLED_TARGET, SAMPLED = "sampled_label", "sampled_target", "sampled"


class TwoStageTask(ObjectDetectionTask):
    """A two-stage detector.

    Its outputs for a batch with targets are those of the sampled regions and their targets. Except in training, they
    also include the regions, `proposals` [b, n, 4], and `class_boxes` [b, n, classes, 4] and `class_scores` [b, n,
    classes] of all regions.
    """

    section: config.TwoStageSettings
    losses: ClassVar = {"class_loss": REGIONS, "box_loss": REGIONS}

    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        """See `BoxTransform`."""
        return self.box_transform(reader, size, seed=seed, plain_from=plain_from, keyed=True)

    @abstractmethod
    def regions(
        self, network: keras.Model, batch: Batch, outputs: dict[str, Any], *, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the regions of each image.

        Args:
            network: the detector.
            batch: the images, and whatever else the regions come from.
            outputs: outputs of the first stage.
            training: whether the regions are for training.

        Returns:
            boxes_yxyx float [b, n, 4]; bool [b, n], False for padding.
        """

    def forward(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """See the class."""
        stages = Stages.of(network)
        outputs = dict(stages.images(batch["image"], training=training))
        maps = outputs.pop("maps")
        boxes, valid = self.regions(network, batch, outputs, training=training)
        boxes = tf.stop_gradient(boxes)
        if "boxes_yxyx" in batch:
            sampled, chosen = self._sampled(batch, boxes, valid)
            head = stages.regions([*maps, chosen], training=training)
            outputs |= sampled | {SAMPLED_LOGITS: head[LOGITS], SAMPLED_CODES: head[CODES]}
        if not training:
            head = stages.regions([*maps, boxes], training=False)
            outputs |= self._refined(head, boxes, valid, network.size) | {PROPOSALS: boxes}
        return outputs

    def _sampled(self, batch: Batch, boxes: tf.Tensor, valid: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Returns regions and objects, sampled; their classes, background last, and codes."""
        section = self.section
        objects = tf.cast(batch["boxes_yxyx"], boxes.dtype)
        ignored = batch["difficult"] | batch["crowd"]
        usable = batch["valid"] & ~ignored
        boxes, valid = tf.concat([boxes, objects], axis=1), tf.concat([valid, usable], axis=1)
        matched = match(
            boxes,
            objects,
            batch["valid"],
            ignored,
            positive_overlap=section.region_overlap,
            negative_overlap=section.region_overlap,
            forced="none",
            background_overlap=section.background_overlap,
        )
        kind = tf.where(valid, matched.kind, IGNORED)
        index, drawn = sample(
            kind,
            noise(batch["key"], _REGION_STREAM, boxes.shape[1]),
            count=section.sampled_regions,
            positive_share=section.positive_regions,
        )
        chosen = tf.gather(boxes, index, batch_dims=1)
        positive = drawn & (tf.gather(kind, index, batch_dims=1) == POSITIVE)
        owner = tf.gather(matched.object, index, batch_dims=1)
        labels = tf.gather(tf.cast(batch["label"], tf.int64), owner, batch_dims=1)
        labels = tf.where(positive, labels, tf.constant(-1, tf.int64))
        codes = encode(tf.gather(objects, owner, batch_dims=1), chosen, weights=FAST_RCNN_WEIGHTS, ops=keras.ops)
        codes = tf.where(positive[..., tf.newaxis], codes, 0.0)
        weight = tf.cast(drawn, boxes.dtype) * tf.cast(batch["weight"], boxes.dtype)[:, tf.newaxis]
        targets = {SAMPLED_LABEL: labels, SAMPLED_TARGET: codes, SAMPLED: weight}
        return {name: tf.stop_gradient(value) for name, value in targets.items()}, tf.stop_gradient(chosen)

    def _refined(
        self, head: dict[str, tf.Tensor], boxes: tf.Tensor, valid: tf.Tensor, size: tuple[int, int]
    ) -> dict[str, tf.Tensor]:
        """Returns a box and a score of each class for each region; those of padding and of empty boxes are 0."""
        scores = tf.nn.softmax(to_float32(head[LOGITS]))[..., :-1]
        codes = to_float32(head[CODES])
        codes = tf.reshape(codes, (-1, boxes.shape[1], scores.shape[-1], 4))
        regions = tf.cast(boxes, codes.dtype)[:, :, tf.newaxis]
        refined = clip(decode(codes, regions, weights=FAST_RCNN_WEIGHTS, ops=keras.ops), size, ops=keras.ops)
        wide = tf.reduce_all(refined[..., 2:] - refined[..., :2] >= MINIMUM_DETECTION_SIDE, axis=-1)
        return {CLASS_BOXES: refined, CLASS_SCORES: tf.where(wide & valid[..., tf.newaxis], scores, 0.0)}

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the cross-entropy of the sampled regions; smooth L1 loss of the codes of the positive ones."""
        logits, codes = to_float32(outputs[SAMPLED_LOGITS]), to_float32(outputs[SAMPLED_CODES])
        weight = tf.cast(outputs[SAMPLED], logits.dtype)
        labels, classes = outputs[SAMPLED_LABEL], logits.shape[-1] - 1
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.where(labels < 0, tf.constant(classes, tf.int64), labels), logits
        )
        codes = tf.reshape(codes, (-1, codes.shape[1], classes, 4))
        own = tf.gather(codes, tf.maximum(labels, 0), batch_dims=2)
        error = tf.where((labels >= 0)[..., tf.newaxis], own - tf.cast(outputs[SAMPLED_TARGET], codes.dtype), 0.0)
        box = tf.reduce_sum(smooth_l1_loss(error, beta=self.section.smooth_l1_beta), axis=-1)
        return {
            "class_loss": tf.reduce_sum(entropy * weight),
            "box_loss": tf.reduce_sum(box * weight),
            REGIONS: tf.reduce_sum(weight),
        }

    def first_stage_boxes(self, outputs: Any) -> tf.Tensor | None:
        """See `ObjectDetectionTask`."""
        return tf.cast(outputs[PROPOSALS], tf.float32)

    def candidates(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns a box of each class for each region, and their scores."""
        return tf.cast(outputs[CLASS_BOXES], tf.float32), tf.cast(outputs[CLASS_SCORES], tf.float32)

    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """See `ObjectDetectionTask`."""
        return {**super().dummy_targets(batch_size, classes), "key": tf.zeros((batch_size, 2), tf.int32)}
