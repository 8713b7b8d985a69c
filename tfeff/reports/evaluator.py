"""The interface of an evaluator: from predictions to numbers, tables and figures."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff.data.input.batches import Batches
from tfeff.tasks.task import Predictions


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An evaluation of predictions."""

    report: dict[str, Any]
    figures: dict[str, Figure]


class Evaluator(ABC):
    """Evaluates one kind of prediction."""

    @abstractmethod
    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        """Evaluates the predictions for all images of a pipeline.

        Args:
            predictions: for all images of the pipeline, in order.
            validated: the metrics of the task's `scores` on the run's validation images, if it has any.

        Raises:
            UserError: if an output of the network is not finite.
        """

    def evaluate_against(
        self,
        predictions: Predictions,
        pipeline: Batches,
        validated: Mapping[str, float],
        training: Callable[[], tuple[Predictions, np.ndarray] | None],
    ) -> Evaluation:
        """Evaluates the predictions for all images of a pipeline, compared with training images.

        Args:
            training: computes predictions for training images, and returns them with the classes of these, int [m];
                None if no image of the pipeline is of a class that was trained on, or some are training images. An
                evaluator that does not need them does not call it.
        """
        return self.evaluate(predictions, pipeline, validated)

    @abstractmethod
    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """The tables of a report for the terminal; each is a sequence of rows."""

    def scalars(self, report: Mapping[str, Any]) -> dict[str, float]:
        """The main metrics of a report, for TensorBoard: the numbers of its result."""
        return {name: value for name, value in self.result(report).items() if isinstance(value, float)}

    @abstractmethod
    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a report that goes into `result.json`."""


def metric_row(metric: str, value: float | None, note: str = "") -> dict[str, Any]:
    """A row of a table of metrics."""
    return {"metric": metric, "value": value, "note": note}
