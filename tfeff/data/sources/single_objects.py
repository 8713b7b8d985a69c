"""A dataset with boxes as images with exactly one object each: what a localizer trains on."""

import dataclasses

import numpy as np

from tfeff.boxes import area
from tfeff.data.dataset import Dataset, Objects
from tfeff.errors import UserError


def single_objects(dataset: Dataset) -> Dataset:
    """Every image with one object, its label and its box.

    If an image has several objects, the largest is used (the first of equal ones). Difficult objects and crowds do not
    count. Images without an object are skipped. The result's `notes` hold both counts.

    Args:
        dataset: with objects.

    Raises:
        UserError: no image has an object.
    """
    kept, chosen, several = list[int](), list[Objects](), 0
    for index, objects in enumerate(dataset.objects):
        counted = np.flatnonzero(~objects.ignored)
        if not len(counted):
            continue
        several += len(counted) > 1
        largest = counted[area(objects.boxes_yxyx[counted]).argmax()]
        kept.append(index)
        chosen.append(objects.take(np.array([largest])))
    if not kept:
        raise UserError(f"{dataset.name}: none of its {len(dataset)} images has an object to localize")
    return dataclasses.replace(
        dataset.take(np.array(kept)),
        name=f"objects:{dataset.name}",
        objects=chosen,
        labels=np.array([objects.labels[0] for objects in chosen], np.int32),
        notes=_notes(dataset, len(dataset) - len(kept), several),
    )


def _notes(dataset: Dataset, empty: int, several: int) -> tuple[str, ...]:
    notes = []
    if empty:
        notes.append(f"{dataset.name}: skipped {empty} of {len(dataset)} images, which have no object")
    if several:
        notes.append(f"{dataset.name}: {several} of {len(dataset)} images have several objects; the largest is used")
    if dataset.defects.counts:
        notes.append(f"{dataset.name}: annotations fixed or skipped:\n{dataset.defects.text()}")
    return tuple(notes)
