"""Training images as the network sees them, before any training."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfeff import selection
from tfeff.data.augment.policy import parts
from tfeff.data.dataset import evenly_spaced
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.order import InOrder
from tfeff.durable import locked
from tfeff.errors import UserError
from tfeff.reporting import figure
from tfeff.reporting.augmentation import Example, augmentation_figure
from tfeff.training import checks
from tfeff.training.plan import Plan
from tfeff.training.progress import Reporter

SHOWN = 6
"""Images in the figure."""
AUGMENTATION = "augmentation"
"""Key of a task's settings."""
ORIGINAL = "as they are"
"""Title of the first column."""
DRAWS = 3
"""Columns with all variations together."""


def write_preview(plan: Plan, directory: str | os.PathLike[str]) -> list[Path]:
    """Draws some training images as they are, under each augmentation alone, and under all together.

    Args:
        plan: the plan of the experiment.
        directory: directory for `augmentation.png` and `.svg`.

    Returns:
        The files.

    Raises:
        UserError: images or settings that cannot be trained, or a task without augmentation.
    """
    directory = Path(directory)
    checks.check(plan, 1, new_run=True)
    if plan.task.stored is not None or not hasattr(plan.settings.task, AUGMENTATION):
        raise UserError(f"--show: task.name={plan.settings.task.name} trains on stored features, without augmentation")
    with locked(directory):
        source = selection.open_source(plan.images)
        selection.check(plan.images, source)
        train, places = selection.trained_part(plan.images, source)
        places = places[evenly_spaced(len(places), SHOWN)]
        images = selection.cache_part(plan.images, train, places, Reporter().reading)
        drawn = augmentation_figure(columns(plan, images))
        return list(figure.save(drawn, directory / "augmentation"))


def columns(plan: Plan, images: ImageCache) -> Mapping[str, list[Example]]:
    """Returns the images under each variation, by its name; variations that change none of them are left out."""
    augmentation = getattr(plan.settings.task, AUGMENTATION)
    original = _examples(plan, images, augmentation.off, 0)
    found = {ORIGINAL: original}
    for name, part in parts(augmentation).items():
        value = getattr(part, name)
        varied = _examples(plan, images, part, 0)
        if any(not a.equals(b) for a, b in zip(varied, original, strict=True)):
            found[name if value is True else f"{name}={value}"] = varied
    for epoch in range(DRAWS if augmentation.any or plan.settings.data.augment else 0):
        found[f"all, epoch {epoch + 1}"] = _examples(plan, images, augmentation, epoch, given=True)
    return found


def _examples(
    plan: Plan, images: ImageCache, augmentation: object, epoch: int, *, given: bool = False
) -> list[Example]:
    """Returns the images of one epoch, in the order of the cache."""
    changed: dict[str, Any] = {AUGMENTATION: augmentation, "plain_epochs": 0}
    task = dataclasses.replace(plan.settings.task, **changed)
    data = dataclasses.replace(plan.settings.data, augment=plan.settings.data.augment if given else None)
    varied = Plan.of(dataclasses.replace(plan.settings, task=task, data=data))
    pipeline = varied.training_pipeline(images, plan.settings.description.size, batch_size=len(images))
    pipeline.order = InOrder(len(images))  # each image once, whichever a batch of the training holds
    batch = {key: value.numpy() for key, value in next(iter(pipeline.training_batches(epoch + 1, epoch))).items()}
    found: list[Example | None] = [None] * len(images)
    for row, index in enumerate(batch["index"]):
        pixels = np.clip(np.rint(batch["image"][row]), 0, 255).astype(np.uint8)
        boxes = batch["boxes_yxyx"][row][batch["valid"][row]] if "valid" in batch else np.zeros((0, 4), np.float32)
        found[index] = Example(pixels, boxes)
    return [each for each in found if each is not None]
