"""What a network is trained for: its loss, what of its answers is counted, how its final weights are measured.

The loop, the step and the assessment know tasks by this interface alone. k: measures of a task; b: images of a batch.
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
"""image float32 [b, h, w, c] in [0, 255]; label float32 [b, classes], soft or one-hot; weight float32 [b]; what else a
task answers, under its own name."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What the final weights are worth on a split.

    Attributes:
        report: all of it, JSON-ready.
        figures: by name.
    """

    report: dict[str, Any]
    figures: dict[str, Figure]


class Task(ABC):
    """What is asked of a network.

    Attributes:
        measures: names of the means that the loop reports beside the loss; the first is the accuracy.
    """

    measures: ClassVar[tuple[str, ...]]

    @abstractmethod
    def losses(self, batch: Batch, outputs: Any, *, training: bool) -> tf.Tensor:
        """The loss of each image, float32 [b] under any precision policy.

        Args:
            batch: what is right.
            outputs: the network's.
            training: whether it is what training lowers, with label smoothing; else what it is measured by.
        """

    @abstractmethod
    def scores(self, batch: Batch, outputs: Any) -> Sequence[tf.Tensor]:
        """The measures of each image: k tensors, float32 [b]."""

    @abstractmethod
    def blank(self, batch_size: int, classes: int) -> Batch:
        """Answers of no meaning, for timing: all of a batch but its images."""

    @abstractmethod
    def assess(self, network: keras.Model, pipeline: Batches) -> Findings:
        """Runs a network over every image of a pipeline's store and measures it.

        Raises:
            UserError: when the network gives numbers that are not finite.
        """

    @abstractmethod
    def rows(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """The tables that a report becomes on a terminal, each as its rows."""

    @abstractmethod
    def headline(self, report: Mapping[str, Any]) -> dict[str, float]:
        """The charts of a report's first numbers, by name."""

    @abstractmethod
    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """What of a report stands in `result.json`."""

    def no_sums(self) -> np.ndarray:
        """The sums of no images, float64 [k + 2]."""
        return np.zeros(len(self.measures) + 2)

    def sums(self, batch: Batch, outputs: Any, losses: tf.Tensor) -> tf.Tensor:
        """Float32 [k + 2], summed with the images' weights: loss, first measure, images, the other measures."""
        weight = batch["weight"]
        first, *others = (tf.reduce_sum(score * weight) for score in self.scores(batch, outputs))
        return tf.stack([tf.reduce_sum(losses * weight), first, tf.reduce_sum(weight), *others])

    def means(self, sums: np.ndarray) -> dict[str, float]:
        """The loss and the measures by name, of what `sums` gave for any number of batches together."""
        loss, first, images, *others = sums
        return {
            name: float(total / images)
            for name, total in zip(("loss", *self.measures), (loss, first, *others), strict=True)
        }
