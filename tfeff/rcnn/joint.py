"""Training of the joint head on cached features: softmax and box regressor together, by SGD."""

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

LENGTH = 6.0
"""Mean length to which a region's features are brought: longer ones make the regressor unstable at the usual rates."""
VALIDATION_BATCHES = 50
"""At most, always the same ones."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Regions with their features, float [n, D]; may lie on disk."""

    features: np.ndarray
    regions: Regions


Row = dict[str, Any]


class JointTraining:
    """One training of the joint head.

    Args:
        settings: of the head.
        classes: C.
        train: what it learns from.
        validation: what says when to stop.
        moments: mean and spread of the training features, float [D] each.
        seed: of weights and batches.

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
        self._samplers = [self._sampler(of.regions, seed) for of in (train, validation)]
        for sampler, name in zip(self._samplers, ("training", "validation"), strict=True):
            if not len(sampler.positive):
                raise UserError(
                    f"no region of the {name} images overlaps an object by more than {settings.positive_overlap}; "
                    "lower joint.positive_overlap, or propose more regions"
                )
        mean, std = moments
        self.head = region.joint(
            mean,
            std * np.sqrt(len(std)) / LENGTH,
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
        self._measure = tf.function(lambda *batch: self._losses(*batch, training=False), jit_compile=False)

    def run(self, report: Callable[[Row], None] = lambda row: None) -> list[Row]:
        """Trains to the end and leaves the best weights in `head`; a row an epoch, each told as it comes."""
        stopping, rows, best = EarlyStopping(self._settings.patience_epochs), list[Row](), self.head.get_weights()
        for epoch in range(1, self._settings.epochs + 1):
            train = self._mean(self.update, self.batches(epoch))
            held_out = self.validate()
            if not np.isfinite(train).all():
                raise UserError(f"the joint head's loss is {train[0]}; lower joint.learning_rate")
            row: Row = {"epoch": epoch}
            for name, sums in (("train", train), ("validation", held_out)):
                row |= {
                    f"{name}_loss": float(sums[0] + sums[1]),
                    f"{name}_class_loss": float(sums[0]),
                    f"{name}_box_loss": float(sums[1]),
                    f"{name}_accuracy": float(sums[2]),
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
        """(features, labels, codes, whether each is of an object) of the training batches of an epoch."""
        return self._batches(0, epoch)

    @property
    def batch_count(self) -> int:
        """Training batches of an epoch."""
        return self._samplers[0].batches

    def update(self, *batch: tf.Tensor) -> tf.Tensor:
        """One step of SGD; float32 [3]: cross-entropy, loss of boxes, accuracy."""
        return self._step(*batch)

    def validate(self) -> np.ndarray:
        """Of the validation batches, float32 [3]: cross-entropy, loss of boxes, accuracy."""
        return self._mean(self._measure, self._batches(1, 0, VALIDATION_BATCHES))

    def _sampler(self, regions: Regions, seed: int) -> Sampler:
        settings = self._settings
        return Sampler.of(
            regions,
            positives=settings.positives,
            negatives=settings.negatives,
            positive_overlap=settings.positive_overlap,
            negative_overlap=settings.negative_overlap,
            seed=seed,
        )

    def _batches(self, part: int, epoch: int, limit: int | None = None) -> Iterable[tuple[np.ndarray, ...]]:
        examples = (self._train, self._validation)[part]
        for number, rows in enumerate(self._samplers[part].epoch(epoch)):
            if number == limit:
                return
            yield self._batch(examples, rows)

    def _batch(self, examples: Examples, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        regions = examples.regions.take(rows)
        positive = np.arange(len(rows)) < self._settings.positives
        labels = np.where(positive, regions.label, self._classes).astype(np.int32)
        codes = regions.code * np.array(FAST_RCNN_WEIGHTS, np.float32)
        return examples.features[rows], labels, codes, positive.astype(np.float32)

    def _update(self, *batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            sums = self._losses(*batch, training=True)
            loss = self._optimizer.scale_loss(sums[0] + sums[1] + tf.add_n([0.0, *self.head.losses]))
        variables = self.head.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        if isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            self._optimizer.apply(gradients, variables)
        else:
            # As `training.step` does: Keras' own way would keep the graph for ever.
            context = tf.distribute.get_replica_context()
            context.merge_call(lambda _: self._optimizer.apply(gradients, variables))
        return sums

    def _losses(
        self, features: tf.Tensor, labels: tf.Tensor, codes: tf.Tensor, positive: tf.Tensor, *, training: bool
    ) -> tf.Tensor:
        """float32 [3]: cross-entropy, smooth L1 of the objects' boxes, share of regions whose class is right."""
        logits, found = self.head(tf.cast(features, tf.float32), training=training)
        logits = tf.cast(logits, tf.float32)
        entropy = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        off = tf.abs(tf.cast(found[:, 0], tf.float32) - codes)
        smooth = tf.reduce_sum(tf.where(off < 1.0, 0.5 * off * off, off - 0.5), axis=-1)
        box = tf.reduce_sum(smooth * positive) / tf.maximum(1.0, tf.reduce_sum(positive))
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
        return tf.stack([entropy, box, tf.reduce_mean(tf.cast(right, tf.float32))])

    @staticmethod
    def _mean(measure: Callable[..., tf.Tensor], batches: Iterable[tuple[np.ndarray, ...]]) -> np.ndarray:
        return np.mean([measure(*batch) for batch in _ahead(batches)], axis=0)


def _ahead(batches: Iterable[tuple[np.ndarray, ...]]) -> Iterator[tuple[tf.Tensor, ...]]:
    """The batches as tensors, each read by a thread while the one before is in use."""
    made = (tuple(map(tf.constant, batch)) for batch in batches)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, made, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, made, None)
            yield batch
