"""From a finished run's workdir to a SavedModel."""

from pathlib import Path

import keras

from tfeff.serving import savedmodel
from tfeff.serving.localizer import Localizer
from tfeff.training import build
from tfeff.training.workdir import Workdir


def export(
    workdir: Workdir,
    directory: str | Path,
    *,
    model: keras.Model | None = None,
    freeze: bool = False,
    overwrite: bool = False,
) -> Path:
    """Writes the network of a finished run, with the decoding and resizing of its training, to `directory`.

    Args:
        workdir: the run's.
        directory: where the SavedModel goes.
        model: `build.trained_model(workdir)`, where it has been built already.
        freeze: see `savedmodel.export`.
        overwrite: replace a SavedModel that is already there.

    Raises:
        UserError: when the run has not finished, or the directory cannot be written.
    """
    settings, record = workdir.config(), workdir.dataset()
    if model is None:
        model = build.trained_model(workdir)
    height, width = record["image_size"]
    return savedmodel.export(
        build.predictor(settings, model),
        record["class_names"],
        directory,
        image_size=(height, width),
        resolution=model.resolution,
        channels=settings.data.channels,
        kind=Localizer if settings.task.name == "localization" else savedmodel.Classifier,
        freeze=freeze,
        overwrite=overwrite,
    )
