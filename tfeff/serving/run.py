"""Exports a finished run as a SavedModel."""

from pathlib import Path

import keras

from tfeff import tasks
from tfeff.serving import savedmodel
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
    """Exports the network of a finished run, with the decoding and resizing of its training.

    Args:
        workdir: workdir of the run.
        directory: directory of the SavedModel.
        model: `build.trained_model(workdir)`, if it has been built already.
        freeze: see `savedmodel.export`.
        overwrite: replace an existing SavedModel.

    Raises:
        UserError: the run has not finished, or the directory cannot be written.
    """
    settings, record = workdir.config(), workdir.dataset()
    task = tasks.create(settings.task)
    if model is None:
        model = build.trained_model(workdir)
    height, width = record["image_size"]
    return savedmodel.export(
        task.predictor(model),
        record["class_names"],
        directory,
        image_size=(height, width),
        resolution=model.resolution,
        channels=settings.data.channels,
        task=task,
        score=task.threshold(workdir.validated(task.scores)),
        freeze=freeze,
        overwrite=overwrite,
    )
