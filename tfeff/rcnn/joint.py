"""Trains the joint head on cached features: classification and box regression together, with SGD."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.boxes.assignment import Regions
from tfeff.boxes.coding import FAST_RCNN_WEIGHTS
from tfeff.errors import UserError
from tfeff.models.heads import region
from tfeff.rcnn.sampling import Sampler
from tfeff.training.stopping import EarlyStopping

FEATURE_NORM = 6.0
"""Mean norm to which features are scaled. Larger norms make box regression unstable at common learning rates."""
MAX_VALIDATION_BATCHES = 50
"""The same batches validate every epoch."""


@dataclass(frozen=True, eq=False)
class Examples:
    """n regions.

    Attributes:
        features: float [n, D]; may be memory-mapped.
        targets: what the head is trained to predict.
    """

    features: np.ndarray
    targets: Regions


Row = dict[str, Any]


class JointTraining:
    """One training of the joint head.

    Args:
        settings: of the head.
        classes: C.
        train: the training regions.
        validation: the validation regions, for early stopping.
        moments: mean and standard deviation of the training features, float [D] each.
        seed: of weights and batches.

    Attributes:
        head: the model; after `run`, with the best weights.

    Raises:
        UserError: no region overlaps an object enough.
    """

    def __init__(
        self,
        settings: config.Joint,
        classes: int,
        train: Examples,
        validation: Examples,
        moments: tuple[np.ndarray, np.ndarray],
        seed: int,
    ) -> None:
        self._settings, self._classes = settings, classes
        self._train, self._validation = train, validation
        self._train_sampler, self._validation_sampler = (
            self._sampler(each.targets, seed) for each in (train, validation)
        )
        for sampler, name in ((self._train_sampler, "training"), (self._validation_sampler, "validation")):
            if not len(sampler.positive):
                raise UserError(
                    f"no region of the {name} images overlaps an object by more than {settings.positive_overlap}; "
                    "lower joint.positive_overlap, or raise proposals.max_proposals"
                )
        mean, std = moments
        self.head = region.joint(
            mean,
            std * np.sqrt(len(std)) / FEATURE_NORM,
            classes,
            hidden=settings.hidden,
            l1=settings.l1,
            dropout=settings.dropout,
            seed=seed,
        )
        optimizer = keras.optimizers.SGD(settings.learning_rate, momentum=settings.momentum)
        if keras.mixed_precision.dtype_policy().name == "mixed_float16":
            optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
        optimizer.build(self.head.trainable_variables)
        self._optimizer = optimizer
        self._step = tf.function(self._update, jit_compile=False, reduce_retracing=True)
        self._evaluate = tf.function(lambda *batch: self._metrics(*batch, training=False), jit_compile=False)

    def run(self, report: Callable[[Row], None] = lambda row: None) -> list[Row]:
        """Trains until early stopping and restores the best weights.

        Args:
            report: called with the row of each epoch.

        Returns:
            One row per epoch: losses and accuracies on training and validation regions.
        """
        stopping, rows, best = EarlyStopping(self._settings.patience_epochs), list[Row](), self.head.get_weights()
        for epoch in range(1, self._settings.epochs + 1):
            train = self._mean(self.update, self.batches(epoch))
            validation = self.validate()
            if not np.isfinite(train).all():
                raise UserError(f"the joint head's loss is {train[0]}; lower joint.learning_rate")
            row: Row = {"epoch": epoch}
            for name, metrics in (("train", train), ("validation", validation)):
                row |= {
                    f"{name}_loss": float(metrics[0] + metrics[1]),
                    f"{name}_class_loss": float(metrics[0]),
                    f"{name}_box_loss": float(metrics[1]),
                    f"{name}_accuracy": float(metrics[2]),
                }
            rows.append(row)
            report(row)
            if stopping.observe(row["validation_loss"], epochs=1):
                best = self.head.get_weights()
            if stopping.exhausted:
                break
        self.head.set_weights(best)
        return rows

    def batches(self, epoch: int) -> Iterable[tuple[np.ndarray, ...]]:
        """The training batches of an epoch: (features, labels, codes, 1 for positives and 0 for background)."""
        return self._batches(self._train, self._train_sampler, epoch)

    @property
    def batch_count(self) -> int:
        """Training batches per epoch."""
        return self._train_sampler.batches

    def update(self, *batch: tf.Tensor) -> tf.Tensor:
        """One step of SGD; float32 [3]: cross-entropy, box loss, accuracy."""
        return self._step(*batch)

    def validate(self) -> np.ndarray:
        """Means over the validation batches, float32 [3]: cross-entropy, box loss, accuracy."""
        batches = self._batches(self._validation, self._validation_sampler, 0, MAX_VALIDATION_BATCHES)
        return self._mean(self._evaluate, batches)

    def _sampler(self, targets: Regions, seed: int) -> Sampler:
        settings = self._settings
        return Sampler.by_overlap(
            targets,
            positives=settings.positives,
            negatives=settings.negatives,
            positive_overlap=settings.positive_overlap,
            negative_overlap=settings.negative_overlap,
            seed=seed,
        )

    def _batches(
        self, examples: Examples, sampler: Sampler, epoch: int, limit: int | None = None
    ) -> Iterable[tuple[np.ndarray, ...]]:
        for number, rows in enumerate(sampler.epoch(epoch)):
            if number == limit:
                return
            yield self._batch(examples, rows)

    def _batch(self, examples: Examples, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        targets = examples.targets.take(rows)
        positive = np.arange(len(rows)) < self._settings.positives
        labels = np.where(positive, targets.label, self._classes).astype(np.int32)
        codes = targets.code * np.array(FAST_RCNN_WEIGHTS, np.float32)
        return examples.features[rows], labels, codes, positive.astype(np.float32)

    def _update(self, *batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            metrics = self._metrics(*batch, training=True)
            loss = self._optimizer.scale_loss(metrics[0] + metrics[1] + tf.add_n([0.0, *self.head.losses]))
        variables = self.head.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        if isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            self._optimizer.apply(gradients, variables)
        else:
            # As in `training.step`: the Keras way would keep the graph alive forever.
            context = tf.distribute.get_replica_context()
            context.merge_call(lambda _: self._optimizer.apply(gradients, variables))
        return metrics

    def _metrics(
        self, features: tf.Tensor, labels: tf.Tensor, codes: tf.Tensor, positive: tf.Tensor, *, training: bool
    ) -> tf.Tensor:
        """float32 [3]: cross-entropy, smooth L1 of the positives' codes, accuracy."""
        logits, predicted_codes = self.head(tf.cast(features, tf.float32), training=training)
        logits = tf.cast(logits, tf.float32)
        cross_entropy = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        error = tf.abs(tf.cast(predicted_codes[:, 0], tf.float32) - codes)
        smooth_l1 = tf.reduce_sum(tf.where(error < 1.0, 0.5 * error * error, error - 0.5), axis=-1)
        box_loss = tf.reduce_sum(smooth_l1 * positive) / tf.maximum(1.0, tf.reduce_sum(positive))
        correct = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
        return tf.stack([cross_entropy, box_loss, tf.reduce_mean(tf.cast(correct, tf.float32))])

    @staticmethod
    def _mean(step: Callable[..., tf.Tensor], batches: Iterable[tuple[np.ndarray, ...]]) -> np.ndarray:
        return np.mean([step(*batch) for batch in _prefetched(batches)], axis=0)


def _prefetched(batches: Iterable[tuple[np.ndarray, ...]]) -> Iterator[tuple[tf.Tensor, ...]]:
    """The batches as tensors; a thread reads the next one while the current one is in use."""
    tensors = (tuple(map(tf.constant, batch)) for batch in batches)
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, tensors, None)
        while (batch := upcoming.result()) is not None:
            upcoming = thread.submit(next, tensors, None)
            yield batch
