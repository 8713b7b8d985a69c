"""Runs of R-CNN, with one detector per form."""

from pathlib import Path

from tfeff import rcnn
from tfeff.errors import UserError
from tfeff.runs.run import EvaluationResult, Run
from tfeff.training.progress import Reporter


class StagedRun(Run):
    """A run of `rcnn.train`."""

    def __init__(self, workdir: rcnn.Workdir) -> None:
        self._workdir = workdir

    @property
    def forms(self) -> tuple[str, ...]:
        """The detectors of the run."""
        return self._workdir.settings().forms

    def evaluate(self, split: str | None, reporter: Reporter) -> EvaluationResult:
        """See `Run`."""
        assessment = rcnn.assess(self._workdir, split, reporter)
        return EvaluationResult(assessment.to_text(), assessment.to_dict())

    def saved_model(self, form: str | None = None) -> Path:
        """See `Run`."""
        return self._workdir.saved_model(self.form(form))

    def export(self, out: Path, *, form: str | None = None, freeze: bool = True, overwrite: bool = False) -> str:
        """See `Run`."""
        rcnn.export(self._workdir, self.form(form), out, freeze=freeze, overwrite=overwrite)
        return "signatures serving_default (a uint8 image, proposals) and serving_bytes (an encoded one)"

    def export_portable(self, out: Path, format: str, *, int8: bool = False, overwrite: bool = False) -> str:
        """See `Run`."""
        raise UserError(f"--format={format}: R-CNN exports only as a SavedModel, because it calls selective search")

    def measure_sensitivity(self) -> None:
        """See `Run`."""
        rcnn.measure_sensitivity(self._workdir)
