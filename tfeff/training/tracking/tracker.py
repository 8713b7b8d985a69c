"""What a tracker gets of a run, or of a search."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = "tfeff"
"""Experiment of MLflow and project of Weights & Biases, unless their environment variables name another."""
FIGURES = "figures"
"""Name of the folder whose PNG files are figures."""


class Tracker(ABC):
    """A run of a tracker.

    Args:
        directory: the workdir, whose name is that of the run.
        run: identifies the run in the tracker, which is continued; None begins a new one.

    Attributes:
        run: identifies the run in the tracker.
    """

    package: str
    """The package that must be installed."""
    run: str

    @abstractmethod
    def __init__(self, directory: Path, run: str | None) -> None:
        """Begins or continues the run."""

    @abstractmethod
    def settings(self, values: Mapping[str, Any]) -> None:
        """Sends the config, by dotted key; new values replace earlier ones."""

    @abstractmethod
    def tags(self, values: Mapping[str, str]) -> None:
        """Sends texts about the run, such as its origin; new ones replace earlier ones."""

    @abstractmethod
    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Sends metrics of a step."""

    def result(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the metrics of the final weights."""
        self.metrics(step, values)

    @abstractmethod
    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sends a table: numbers, texts or None by column; all rows have the columns of the first one."""

    @abstractmethod
    def files(self, paths: Iterable[Path], kind: str) -> None:
        """Sends files and folders, and shows the figures among them.

        Args:
            paths: those that do not exist are left out.
            kind: what they are together: "model" or "search".
        """

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the run."""
