"""Export of a finished run."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from tfeff import selection
from tfeff.data.dataset import evenly_spaced
from tfeff.durable import staged
from tfeff.errors import UserError, brief
from tfeff.serving import interface, keras_file, litert, onnx, openvino, portable, savedmodel
from tfeff.serving.fitting import Fitting
from tfeff.tasks.embedding import THRESHOLD, UNKNOWN
from tfeff.tasks.object_detection import detection_threshold
from tfeff.tasks.task import ImageTask
from tfeff.training.plan import Plan, trained_model
from tfeff.training.progress import Reporter
from tfeff.training.workdir import Workdir

CALIBRATION_IMAGES = 128
"""Training images from which the ranges of 8-bit activations are determined."""
FORMATS: dict[str, ModuleType] = {"litert": litert, "onnx": onnx, "openvino": openvino}
"""Modules of the formats besides SavedModel: `FILE`, the name of the model's file, and `convert`, its contents."""
WITHOUT_DECODING: dict[str, ModuleType] = {"keras": keras_file}
"""The same of formats that hold the network alone."""


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
        model: `trained_model(workdir)`, if it has been built already.
        freeze: see `savedmodel.export`.
        overwrite: replace an existing SavedModel.

    Raises:
        UserError: the run has not finished, or the directory cannot be written.
    """
    plan, record = Plan.opened(workdir), workdir.dataset()
    task = plan.task
    if model is None:
        model = trained_model(workdir, plan=plan)
    image_size = record["image_size"]
    return savedmodel.export(
        task.predictor(model),
        record["class_names"],
        directory,
        image_size=image_size and tuple(image_size),
        size=model.size,
        channels=plan.images.data.channels,
        task=task,
        score=_score(workdir, task),
        class_ids=record.get("class_ids", ()),
        unknown=_unknown(workdir, task),
        freeze=freeze,
        overwrite=overwrite,
    )


def fits(format: str) -> bool:
    """Returns whether models of a format take images of any size, unless chosen otherwise.

    LiteRT's fast kernels need fixed sizes: with others, a network takes three times as long. Networks alone never do.
    """
    return format not in ("litert", *WITHOUT_DECODING)


def export_portable(
    workdir: Workdir,
    directory: str | Path,
    format: str,
    *,
    fit: bool | None = None,
    int8: bool = False,
    overwrite: bool = False,
) -> Path:
    """Exports the network of a finished run for LiteRT, ONNX or OpenVINO, with the decoding of its task, or for Keras.

    Writes the model and `metadata.json`, which says how to fit images to its input.

    Args:
        workdir: workdir of the run.
        directory: where to write.
        format: one of `FORMATS` or `WITHOUT_DECODING`.
        fit: whether the model takes uint8 images of any size and fits them itself, as the training does; None: `fits`.
            Formats without decoding cannot.
        int8: 8-bit weights and activations (LiteRT only), calibrated on training images.
        overwrite: replace an earlier export.

    Raises:
        UserError: the run has not finished, the format cannot express the network, its converter is not installed, or
            the directory cannot be written.
    """
    plan, record = Plan.opened(workdir), workdir.dataset()
    settings = plan.settings
    if settings.task.CUTS_REGIONS:
        raise UserError(
            f"--format={format}: task.name={settings.task.name} exports only as a SavedModel, because it cuts regions "
            "from images of any size"
        )
    task, model = plan.task, trained_model(workdir, plan=plan)
    predictor, image_size = task.predictor(model), record["image_size"]
    image_size = image_size and tuple(image_size)
    fitting = None
    if fits(format) if fit is None else fit:
        fitting = Fitting(task.reading, image_size, model.size, plan.images.data.channels)
    converter = (FORMATS | WITHOUT_DECODING)[format]
    with staged(Path(directory), overwrite=overwrite, marker=converter.FILE) as staging:
        calibration = {"examples": lambda: _examples(plan, model.size)} if int8 else {}
        files = converter.convert(predictor, task, fitting=fitting, **calibration)
        about = interface.metadata(
            task,
            record["class_names"],
            _score(workdir, task),
            channels=plan.images.data.channels,
            image_size=image_size if fitting is None or task.reading.fit == "whole" else fitting.stored_size,
            size=model.size if fitting is None else None,
            class_ids=record.get("class_ids", ()),
            unknown=_unknown(workdir, task),
            decoded=format not in WITHOUT_DECODING,
        )
        try:
            for name, contents in {**files, interface.METADATA: about.encode()}.items():
                (staging / name).write_bytes(contents)
        except OSError as error:
            raise UserError(f"{directory}: the model could not be written: {brief(error)}") from error
    return Path(directory)


def _score(workdir: Workdir, task: ImageTask) -> float | None:
    """Returns a detector's minimum score, or an embedder's minimum similarity of images of one class; else None.

    The similarity is None if the run has not found it.
    """
    validated = workdir.validated(task.scores)
    return detection_threshold(validated) if task.kind.detects else validated.get(THRESHOLD)


def _unknown(workdir: Workdir, task: ImageTask) -> dict[int, float]:
    """Returns `evaluation.unknown_thresholds` of an embedder, as far as the run has found them."""
    validated = workdir.validated(task.scores)
    return {size: validated[name] for size, name in UNKNOWN.items() if name in validated}


def _examples(plan: Plan, size: tuple[int, int]) -> Iterator[dict[str, np.ndarray]]:
    """Yields the inputs of `portable.function` for single training images."""
    images = selection.choose(plan.images, selection.read(plan.images, Reporter(quiet=True).reading)).train
    images = images.take(evenly_spaced(len(images), CALIBRATION_IMAGES))  # they may come class by class
    for batch in plan.evaluation_pipeline(images, size).evaluation_batches():
        inputs = portable.inputs(batch)
        for index in np.flatnonzero(batch["weight"].numpy()):
            yield {name: value[index : index + 1] for name, value in inputs.items()}
