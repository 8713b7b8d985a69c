"""From a finished run of R-CNN to SavedModels."""

from pathlib import Path

from tfeff import training
from tfeff.data import catalog
from tfeff.detection.region_features import RegionFeatures
from tfeff.errors import UserError
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.stages import backbone
from tfeff.rcnn.workdir import Workdir
from tfeff.serving import detector as serving


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
    detector = Detector(workdir, form)
    network = backbone(settings, workdir, training.Reporter(quiet=True))
    names = catalog.load_annotated(settings.data.source, settings.data.train_split, seed=settings.seed).class_names
    return serving.export(
        RegionFeatures(network, grid=settings.features.grid, context=settings.features.context),
        detector.head,
        detector.postprocess,
        directory or workdir.saved_model(form),
        class_names=names,
        proposals={
            "mode": settings.proposals.mode,
            "max_proposals": settings.proposals.max_proposals,
            "seed": settings.seed,
        },
        score=detector.point.detection,
        overwrite=overwrite,
    )
