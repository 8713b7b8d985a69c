"""What a tracker gets of a run."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfeff.errors import UserError, printable
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
        errors: what its calls raise.
    """

    package: str
    """The package that must be installed."""
    errors: tuple[type[Exception], ...]
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

    @abstractmethod
    def files(self, workdir: Workdir) -> None:
        """Sends `FILES`, figures and the exported model."""

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the run."""


@contextmanager
def reported(name: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns the errors of a tracker at the start of a run into messages to the user."""
    try:
        yield
    except errors as error:
        raise UserError(f"--track={name}: {printable(str(error))[:300]}; correct this, or leave --track out") from error


def sent_files(workdir: Workdir) -> Iterator[tuple[str, Path]]:
    """Returns name and path of what a tracker gets at the end."""
    for path in (*(workdir.path / name for name in FILES), workdir.figures, workdir.saved_model):
        if path.exists():
            yield path.name, path
