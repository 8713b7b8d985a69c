"""The interface of a task: loss, metrics, evaluation.

The training loop and the evaluation of a run use only this interface. b: batch size; k: number of metrics.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfeff.data.input.batches import Batches

Batch = Mapping[str, tf.Tensor]
"""`image` float32 [b, h, w, c] in [0, 255]; `label` float32 [b, classes], soft or one-hot; `weight` float32 [b];
further targets by name, such as `box`."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of a network on a split.

    Attributes:
        report: all results, JSON-serializable.
        figures: figures by name.
    """

    report: dict[str, Any]
    figures: dict[str, Figure]


class Task(ABC):
    """What a network is trained for.

    Attributes:
        metric_names: names of the metrics reported besides the loss; the first is the accuracy.
    """

    metric_names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def losses(self, batch: Batch, outputs: Any, *, training: bool) -> tf.Tensor:
        """The loss per image, float32 [b] under any dtype policy.

        Args:
            batch: the targets.
            outputs: the network's outputs.
            training: use the training loss, with label smoothing; otherwise the validation loss, without.
        """

    @abstractmethod
    def metrics(self, batch: Batch, outputs: Any) -> Sequence[tf.Tensor]:
        """The metrics per image: k tensors, float32 [b]."""

    @abstractmethod
    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """Dummy targets for benchmarking: a batch without its images."""

    @abstractmethod
    def evaluate(self, network: keras.Model, pipeline: Batches) -> Evaluation:
        """Evaluates a network on all images of a pipeline.

        Raises:
            UserError: if an output of the network is not finite.
        """

    @abstractmethod
    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """The tables of a report for the terminal; each is a sequence of rows."""

    @abstractmethod
    def scalars(self, report: Mapping[str, Any]) -> dict[str, float]:
        """The main metrics of a report, for TensorBoard."""

    @abstractmethod
    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a report that goes into `result.json`."""

    def zero_sums(self) -> np.ndarray:
        """Initial value for accumulating `sums`: zeros, float64 [k + 2]."""
        return np.zeros(len(self.metric_names) + 2)

    def sums(self, batch: Batch, outputs: Any, losses: tf.Tensor) -> tf.Tensor:
        """Weighted sums over a batch, float32 [k + 2]: loss, first metric, number of images, other metrics."""
        weight = batch["weight"]
        first, *others = (tf.reduce_sum(metric * weight) for metric in self.metrics(batch, outputs))
        return tf.stack([tf.reduce_sum(losses * weight), first, tf.reduce_sum(weight), *others])

    def watched(self, row: Mapping[str, Any], monitor: str) -> float:
        """The monitored value of an epoch, the lower the better: the validation loss, or a metric with its sign
        changed."""
        value = float(row[f"validation_{monitor}"])
        return value if monitor == "loss" else -value

    def means(self, sums: np.ndarray) -> dict[str, float]:
        """Mean loss and metrics by name, from `sums` accumulated over any number of batches."""
        loss, first, images, *others = sums
        return {
            name: float(total / images)
            for name, total in zip(("loss", *self.metric_names), (loss, first, *others), strict=True)
        }
