"""Exports a finished R-CNN run to SavedModels."""

from pathlib import Path

from tfeff import training
from tfeff.errors import UserError
from tfeff.proposals import SelectiveSearch, SlidingWindows
from tfeff.proposals.records import selective_search, to_record
from tfeff.rcnn import savedmodel
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.feature_extractor import FeatureExtractor
from tfeff.rcnn.images import class_names
from tfeff.rcnn.regions import sliding_windows
from tfeff.rcnn.run_regions import SLIDING_WINDOW, RunRegions
from tfeff.rcnn.workdir import Workdir


def export(
    workdir: Workdir,
    form: str,
    directory: str | Path | None = None,
    *,
    freeze: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes one form as a SavedModel that takes an image and proposals.

    Args:
        workdir: of the run.
        form: one of the forms of its config.
        directory: of the SavedModel; default: inside the workdir.
        freeze: see `serving.savedmodel.export`.
        overwrite: replace an existing SavedModel.

    Raises:
        UserError: the run has not finished or has no such form, or the directory cannot be written.
    """
    settings = workdir.settings()
    if form not in settings.forms:
        raise UserError(f"--form={form}: the run has {' and '.join(settings.forms)}")
    detector, thresholds = Detector.load(workdir, form)
    regions = RunRegions(settings, workdir, training.Reporter(quiet=True))
    thresholds.check_backbone(form, regions.backbone_digest)
    windows = form == SLIDING_WINDOW
    search: SlidingWindows | SelectiveSearch = (
        sliding_windows(settings.windows, settings.seed)
        if windows
        else selective_search(settings.proposals, settings.seed)
    )
    return savedmodel.export(
        FeatureExtractor(
            regions.backbone.model,
            grid=None if windows else settings.features.grid,
            context=settings.features.context,
        ),
        detector.head,
        detector.postprocess,
        directory or workdir.saved_model(form),
        class_names=class_names(workdir.dataset),
        proposals=to_record(search),
        score=thresholds.detection,
        freeze=freeze,
        overwrite=overwrite,
    )
