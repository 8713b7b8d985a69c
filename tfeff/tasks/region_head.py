"""The head of a region-based detector: class and box of regions, trained together (Fast R-CNN, arXiv:1504.08083)."""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfeff.tasks.task import Batch, Task, precise

REGIONS, POSITIVES = "regions", "positives"
"""Counts: all regions of the batch, and those with an object."""


class RegionHead(Task):
    """Class and box of regions, from their features.

    The network returns logits [b, C + 1], background last, and box codes [b, 1, 4] for all classes. Batches:
    `features` [b, D]; `label` int32 [b], C for background; `code` float32 [b, 4], in the same scale as the network's;
    `positive` float32 [b], 1 for regions with an object, else 0.

    The losses are those of arXiv:1504.08083, section 2.3, except that the box loss is divided by the number of
    positives, not of all regions.
    """

    losses: ClassVar = {"class_loss": REGIONS, "box_loss": POSITIVES}
    metrics: ClassVar = {"accuracy": REGIONS}

    def forward(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """Logits and codes."""
        return network(precise(batch["features"]), training=training)

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Cross-entropy in nats, smooth L1 of the positives' codes; accuracy."""
        logits, codes = map(precise, outputs)
        label, positive = batch["label"], tf.cast(batch["positive"], codes.dtype)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)
        error = tf.abs(codes[:, 0] - tf.cast(batch["code"], codes.dtype))
        smooth_l1 = tf.reduce_sum(tf.where(error < 1.0, 0.5 * error * error, error - 0.5), axis=-1)
        correct = tf.equal(tf.argmax(logits, axis=-1, output_type=label.dtype), label)
        return {
            "class_loss": tf.reduce_sum(cross_entropy),
            "box_loss": tf.reduce_sum(smooth_l1 * positive),
            "accuracy": tf.reduce_sum(tf.cast(correct, logits.dtype)),
            REGIONS: tf.reduce_sum(tf.ones_like(cross_entropy)),
            POSITIVES: tf.reduce_sum(positive),
        }
