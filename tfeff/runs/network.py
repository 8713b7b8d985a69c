"""Runs of one network: classification, localization and object detection."""

from pathlib import Path

from tfeff import tasks, training
from tfeff.runs.run import EvaluationResult, Run
from tfeff.serving import run as serving


class NetworkRun(Run):
    """A run of `training.train`."""

    def __init__(self, workdir: training.Workdir) -> None:
        self._workdir = workdir

    @property
    def workdir(self) -> training.Workdir:
        """Its workdir."""
        return self._workdir

    @property
    def forms(self) -> tuple[str, ...]:
        """None: there is one network."""
        return ()

    def evaluate(self, split: str | None, reporter: training.Reporter) -> EvaluationResult:
        """See `Run`."""
        assessment = training.assess(self._workdir, split, reporter)
        return EvaluationResult(assessment.to_text(), assessment.report)

    def saved_model(self, form: str | None = None) -> Path:
        """See `Run`."""
        self.form(form)
        return self._workdir.saved_model

    def export(self, out: Path, *, form: str | None = None, freeze: bool = True, overwrite: bool = False) -> str:
        """See `Run`."""
        self.form(form)
        serving.export(self._workdir, out, freeze=freeze, overwrite=overwrite)
        given = "" if tasks.create(self._workdir.config().task).proposals is None else ", both with proposals"
        return f"signatures serving_default (uint8 images) and serving_bytes (encoded JPEG or PNG){given}"

    def export_portable(self, out: Path, format: str, *, int8: bool = False, overwrite: bool = False) -> str:
        """See `Run`."""
        serving.export_portable(self._workdir, out, format, int8=int8, overwrite=overwrite)
        return "the model, and metadata.json, which says how to fit images to its input"
