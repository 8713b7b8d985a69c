"""Exports a finished run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from tfeff import tasks
from tfeff.errors import UserError
from tfeff.serving import litert, metadata, onnx, openvino, portable, savedmodel
from tfeff.serving.staging import staged
from tfeff.training import build, selection
from tfeff.training.progress import Reporter
from tfeff.training.workdir import Workdir

CALIBRATION_IMAGES = 128
"""Training images from which the ranges of 8-bit activations are determined."""
FORMATS: Mapping[str, ModuleType] = {"litert": litert, "onnx": onnx, "openvino": openvino}
"""Modules of the formats besides SavedModel: `FILE`, the name of the model's file, and `convert`, its contents."""


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
    """Exports the network of a finished run, with the decoding of its task, for LiteRT, ONNX or OpenVINO.

    Writes the model and `metadata.json`, which says how to fit images to its input.

    Args:
        workdir: workdir of the run.
        directory: where to write.
        format: one of `FORMATS`.
        int8: 8-bit weights and activations (LiteRT only), calibrated on training images.
        overwrite: replace an earlier export.

    Raises:
        UserError: the run has not finished, the format cannot express the network, its converter is not installed, or
            the directory cannot be written.
    """
    settings, record = workdir.config(), workdir.dataset()
    task, model = tasks.create(settings.task), build.trained_model(workdir)
    predictor = task.predictor(model)
    with staged(Path(directory), overwrite=overwrite, marker=FORMATS[format].FILE) as staging:
        calibration = {"examples": lambda: _examples(workdir, model.size)} if int8 else {}
        files = FORMATS[format].convert(predictor, task, **calibration)
        image_size = record["image_size"]
        about = metadata.text(
            task,
            record["class_names"],
            task.threshold(workdir.validated(task.scores)),
            channels=settings.data.channels,
            image_size=image_size and tuple(image_size),
            size=model.size,
        )
        try:
            for name, contents in {**files, metadata.FILE: about.encode()}.items():
                (staging / name).write_bytes(contents)
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
