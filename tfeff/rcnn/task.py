"""R-CNN as a task: the head on stored features of regions, and detections from its outputs."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.boxes import FAST_RCNN_WEIGHTS, decode
from tfeff.boxes.assignment import Regions
from tfeff.boxes.voting import voted
from tfeff.data.dataset import Dataset
from tfeff.data.input.batches import Batches
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.models.rcnn import Parts, build_rcnn
from tfeff.networks.detectors.rcnn import RCNN
from tfeff.rcnn.feature_extractor import FeatureExtractor
from tfeff.rcnn.regions import RegionSet
from tfeff.rcnn.training import RegionTraining
from tfeff.tasks.coverage import Coverage
from tfeff.tasks.losses import smooth_l1_loss
from tfeff.tasks.object_detection import ObjectDetectionTask
from tfeff.tasks.suppression import suppress
from tfeff.tasks.task import (
    DETECTION,
    FEATURES,
    PROPOSED,
    PROPOSED_VALID,
    Batch,
    ImageReading,
    Predictions,
    to_float32,
)

REGIONS, POSITIVES = "regions", "positives"
"""Counts: all regions of the batch, and those with an object."""
REGION_THRESHOLD = "region_threshold"
"""Validation metric: regions whose best score is lower are background."""
CALLED_BACKGROUND, BACKGROUND_RECALL = "called_background", "background_recall"
"""Validation metrics by the head's own decisions, without a threshold; see `background_rates`."""
REGION_SCORE, REGION_LABEL, REGION_BACKGROUND = "region_score", "region_label", "region_background"
"""Predictions of every region: the best score of a class, that class, and whether the head prefers background."""
BACKGROUND_OVERLAP = 0.5
"""In metrics, proposals with a smaller IoU with every object are background."""

REGIONS_DETECTION = replace(DETECTION, name="region_detection")


class RCNNTask(ObjectDetectionTask):
    """See `config.RCNNSettings`.

    Training batches are those of `RegionBatches`; evaluation reads `ImageBatches`. Exported models get images, and cut
    the regions out. The losses are those of arXiv:1504.08083, section 2.3, except that the box loss is divided by the
    number of positives, not of all regions; a fitted head is only validated by them.
    """

    kind = REGIONS_DETECTION
    section: config.RCNNSettings  # type: ignore[assignment]
    losses: ClassVar = {"class_loss": REGIONS, "box_loss": POSITIVES}
    metrics: ClassVar = {"accuracy": REGIONS}
    unwatched = (CALLED_BACKGROUND, BACKGROUND_RECALL)
    scores = (*ObjectDetectionTask.scores, REGION_THRESHOLD, *unwatched)
    tuned = (*ObjectDetectionTask.tuned, REGION_THRESHOLD)

    @property
    def reading(self) -> ImageReading:
        """Images keep their size."""
        return ImageReading("whole")

    @property
    def proposals(self) -> config.Proposals | config.Windows:
        """See `ImageTask`."""
        return self.section.windows if self.section.network.head == "sliding_window" else self.section.proposals

    @cached_property
    def stored(self) -> RegionTraining:
        """See `ImageTask`."""
        return RegionTraining(self.section, self.proposals)

    def dataset(self, split: Dataset) -> Dataset:
        """Requires an object that is neither difficult nor a crowd."""
        if all(objects.ignored.all() for objects in split.objects):
            raise UserError(f"{split.name}: its {len(split)} images have no objects")
        return split

    def check(self, resolution: int) -> None:
        """Requires room for the region within its context."""
        FeatureExtractor.check(resolution, self.section.features.context)

    def network(self, description: RCNN, *, num_classes: int, channels: int) -> Network:  # type: ignore[override]
        """See `models.rcnn`."""
        return build_rcnn(description, num_classes=num_classes, channels=channels)

    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        """Raises an error, because batches are those of `stored`."""
        raise UserError("task.name=rcnn: batches are read from a store of features, not from images")

    def forward(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """Returns the two outputs of the head for sampled regions; for the regions of images also the regions.

        Args:
            network: the network, or its head.
            batch: a batch with features, or with images of the same size and proposals.
            training: as for Keras.
        """
        head = Parts.of(network).head if isinstance(network, Network) else network
        if PROPOSED not in batch:
            return head(to_float32(batch[FEATURES]), training=training)
        boxes, valid = batch[PROPOSED], batch[PROPOSED_VALID]
        if FEATURES in batch:
            features, size = to_float32(batch[FEATURES]), batch["image_size"]
        else:
            size = tf.broadcast_to(tf.shape(batch["image"])[1:3], (tf.shape(boxes)[0], 2))
            extractor = FeatureExtractor(Parts.of(network).features, context=self.section.features.context)
            features = tf.map_fn(
                lambda each: extractor(*each),
                (batch["image"], boxes),
                fn_output_signature=tf.TensorSpec((None, extractor.size), tf.float32),
            )
        outputs = head(tf.reshape(features, (-1, features.shape[-1])), training=training)
        shape = tf.shape(boxes)[:2]
        return [tf.reshape(each, (*tf.unstack(shape), *each.shape[1:])) for each in outputs] + [boxes, valid, size]

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the cross-entropy in nats, smooth L1 of the positives' codes; accuracy."""
        first, codes = to_float32(outputs[0]), to_float32(outputs[1])
        label, positive = batch["label"], tf.cast(batch["positive"], codes.dtype)
        if self.section.network.head == "joint":
            cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(label, first)
            correct = tf.equal(tf.argmax(first, axis=-1, output_type=label.dtype), label)
        else:  # scores of the classes, 0.5 is the decision boundary
            wanted = tf.one_hot(label, first.shape[-1], dtype=first.dtype)
            cross_entropy = tf.reduce_sum(keras.ops.binary_crossentropy(wanted, first), axis=-1)
            codes *= FAST_RCNN_WEIGHTS
            best = tf.argmax(first, axis=-1, output_type=label.dtype)
            correct = tf.equal(tf.where(self._prefers_background(first), first.shape[-1], best), label)
        if codes.shape[1] == 1:
            own = codes[:, 0]
        else:
            own = tf.gather(codes, tf.minimum(label, codes.shape[1] - 1), batch_dims=1)
        error = own - tf.cast(batch["code"], codes.dtype)
        smooth_l1 = tf.reduce_sum(smooth_l1_loss(error, beta=1.0), axis=-1)
        return {
            "class_loss": tf.reduce_sum(cross_entropy),
            "box_loss": tf.reduce_sum(smooth_l1 * positive),
            "accuracy": tf.reduce_sum(tf.cast(correct, first.dtype)),
            REGIONS: tf.reduce_sum(tf.ones_like(cross_entropy)),
            POSITIVES: tf.reduce_sum(positive),
        }

    def candidates(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """See `ObjectDetectionTask`; a box for all classes, or for each."""
        _, codes, regions, valid, size = outputs
        codes = tf.cast(codes, tf.float32)
        if self.section.network.head == "joint":
            codes /= np.array(FAST_RCNN_WEIGHTS, np.float32)
        boxes = decode(codes, regions[:, :, tf.newaxis], ops=keras.ops)
        limit = tf.tile(tf.cast(size, tf.float32), (1, 2))[:, tf.newaxis, tf.newaxis]
        boxes = tf.clip_by_value(boxes, 0.0, limit)
        boxes = tf.squeeze(boxes, 2) if boxes.shape[2] == 1 else boxes
        return boxes, tf.where(valid[..., tf.newaxis], self._class_scores(outputs), 0.0)

    def _class_scores(self, outputs: Any) -> tf.Tensor:
        """Returns the class scores of every region, float32 [b, n, C]."""
        scores = tf.cast(outputs[0], tf.float32)
        return tf.nn.softmax(scores)[..., :-1] if self.section.network.head == "joint" else scores

    def _prefers_background(self, first: tf.Tensor) -> tf.Tensor:
        """Returns whether the head classifies regions as background, bool [...].

        A joint head does so if background has the highest score, the others if no class has a score of at least 0.5.

        Args:
            first: its first output, [..., C + 1] of a joint head, otherwise [..., C].
        """
        if self.section.network.head == "joint":
            return tf.equal(tf.argmax(first, axis=-1), first.shape[-1] - 1)
        return tf.reduce_max(first, axis=-1) < 0.5

    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns detections, see `suppress`; and the score, class and background of every region."""
        boxes, scores = self.candidates(outputs)
        found = suppress(boxes, scores, self.section.suppression)
        overlap = self.section.vote_overlap
        if overlap is not None:
            found["boxes"] = tf.map_fn(
                lambda each: self._voted(overlap, *each),
                (found["boxes"], found["labels"], found["count"], boxes, scores),
                fn_output_signature=tf.TensorSpec(found["boxes"].shape[1:], tf.float32),
            )
        every = self._class_scores(outputs)
        label = tf.argmax(every, axis=-1, output_type=tf.int32)
        return found | {
            REGION_SCORE: tf.reduce_max(every, axis=-1),
            REGION_LABEL: label,
            REGION_BACKGROUND: self._prefers_background(tf.cast(outputs[0], tf.float32)),
        }

    def _voted(
        self, overlap: float, kept: tf.Tensor, labels: tf.Tensor, count: tf.Tensor, boxes: tf.Tensor, scores: tf.Tensor
    ) -> tf.Tensor:
        """Returns the detections of one image, float32 [d, 4], after box voting."""
        used = tf.where(scores > self.section.suppression.minimum_score)
        near = tf.gather_nd(boxes, used) if boxes.shape.rank == 3 else tf.gather(boxes, used[:, 0])
        candidates = near, tf.cast(used[:, 1], tf.int32), tf.gather_nd(scores, used)
        result = voted(kept, labels, *candidates, overlap, ops=keras.ops)
        return tf.where((tf.range(tf.shape(kept)[0]) < count)[:, tf.newaxis], result, kept)

    def served(self, predictions: dict[str, tf.Tensor], names: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `ObjectDetectionTask`; without the regions."""
        regions = REGION_SCORE, REGION_LABEL, REGION_BACKGROUND
        shown = {name: value for name, value in predictions.items() if name not in regions}
        return super().served(shown, names)

    def geometry(self, description: Any, size: tuple[int, int]) -> dict[str, tf.Tensor]:
        """Returns nothing, because regions come with the images."""
        return {}

    def coverage(self, batch: Batch, geometry: Mapping[str, tf.Tensor]) -> Coverage:
        """Raises an error, because training batches hold regions, not images."""
        raise UserError("task.name=rcnn: the coverage of objects is the recall of the proposals in its evaluation")

    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """Raises UserError: batches are read from a store."""
        raise UserError("task.name=rcnn: steps cannot be timed")

    def score(self, predictions: Predictions, pipeline: Batches) -> dict[str, float]:
        """See `ImageTask`."""
        scores, _, background, targets = classified_regions(predictions, pipeline)
        threshold = region_threshold(scores[targets.is_object], self.section.missed)
        rates = background_rates(background, targets)
        return {**super().score(predictions, pipeline), REGION_THRESHOLD: threshold, **rates}


def region_threshold(scores: np.ndarray, missed: float) -> float:
    """Returns the highest region threshold below which at most a fraction `missed` of the objects' scores [n] are."""
    return float(np.quantile(scores, missed, method="lower"))


def classified_regions(predictions: Predictions, pipeline: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, Regions]:
    """Returns the score, the class and the background of every region, without padding; and what they should be."""
    regions: RegionSet = pipeline.regions
    valid = np.arange(predictions[REGION_SCORE].shape[1]) < regions.counts[:, None]
    scores, labels, background = (predictions[name][valid] for name in (REGION_SCORE, REGION_LABEL, REGION_BACKGROUND))
    return scores, labels, background, regions.targets


def background_rates(background: np.ndarray, targets: Regions) -> dict[str, float]:
    """Returns how often regions are classified as background; NaN if there are no such regions.

    Args:
        background: bool [n], whether each region is classified as background.

    Returns:
        `called_background`: share of objects whose own box is classified as background; `background_recall`: share of
        background proposals that are.
    """
    proposals = (targets.overlap < BACKGROUND_OVERLAP) & ~targets.covered & ~targets.is_object
    return {
        name: float(background[chosen].mean()) if chosen.any() else math.nan
        for name, chosen in ((CALLED_BACKGROUND, targets.is_object), (BACKGROUND_RECALL, proposals))
    }
