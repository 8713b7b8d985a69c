"""A task that the package does not have: each class against the rest, with one sigmoid per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf

from tfeff import models
from tfeff.config import Augmentation
from tfeff.config.tasks import TaskSettings
from tfeff.data.input.batches import Batches
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.reports import Evaluation, Evaluator
from tfeff.tasks import Batch, ImageTask
from tfeff.tasks.task import IMAGES, PredictionKind, Predictions

POSITIVES = "positives"


@dataclass(frozen=True, kw_only=True)
class Section(TaskSettings):
    """The config section."""

    IMPLEMENTATION = f"{__name__}:OneVsRest"

    name: Literal["one_vs_rest"] = "one_vs_rest"
    hidden: int = 16
    negative_weight: float = 1.0


class OneVsRest(ImageTask):
    """Binary cross-entropy for each class; that of the negatives is weighted, and divided by the positives."""

    section: Section
    kind = PredictionKind("one_vs_rest", "labels")
    losses: ClassVar = {"positive_loss": POSITIVES, "negative_loss": POSITIVES}
    metrics: ClassVar = {"exact": IMAGES}

    def network(self, description: models.Architecture, *, num_classes: int, channels: int) -> models.Network:
        backbone = models.build(description, num_classes=num_classes, channels=channels, include_top=False)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.outputs[0])
        x = keras.layers.Dense(self.section.hidden, activation="relu", name="hidden")(x)
        scores = keras.layers.Dense(num_classes, name="scores", dtype="float32")(x)
        network = models.Network(backbone.inputs[0], scores)
        network.levels = dict(backbone.levels)
        return network

    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        return ImageTransform(reader, size, seed=seed, augmentation=Augmentation(shift=0.05), plain_from=plain_from)

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        labels, weight = batch["label"], batch["weight"]
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, outputs) * weight[:, None]
        exact = tf.reduce_all(tf.equal(outputs > 0, labels > 0.5), axis=1)
        return {
            "positive_loss": tf.reduce_sum(losses * labels),
            "negative_loss": self.section.negative_weight * tf.reduce_sum(losses * (1 - labels)),
            "exact": tf.reduce_sum(tf.cast(exact, tf.float32) * weight),
            POSITIVES: tf.reduce_sum(labels * weight[:, None]),
            IMAGES: tf.reduce_sum(weight),
        }

    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.sigmoid(outputs)}

    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        return {"label": tf.one_hot(tf.zeros(batch_size, tf.int32), classes), "weight": tf.ones(batch_size)}


class OneVsRestEvaluator(Evaluator):
    """The share of images whose most probable class is right."""

    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        probabilities = predictions["probabilities"]
        labels = pipeline.images.dataset.labels
        return Evaluation({"accuracy": float(np.mean(probabilities.argmax(axis=1) == labels))}, {})

    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        return [[{"accuracy": report["accuracy"]}]]

    def scalars(self, report: Mapping[str, Any]) -> dict[str, float]:
        return {"accuracy": report["accuracy"]}

    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        return {"accuracy": report["accuracy"]}
