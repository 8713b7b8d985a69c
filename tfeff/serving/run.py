"""Exports a finished run."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from tfeff import tasks
from tfeff.errors import UserError
from tfeff.serving import litert, onnx, portable, savedmodel
from tfeff.serving.staging import staged
from tfeff.training import build, selection
from tfeff.training.progress import Reporter
from tfeff.training.workdir import Workdir

CALIBRATION_IMAGES = 128
"""Training images from which the ranges of 8-bit activations are determined."""
METADATA = "metadata.json"


def export(
    workdir: Workdir,
    directory: str | Path,
    *,
    model: keras.Model | None = None,
    freeze: bool = True,
    overwrite: bool = False,
) -> Path:
    """Exports the network of a finished run as a SavedModel, with the decoding and resizing of its training.

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
    image_size = record["image_size"]
    return savedmodel.export(
        task.predictor(model),
        record["class_names"],
        directory,
        image_size=image_size and tuple(image_size),
        size=model.size,
        channels=settings.data.channels,
        task=task,
        score=task.threshold(workdir.validated(task.scores)),
        freeze=freeze,
        overwrite=overwrite,
    )


def export_portable(
    workdir: Workdir, directory: str | Path, format: str, *, int8: bool = False, overwrite: bool = False
) -> Path:
    """Exports the network of a finished run, with the decoding of its task, for LiteRT or ONNX.

    Writes `model.tflite` or `model.onnx`, and `metadata.json`, which says how to fit images to the input.

    Args:
        workdir: workdir of the run.
        directory: where to write.
        format: `litert` or `onnx`.
        int8: 8-bit weights and activations (LiteRT only), calibrated on training images.
        overwrite: replace an earlier export.

    Raises:
        UserError: the run has not finished, the format cannot express the network, or the directory cannot be written.
    """
    settings, record = workdir.config(), workdir.dataset()
    task, model = tasks.create(settings.task), build.trained_model(workdir)
    predictor = task.predictor(model)
    examples = (lambda: _examples(workdir, model.size)) if int8 else None
    name = {"litert": litert.FILE, "onnx": onnx.FILE}[format]
    with staged(Path(directory), overwrite=overwrite, marker=name) as staging:
        contents = onnx.convert(predictor, task) if format == "onnx" else litert.convert(predictor, task, examples)
        score = task.threshold(workdir.validated(task.scores))
        try:
            (staging / name).write_bytes(contents)
            (staging / METADATA).write_text(portable.metadata(predictor, task, record["class_names"], score), "utf-8")
        except OSError as error:
            raise UserError(f"{directory}: the model could not be written: {error}") from error
    return Path(directory)


def _examples(workdir: Workdir, size: tuple[int, int]) -> Iterator[dict[str, np.ndarray]]:
    """The inputs of `portable.function` for single training images."""
    settings = workdir.config()
    images = selection.choose(settings, selection.read(settings, Reporter(quiet=True).reading)).train
    images = images.take(np.arange(min(len(images), CALIBRATION_IMAGES)))
    for batch in build.evaluation_pipeline(settings, images, size, (0, 1)).evaluation_batches():
        inputs = portable.inputs(batch)
        for index in np.flatnonzero(batch["weight"].numpy()):
            yield {name: value[index : index + 1] for name, value in inputs.items()}
