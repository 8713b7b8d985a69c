"""Export of a finished run."""

from collections.abc import Iterator

import keras
import numpy as np

from tfeff import selection
from tfeff.data.dataset import evenly_spaced
from tfeff.serving import portable
from tfeff.serving.exportable import Exportable
from tfeff.tasks.embedding import THRESHOLD, UNKNOWN
from tfeff.tasks.object_detection import detection_threshold
from tfeff.tasks.task import ImageTask
from tfeff.training.plan import Plan, trained_model
from tfeff.training.progress import Reporter
from tfeff.training.workdir import Workdir

CALIBRATION_IMAGES = 128
"""Training images from which the ranges of 8-bit activations are determined."""


def exportable(workdir: Workdir, model: keras.Model | None = None) -> Exportable:
    """Returns the network of a finished run.

    Args:
        workdir: workdir of the run.
        model: `trained_model(workdir)`, if it has been built already.

    Raises:
        UserError: the run has not finished.
    """
    plan, record = Plan.opened(workdir), workdir.dataset()
    if model is None:
        model = trained_model(workdir, plan=plan)
    size, image_size = model.size, record["image_size"]
    return Exportable(
        plan.task,
        model,
        record["class_names"],
        image_size and tuple(image_size),
        plan.images.data.channels,
        score=_score(workdir, plan.task),
        class_ids=record.get("class_ids", ()),
        unknown=_unknown(workdir, plan.task),
        grid=plan.images.data.grid,
        examples=lambda: _examples(plan, size),
    )


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
    train, places = selection.trained_part(plan.images, selection.open_source(plan.images))
    places = places[evenly_spaced(len(places), CALIBRATION_IMAGES)]  # they may come class by class
    images = selection.cache_part(plan.images, train, places, Reporter(quiet=True).reading)
    for batch in plan.one_by_one(images, size):
        yield portable.inputs(batch)
