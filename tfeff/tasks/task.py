"""The interface of a task: forward pass, losses and metrics; and, for tasks on images, decoding and evaluation.

The training loop uses only `Task`, the evaluation of a run only `ImageTask`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfeff.data.input.batches import Batches

Batch = Mapping[str, tf.Tensor]
"""Tensors by name, [b, ...] each. Batches of images: `image` float32 [b, h, w, c] in [0, 255]; `label` float32
[b, classes], soft or one-hot; `weight` float32 [b]; further targets by name, such as `box`."""
IMAGES = "images"
"""The count of most losses and metrics: the sum of the batch's weights."""


class Task(ABC):
    """What a network is trained for.

    Losses and metrics are means over the whole batch, which several devices share and gradient accumulation splits.
    They are therefore computed as a *total* and a *count* of each part; the mean is the sum of all totals divided by
    the sum of all counts, or 0 if that is 0. The loss that is minimized is the sum of the means of `losses`.

    Attributes:
        losses: name of each loss -> name of its count.
        metrics: name of each metric -> name of its count.
    """

    losses: ClassVar[Mapping[str, str]]
    metrics: ClassVar[Mapping[str, str]]

    def forward(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """The network's outputs for a batch."""
        return network(batch["image"], training=training)

    @abstractmethod
    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Total of each loss and metric, and the value of each count: scalars of at least float32.

        Args:
            batch: the targets.
            outputs: of `forward`.
            training: use the training loss, for example with label smoothing; otherwise the validation loss, without.
        """

    @property
    def counts(self) -> tuple[str, ...]:
        """Names of the counts, without repetition."""
        return tuple(dict.fromkeys((*self.losses.values(), *self.metrics.values())))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of everything that `totals` returns: losses, metrics, counts."""
        return (*self.losses, *self.metrics, *self.counts)

    def zero_sums(self) -> np.ndarray:
        """Initial value for accumulating the totals of batches: zeros, float64 [k], in the order of `names`."""
        return np.zeros(len(self.names))

    def means(self, sums: np.ndarray) -> dict[str, float]:
        """`loss`, the sum of all losses; each loss, if there are several; and each metric.

        Args:
            sums: totals and counts in the order of `names`, summed over any number of batches.
        """
        value = dict(zip(self.names, map(float, sums), strict=True))
        means = {
            name: value[name] / value[count] if value[count] else 0.0
            for name, count in (*self.losses.items(), *self.metrics.items())
        }
        return {"loss": sum(means[name] for name in self.losses)} | means

    def watched(self, row: Mapping[str, Any], monitor: str) -> float:
        """The monitored value of an epoch, the lower the better: a validation loss, or a metric with its sign
        changed."""
        value = float(row[f"validation_{monitor}"])
        return value if monitor == "loss" or monitor in self.losses else -value


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of a network on a split.

    Attributes:
        report: all results, JSON-serializable.
        figures: figures by name.
    """

    report: dict[str, Any]
    figures: dict[str, Figure]


class ImageTask(Task):
    """A task whose network maps images to predictions."""

    @staticmethod
    @abstractmethod
    def decode(outputs: Any) -> dict[str, tf.Tensor]:
        """Predictions by name, float32 [b, ...], from the network's outputs. Evaluation and export use it."""

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


def predict(
    network: keras.Model, pipeline: Batches, decode: Callable[[Any], dict[str, tf.Tensor]]
) -> dict[str, np.ndarray]:
    """Decoded predictions of all images of a pipeline by name, [n, ...] each, in order."""
    forward = tf.function(lambda images: decode(network(images, training=False)), jit_compile=False, autograph=False)
    parts: list[dict[str, np.ndarray]] = []
    for batch in pipeline.evaluation_batches():
        kept = batch["weight"].numpy() > 0
        parts.append({name: values.numpy()[kept] for name, values in forward(batch["image"]).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def precise(values: tf.Tensor) -> tf.Tensor:
    """Values of float16 or bfloat16 as float32; others unchanged. Losses and metrics are computed at this precision."""
    return values if values.dtype in (tf.float32, tf.float64) else tf.cast(values, tf.float32)
