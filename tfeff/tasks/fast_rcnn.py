"""Fast R-CNN: regions are proposals that come with the image (arXiv:1504.08083)."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfeff import config
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.tasks.coverage import Coverage, best_overlap, sizes
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID, Batch
from tfeff.tasks.two_stage import TwoStageTask


class FastRCNNTask(TwoStageTask):
    """See `config.FastRCNNSettings`."""

    section: config.FastRCNNSettings

    def __init__(self, section: config.FastRCNNSettings | None = None) -> None:
        super().__init__(section or config.FastRCNNSettings())

    @property
    def proposals(self) -> config.SharedProposals:
        """See `ImageTask`."""
        return self.section.proposals

    def check(self, resolution: int) -> None:
        """Requires a directory for the proposals."""
        _ = self.proposals.store

    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        """See `BoxTransform`."""
        number = self.proposals.max_proposals
        return self.box_transform(reader, size, seed=seed, plain_from=plain_from, keyed=True, max_extra_boxes=number)

    def regions(
        self, network: keras.Model, batch: Batch, outputs: dict[str, Any], *, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the proposals of the batch."""
        return batch[PROPOSED], batch[PROPOSED_VALID]

    def geometry(self, description: Any, size: tuple[int, int]) -> dict[str, tf.Tensor]:
        """Returns nothing, because regions come with the images."""
        return {}

    def coverage(self, batch: Batch, geometry: Mapping[str, tf.Tensor]) -> Coverage:
        """Measures coverage by the proposals that overlap enough; in training, the objects are regions, too."""
        proposals, objects = batch[PROPOSED], batch["boxes_yxyx"]
        overlap = best_overlap(proposals, objects)
        learned = batch["valid"] & (overlap >= self.section.region_overlap)
        real = tf.boolean_mask(proposals, batch[PROPOSED_VALID])
        return Coverage(learned, overlap, sizes((real[:, 2:] - real[:, :2])[tf.newaxis]))

    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """See `ObjectDetectionTask`; regions of 32 x 32 pixels."""
        shape = batch_size, self.proposals.max_proposals
        boxes = tf.broadcast_to(tf.constant([16.0, 16.0, 48.0, 48.0]), (*shape, 4))
        return {**super().dummy_targets(batch_size, classes), PROPOSED: boxes, PROPOSED_VALID: tf.ones(shape, tf.bool)}
