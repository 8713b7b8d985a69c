"""What a tracker gets of a run."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfeff.training.workdir import Workdir

PROJECT = "tfeff"
"""Experiment of MLflow and project of Weights & Biases, unless their environment variables name another."""
FILES = (
    "config.json",
    "dataset.json",
    "provenance.json",
    "metrics.jsonl",
    "result.json",
    "report.html",
    "model_card.md",
)
"""Files of the workdir that a tracker gets at the end, if they exist, beside figures and the exported model."""


class Tracker(ABC):
    """A run of a tracker.

    Args:
        workdir: the workdir of the run.
        run: identifies the run in the tracker, which is continued; None begins a new one.

    Attributes:
        run: identifies the run in the tracker.
    """

    package: str
    """The package that must be installed."""
    run: str

    @abstractmethod
    def __init__(self, workdir: Workdir, run: str | None) -> None:
        """Begins or continues the run."""

    @abstractmethod
    def settings(self, values: Mapping[str, Any], provenance: Mapping[str, str]) -> None:
        """Sends the config, by dotted key, and what is known of the origin of the run."""

    @abstractmethod
    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Sends metrics of a step."""

    def result(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the metrics of the final weights."""
        self.metrics(step, values)

    @abstractmethod
    def files(self, workdir: Workdir) -> None:
        """Sends `FILES`, figures and the exported model."""

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the run."""


def sent_files(workdir: Workdir) -> Iterator[tuple[str, Path]]:
    """Returns name and path of what a tracker gets at the end."""
    for path in (*(workdir.path / name for name in FILES), workdir.figures, workdir.saved_model):
        if path.exists():
            yield path.name, path
