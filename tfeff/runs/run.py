"""The interface of a finished run, whatever it trained."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfeff.errors import UserError
from tfeff.training.progress import Reporter


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation, for people and for programs.

    Attributes:
        text: tables and the paths of the written files.
        report: all results, JSON-serializable.
    """

    text: str
    report: dict[str, Any]


class Run(ABC):
    """A run in its workdir."""

    @property
    @abstractmethod
    def forms(self) -> tuple[str, ...]:
        """The models of the run, the default first; empty if it has only one."""

    @abstractmethod
    def evaluate(self, split: str | None, reporter: Reporter) -> EvaluationResult:
        """Evaluates the run on a split; None: the test split, or the validation images if there is none.

        Raises:
            UserError: the run has not finished, or there is no such split.
        """

    @abstractmethod
    def saved_model(self, form: str | None = None) -> Path:
        """The SavedModel that training wrote.

        Raises:
            UserError: there is no such form.
        """

    @abstractmethod
    def export(self, out: Path, *, form: str | None = None, freeze: bool = True, overwrite: bool = False) -> str:
        """Writes a SavedModel; returns a description of its signatures.

        Raises:
            UserError: the run has not finished, has no such form, or `out` cannot be written.
        """

    @abstractmethod
    def export_portable(self, out: Path, format: str, *, int8: bool = False, overwrite: bool = False) -> str:
        """Writes a model for LiteRT, ONNX or OpenVINO; returns a description of its files.

        Raises:
            UserError: the run has not finished, the format cannot express the model, or `out` cannot be written.
        """

    def measure_sensitivity(self) -> None:
        """Retrains the heads of R-CNN over a range of settings, and prints the metrics.

        Raises:
            UserError: it is not a run of R-CNN.
        """
        raise UserError("--sensitivity requires the workdir of an R-CNN run; remove it")

    def form(self, wanted: str | None) -> str:
        """The wanted form, or the default.

        Raises:
            UserError: there is no such form.
        """
        if wanted is not None and not self.forms:
            raise UserError("--form requires the workdir of an R-CNN run; remove it")
        if wanted is not None and wanted not in self.forms:
            raise UserError(f"--form={wanted}: the run has {' and '.join(self.forms)}")
        return wanted or next(iter(self.forms), "")
