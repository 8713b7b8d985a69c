"""Faster R-CNN: regions come from a network that shares the backbone, and is trained with it (arXiv:1506.01497).

Both stages are trained jointly; regions have no gradient ("approximate joint training", section 3.2).
"""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfeff import config
from tfeff.boxes import encode
from tfeff.boxes.anchors import cells
from tfeff.networks.heads import OBJECTNESS, PROPOSAL_CODES
from tfeff.tasks.losses import smooth_l1_loss
from tfeff.tasks.matching import ANCHORS, POSITIVE, AnchorMatching
from tfeff.tasks.region_proposals import propose
from tfeff.tasks.sampling import noise, sample
from tfeff.tasks.task import Batch, to_float32
from tfeff.tasks.two_stage import TwoStageTask

SAMPLES = "sampled_anchors"
"""The count of both losses of the first stage: all sampled anchors, also those of the background."""
_ANCHOR_STREAM = 0


class FasterRCNNTask(AnchorMatching, TwoStageTask):
    """See `config.FasterRCNNSettings`. Further outputs: those of the first stage, and `anchors`, float32 [1, n, 4]."""

    section: config.FasterRCNNSettings
    FORCED = "ties"
    losses: ClassVar = {"objectness_loss": SAMPLES, "proposal_loss": SAMPLES, **TwoStageTask.losses}

    def __init__(self, section: config.FasterRCNNSettings | None = None) -> None:
        super().__init__(section or config.FasterRCNNSettings())

    def regions(
        self, network: keras.Model, batch: Batch, outputs: dict[str, Any], *, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the proposals; adds the anchors to the outputs."""
        section, anchors = self.section, network.description.anchors
        boxes = tf.constant(anchors.boxes(network.size), to_float32(outputs[PROPOSAL_CODES]).dtype)
        outputs[ANCHORS] = boxes[tf.newaxis]
        counts = [len(cells(level, network.size)[0]) * anchors.per_position for level in anchors.levels]
        return propose(
            to_float32(outputs[OBJECTNESS])[..., 0],
            to_float32(outputs[PROPOSAL_CODES]),
            boxes,
            counts,
            network.size,
            per_level=section.training_proposals_per_level if training else section.proposals_per_level,
            total=section.training_proposals if training else network.description.regions,
            overlap=section.proposal_overlap,
        )

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the losses of `TwoStageTask` and those of the region proposal network.

        Binary cross-entropy of the sampled anchors; smooth L1 loss of the codes of the positive ones.
        """
        section = self.section
        logits, codes = to_float32(outputs[OBJECTNESS])[..., 0], to_float32(outputs[PROPOSAL_CODES])
        anchors, objects = tf.cast(outputs[ANCHORS][0], codes.dtype), tf.cast(batch["boxes_yxyx"], codes.dtype)
        matched = self.matched(anchors, objects, batch)
        index, drawn = sample(
            matched.kind,
            noise(batch["key"], _ANCHOR_STREAM, anchors.shape[0]),
            count=section.sampled_anchors,
            positive_share=section.positive_anchors,
        )
        weight = tf.cast(drawn, codes.dtype) * tf.cast(batch["weight"], codes.dtype)[:, tf.newaxis]
        positive = drawn & (tf.gather(matched.kind, index, batch_dims=1) == POSITIVE)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(
            tf.cast(positive, logits.dtype), tf.gather(logits, index, batch_dims=1)
        )
        owner = tf.gather(matched.object, index, batch_dims=1)
        targets = encode(tf.gather(objects, owner, batch_dims=1), tf.gather(anchors, index), ops=keras.ops)
        error = tf.where(positive[..., tf.newaxis], tf.gather(codes, index, batch_dims=1) - targets, 0.0)
        box = tf.reduce_sum(smooth_l1_loss(error, beta=section.smooth_l1_beta), axis=-1)
        return super().totals(batch, outputs, training=training) | {
            "objectness_loss": tf.reduce_sum(entropy * weight),
            "proposal_loss": tf.reduce_sum(box * weight),
            SAMPLES: tf.reduce_sum(weight),
        }
