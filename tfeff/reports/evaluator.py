"""The interface of an evaluator: from predictions to numbers, tables and figures."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff.data.input.batches import Batches
from tfeff.reporting.tables import in_words, percent
from tfeff.tasks.task import Predictions


@dataclass(frozen=True, eq=False)
class Picture:
    """An image of a page.

    Attributes:
        pixels: uint8 [height, width, 1 or 3].
        lines: the caption, line by line.
    """

    pixels: np.ndarray
    lines: Sequence[str]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An evaluation of predictions.

    Attributes:
        report: all numbers, JSON-ready.
        figures: figures by name.
        galleries: pictures for the page of a run, by heading; also the figures that show the same.
        predictions: rows of a table of images: `image`, `truth`, `prediction` and what else the kind of prediction
            has.
        mistakes: the worst errors in words, one line each, the worst first.
    """

    report: dict[str, Any]
    figures: dict[str, Figure]
    galleries: Mapping[str, Sequence[Picture]] = field(default_factory=dict)
    predictions: Sequence[Mapping[str, Any]] = ()
    mistakes: Sequence[str] = ()


class Evaluator(ABC):
    """Evaluator of one kind of prediction.

    Attributes:
        main: the metric of `result` to compare with the same one of the validation images.
        captions: captions of figures, by name. Figures without a caption are not shown on the page of a run.
        listed: the images in the rows of `Evaluation.predictions`.
    """

    main: str = "accuracy"
    captions: Mapping[str, str] = {}
    listed: str = "every image"

    @abstractmethod
    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        """Evaluates the predictions for all images of a pipeline.

        Args:
            predictions: predictions for all images of the pipeline, in order.
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
        """Returns the tables of a report for the terminal; each is a sequence of rows."""

    def answer(self, report: Mapping[str, Any]) -> str:
        """Says how good the predictions are, in a sentence, for `report` with the name of its `split`."""
        values = ", ".join(f"{in_words(name)} {value:.4f}" for name, value in self.scalars(report).items())
        return f"On the {report['split']} images: {values}"

    def scalars(self, report: Mapping[str, Any]) -> dict[str, float]:
        """Returns the main metrics of a report, for TensorBoard: the numbers of its result."""
        return {name: value for name, value in self.result(report).items() if isinstance(value, float)}

    def class_scalars(self, report: Mapping[str, Any]) -> dict[str, float | None]:
        """Returns a metric of each class of a report, for TensorBoard, by its tag."""
        return {}

    @abstractmethod
    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the part of a report that goes into `result.json`."""


def metric_row(metric: str, value: float | None, note: str = "") -> dict[str, Any]:
    """Returns a row of a table of metrics."""
    return {"metric": metric, "value": value, "note": note}


def short_names(ids: Sequence[str]) -> dict[str, str]:
    """Returns ids of images -> these without the folders that all have in common.

    >>> short_names(["/data/val/ants/1.jpg", "/data/val/bees/1.jpg"])
    {'/data/val/ants/1.jpg': 'ants/1.jpg', '/data/val/bees/1.jpg': 'bees/1.jpg'}
    >>> short_names(["digits[1]", "digits[2]"])
    {'digits[1]': 'digits[1]', 'digits[2]': 'digits[2]'}
    """
    folders = {name.rpartition("/")[0] for name in ids}
    start = f"{os.path.commonpath(folders)}/" if all(folder.startswith("/") for folder in folders) else ""
    return {name: name.removeprefix(start) or name for name in ids}


def interval_text(interval: Sequence[float | None]) -> str:
    """Returns a 95 % interval of a share.

    >>> interval_text([0.9, 0.987]), interval_text([None, None])
    ('95 % interval 90.0 to 98.7 %', '95 % interval undefined')
    """
    low, high = interval
    if low is None or high is None:
        return "95 % interval undefined"
    return f"95 % interval {100 * low:.1f} to {percent(high, 1)}"


def counted(count: int, of: int, what: str, interval: Sequence[float | None]) -> str:
    """Returns a count of images as a share with its interval.

    >>> counted(38, 40, "test images right", [0.835, 0.986])
    '38 of 40 test images right: 95.0 % (95 % interval 83.5 to 98.6 %)'
    """
    return f"{count:,} of {of:,} {what}: {percent(count / of, 1)} ({interval_text(interval)})"
