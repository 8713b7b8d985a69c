"""From a finished run of R-CNN to SavedModels."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfeff import config, training
from tfeff.errors import UserError
from tfeff.rcnn import savedmodel
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.images import class_names
from tfeff.rcnn.region_features import RegionFeatures
from tfeff.rcnn.splits import selective_search, sliding_windows
from tfeff.rcnn.stages import WINDOWS, Material
from tfeff.rcnn.workdir import Workdir


def export(workdir: Workdir, form: str, directory: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Writes one form as a SavedModel that takes an image and proposals.

    Args:
        workdir: of the run.
        form: one of its config's forms.
        directory: where the SavedModel goes; default the workdir's own place for it.
        overwrite: replace a SavedModel that is already there.

    Raises:
        UserError: the run has not finished or has no such form, or the directory cannot be written.
    """
    settings = workdir.settings()
    if form not in settings.forms:
        raise UserError(f"--form={form}: the run has {' and '.join(settings.forms)}")
    detector, point = Detector.load(workdir, form)
    material = Material(settings, workdir, training.Reporter(quiet=True))
    point.check(form, material.digest)
    return savedmodel.export(
        RegionFeatures(
            material.backbone.model,
            grid=None if form == WINDOWS else settings.features.grid,
            context=settings.features.context,
        ),
        detector.head,
        detector.postprocess,
        directory or workdir.saved_model(form),
        class_names=class_names(workdir.dataset),
        proposals=_proposals(settings, form),
        score=point.detection,
        overwrite=overwrite,
    )


def _proposals(settings: config.RCNN, form: str) -> dict[str, Any]:
    """What makes the regions of a form, as `savedmodel.LoadedDetector` takes it."""
    if form == WINDOWS:
        return {"engine": "windows", **asdict(sliding_windows(settings))}
    return {"engine": "selective_search", **asdict(selective_search(settings))}
