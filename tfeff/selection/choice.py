"""The images of one run: its subset, fold or hold-out of the decoded splits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfeff.data import folds
from tfeff.data.contents import Contents
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.statistics import channel_statistics
from tfeff.data.sources import tiles
from tfeff.data.sources.source import Source
from tfeff.data.splits import find_split
from tfeff.errors import UserError
from tfeff.selection.fingerprint import Fingerprint
from tfeff.selection.reading import SplitCaches, reading_settings, skipped_note
from tfeff.selection.splits import Request, assign, load, require_objects


@dataclass(frozen=True)
class TrainingData:
    """The images of one run, and what its network must know about them.

    Attributes:
        train: images to train on.
        validation: images to validate on, if any.
        class_names: one per class.
        image_size: (height, width) to which images were resized at loading; None if they were not.
        mean: per channel, in pixel units; empty for the network family's own.
        std: per channel, in pixel units; empty for the network family's own.
        fingerprint: see `SplitCaches`.
        given: see `SplitCaches`.
        plan_notes: `notes` of the `SplitCaches`.
        found: see `SplitCaches`.
    """

    train: ImageCache
    validation: ImageCache | None
    class_names: tuple[str, ...]
    image_size: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: Fingerprint
    given: bool
    plan_notes: tuple[str, ...] = ()
    found: Mapping[str, Contents] = field(default_factory=dict)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Ids of the corrupt images that were skipped, in training and validation split."""
        held_out = self.validation.skipped if self.validation is not None else ()
        return tuple(dict.fromkeys(image.id for image in (*self.train.skipped, *held_out)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the images were chosen, one line each."""
        held_out = self.validation.dataset.notes if self.validation is not None else ()
        notes = *self.plan_notes, *self.train.dataset.notes, *held_out, *skipped_note(self.skipped)
        return tuple(dict.fromkeys(notes))

    def record(self) -> dict[str, Any]:
        """Returns what evaluation and export need without the images, for the workdir."""
        train = self.train.dataset
        return {
            "class_names": list(self.class_names),
            **({"class_ids": list(class_ids)} if (class_ids := train.class_ids) else {}),
            "image_size": self.image_size and list(self.image_size),
            "mean": list(self.mean),
            "std": list(self.std),
            "given": self.given,
            "train_examples": len(self.train),
            "validation_examples": len(self.validation) if self.validation is not None else 0,
            **({"train_class_counts": train.class_counts().tolist()} if train.has_labels else {}),
            "found": {role: each.to_dict() for role, each in self.found.items()},
            "skipped_images": list(self.skipped),
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def validation_images(wanted: Request, caches: SplitCaches) -> ImageCache | None:
    """Returns all images that a run can be validated on, not only `data.validation_examples`; None without validation.

    Raises:
        UserError: folds or subsets that cannot be drawn, or that lack a class.
        ValueError: the images were read under other settings.
    """
    return _drawn(replace(wanted, data=replace(wanted.data, validation_examples=None)), caches)[1]


def trained_part(wanted: Request, source: Source) -> tuple[Dataset, np.ndarray]:
    """Returns the training split, and the places in it of the images that a run trains on, int64 [m], rising.

    Raises:
        UserError: splits, folds or subsets that cannot be drawn.
    """
    chosen = assign(wanted, source)
    train = load(wanted, source, chosen.train)
    part = fold(wanted, train, validates=chosen.validation is not None)
    return train, np.arange(len(train)) if part is None else part.train


def choose(wanted: Request, caches: SplitCaches) -> TrainingData:
    """Returns the training and validation images of an experiment: its subset, fold or hold-out of the decoded splits.

    Raises:
        UserError: folds or subsets that cannot be drawn, or that lack a class; fewer images than a batch.
        ValueError: the images were read under other settings.
    """
    data, (train, validation) = wanted.data, _drawn(wanted, caches)
    if len(train) < wanted.batch_size and not wanted.task.section.CUTS_REGIONS:
        raise UserError(
            f"config: training.batch_size: {train.dataset.name}: {len(train)} training images are fewer than one batch "
            f"of {wanted.batch_size}; use at most {len(train)}"
        )
    require_objects(train.dataset, "train on")
    if validation is not None:
        advice = (
            "annotate some, or choose others: data.validation_fraction (0 for none), data.validation_split, data.fold"
        )
        require_objects(validation.dataset, "validate on", advice)
    unseen = _unseen_classes(caches.datasets[0], train.dataset)
    mean, std = tuple[float, ...](), tuple[float, ...]()
    if data.normalization == "dataset":
        mean, std = (tuple(map(float, values)) for values in channel_statistics(train))
    return TrainingData(
        train=train,
        validation=validation,
        class_names=train.dataset.class_names,
        image_size=train.image_size,
        mean=mean,
        std=std,
        fingerprint=caches.fingerprint,
        given=caches.given,
        plan_notes=(*caches.notes, *unseen),
        found=caches.found,
    )


def _unseen_classes(whole: Dataset, train: Dataset) -> tuple[str, ...]:
    """Returns the classes of a split whose objects are all in images that are not trained on: one line, or none."""
    if not whole.has_objects or whole.has_labels:
        return ()
    missing = sorted(_shown(whole.objects) - _shown(train.objects))
    if not missing:
        return ()
    names = ", ".join(f'"{whole.class_names[label]}"' for label in missing)
    return (f"{whole.name}: no image to train on shows {names}, which the network cannot learn",)


def _shown(objects: Iterable[Objects]) -> set[int]:
    """Returns the classes of the objects of some images, without ignored ones."""
    return set[int]().union(*(each.labels[~each.ignored].tolist() for each in objects))


def _drawn(wanted: Request, caches: SplitCaches) -> tuple[ImageCache, ImageCache | None]:
    """Returns the readable training and validation images; raises as `validation_images`."""
    data = wanted.data
    validation_split = caches.settings["data.validation_split"]
    if data.folds is not None and data.validation_split is None:
        validation_split = None
    elif data.validation_split is not None and find_split(data.validation_split, (validation_split or "",)) is None:
        validation_split = data.validation_split
    seeded = caches.settings["data.seed"] is not None
    whole, validated = caches.datasets
    now = reading_settings(wanted, whole, validation_split, seeded=seeded)
    changed = [
        f"{key}: {caches.settings[key]!r} then, {now[key]!r} now" for key in now if caches.settings[key] != now[key]
    ]
    if changed:
        raise ValueError(f"the images were read under other settings ({'; '.join(changed)}); read them again")
    part = fold(wanted, whole, validates=caches.validation is not None)
    train, validation = caches.train, caches.validation
    places = np.arange(0 if validated is None else len(validated))
    if part is not None:
        train = _readable(train, part.train)
        what = f"config: data.corrupt_images: {whole.name}: without corrupt images, the training part"
        folds.require_every_class(_strata(whole), train.rows, what, "replace those images", whole.class_names)
        if len(part.validation):
            validation, validated, places = caches.train, whole, part.validation
    if validation is None or validated is None:
        return train, None
    dataset = validation.dataset.merged(class_agnostic=wanted.task.class_agnostic)
    validation = replace(validation, dataset=dataset)
    limit = data.validation_examples
    if limit is not None:
        places = _limited(validated, places, limit, wanted.seed)
    return train, validation if len(places) == len(validated) else _readable(validation, places)


def _limited(dataset: Dataset, places: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Returns at most `limit` of the images at `places`, drawn; of tiles, all those of so many images."""
    if dataset.grid is not None:
        assert dataset.cropped is not None
        owners = dataset.owners[places]
        return places[np.isin(owners, _limited(dataset.cropped, np.unique(owners), limit, seed))]
    if limit >= len(places):
        return places
    return places[folds.subset(_strata(dataset)[places], limit, seed)]


def _readable(images: ImageCache, places: np.ndarray) -> ImageCache:
    """Returns the images at `places` (int [m], sorted) of a split, without the corrupt ones."""
    return images.take(np.flatnonzero(np.isin(images.rows, places)))


def fold(wanted: Request, dataset: Dataset, *, validates: bool) -> folds.Fold | None:
    """Returns which images of the training split to train on, and which to hold out for validation; None: all train.

    Args:
        wanted: what the run asks of its images.
        dataset: the training split, with its corrupt images.
        validates: whether there is a validation split, so that nothing needs to be held out.

    Raises:
        UserError: folds or subsets that cannot be drawn, or that lack a class.
    """
    part = _drawn_part(wanted, dataset, validates=validates)
    if dataset.grid is None:
        return part
    part = part or folds.Fold(train=np.arange(len(dataset)), validation=np.arange(0))
    return replace(part, train=tiles.trained_on(dataset, part.train, wanted.seed))


def _drawn_part(wanted: Request, dataset: Dataset, *, validates: bool) -> folds.Fold | None:
    """Returns what `fold` does, with all tiles of the images to train on."""
    # As for a detector on the images themselves.
    if dataset.cropped is not None and (wanted.data.folds is None or dataset.grid is not None):
        of_images = _drawn_part(wanted, dataset.cropped, validates=validates)
        if of_images is None:
            return None
        sides = (np.flatnonzero(np.isin(dataset.owners, side)) for side in (of_images.train, of_images.validation))
        return folds.Fold(*sides)
    count, labels = wanted.data.train_examples, _strata(dataset)
    if count is None:
        return _fold(wanted, dataset, np.arange(len(labels)), validates)
    drawn = _subset("data.train_examples", dataset, labels, count, wanted.seed)
    part = _fold(wanted, dataset, drawn, validates)
    if part is None:
        return folds.Fold(train=drawn, validation=drawn[:0])
    return folds.Fold(train=drawn[part.train], validation=drawn[part.validation])


def _strata(dataset: Dataset) -> np.ndarray:
    """Returns int [n], groups of images whose proportions all parts keep: their classes, if they have one each."""
    return dataset.labels if dataset.has_labels else np.zeros(len(dataset), np.int32)


def _subset(key: str, dataset: Dataset, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Returns the positions of `count` images of those with these labels, with every class.

    Raises:
        UserError: there are fewer images, or a class would have none; the message names the key.
    """
    try:
        drawn = folds.subset(labels, count, seed)
        folds.require_every_class(labels, drawn, "the subset", "draw more", dataset.class_names)
    except UserError as error:
        raise UserError(f"config: {key}: {dataset.name}: {error}") from None
    return drawn


def _fold(wanted: Request, dataset: Dataset, drawn: np.ndarray, validates: bool) -> folds.Fold | None:
    data, seed = wanted.data, wanted.seed
    names = dataset.class_names if dataset.has_labels else ()
    labels, groups = _strata(dataset)[drawn], None if dataset.groups is None else dataset.groups[drawn]
    if data.folds is not None:
        key = "data.folds" if data.fold_examples is None else "data.fold_examples"
        try:
            if data.fold_examples is None:
                parts = folds.k_folds(labels, data.folds, seed, names, groups)
            else:
                held_out = round(data.fold_examples * data.validation_fraction) if data.validation_split is None else 0
                parts = folds.independent_folds(labels, data.folds, data.fold_examples, held_out, seed, names, groups)
        except UserError as error:
            raise UserError(f"config: {key}: {dataset.name}: {error}") from None
        part, count = parts[data.fold], data.fold_train_examples
        if count is None:
            return part
        fewer = _subset("data.fold_train_examples", dataset, labels[part.train], count, seed)
        return folds.Fold(train=part.train[fewer], validation=part.validation)
    if data.validation_fraction == 0 or validates:
        return None
    detects = dataset.has_objects and not dataset.has_labels
    if detects:  # else all of few images with objects could be in one part
        labels = np.array([not each.ignored.all() for each in dataset.objects])[drawn]
    try:
        part = folds.holdout(labels, data.validation_fraction, seed, names, groups, every_class=not detects)
    except UserError as error:
        raise UserError(f"config: data.validation_fraction: {dataset.name}: {error}") from None
    if not detects:
        return part
    if groups is not None:
        part = _with_objects(labels, part, groups, seed)
    return _with_every_class(dataset, drawn, part, groups)


def _with_objects(showing: np.ndarray, part: folds.Fold, groups: np.ndarray, seed: int) -> folds.Fold:
    """Returns a hold-out that also gets a group of images with objects if none of its images shows any.

    The training part keeps a group with objects, so nothing changes if there is only one.

    Args:
        showing: bool [n], whether each image shows objects.
        part: the hold-out.
        groups: int64 [n], the group of each image.
        seed: seed of the draw.
    """
    candidates = np.unique(groups[showing])
    if showing[part.validation].any() or len(candidates) < 2:
        return part
    moved = np.flatnonzero(groups == np.random.default_rng(seed).choice(candidates))
    return folds.Fold(train=np.setdiff1d(part.train, moved), validation=np.union1d(part.validation, moved))


def _with_every_class(dataset: Dataset, drawn: np.ndarray, part: folds.Fold, groups: np.ndarray | None) -> folds.Fold:
    """Returns a hold-out with the images trained on that alone show a class, as long as others with objects are held
    out.

    Args:
        dataset: images with objects, so that no label could be drawn in proportion.
        drawn: images of the dataset from which the parts were drawn.
        part: what was drawn.
        groups: see `folds`.
    """
    shown = [_shown([dataset.objects[index]]) for index in drawn]
    trained = set[int]().union(*(shown[index] for index in part.train))
    train, validation = part.train, part.validation
    for index in part.validation.tolist():
        if shown[index] <= trained:
            continue
        together = np.array([index]) if groups is None else np.flatnonzero(groups == groups[index])
        others = np.setdiff1d(validation, together)
        if any(shown[each] for each in others):
            train, validation = np.append(train, together), others
            trained.update(*(shown[each] for each in together))
    return folds.Fold(train=np.sort(train), validation=validation)
