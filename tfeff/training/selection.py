"""Which images a run trains and validates on.

`open_source` opens an experiment's source, once per run; `read` decodes its splits, which `split_plan` has assigned to
training and validation; `choose` takes the run's subset, fold or hold-out. `evaluation_split` finds the images of a
finished run again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfeff import config, tasks
from tfeff.data import folds
from tfeff.data.dataset import Dataset
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.statistics import channel_statistics
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import find_split
from tfeff.errors import UserError
from tfeff.proposals import complete
from tfeff.proposals.records import selective_search
from tfeff.training import split_plan

Progress = Callable[[str, int, int], None]
"""Called with the name of what is being read, images done and images in total."""


@dataclass(frozen=True)
class SplitCaches:
    """The decoded images of an experiment's training and validation split.

    Reading takes long, so runs that differ in network, training, seed or fold can share it.

    Attributes:
        train: the whole training split.
        validation: the whole validation split, if the source has one to validate on.
        settings: the settings that they were read with, by dotted key.
        fingerprint: changes whenever the images may have changed.
        given: whether the caller passed other datasets than those of the experiment's source.
        notes: from the plan.
    """

    train: ImageCache
    validation: ImageCache | None
    settings: Mapping[str, Any]
    fingerprint: str
    given: bool = False
    notes: tuple[str, ...] = ()


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
        fingerprint: of the `SplitCaches`.
        given: of the `SplitCaches`.
        plan_notes: of the `SplitCaches`.
    """

    train: ImageCache
    validation: ImageCache | None
    class_names: tuple[str, ...]
    image_size: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    given: bool
    plan_notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> tuple[str, ...]:
        """Ids of the corrupt images that were skipped, in training and validation split."""
        held_out = self.validation.skipped if self.validation is not None else ()
        return tuple(dict.fromkeys(image.id for image in (*self.train.skipped, *held_out)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the images were chosen, one line each."""
        held_out = self.validation.dataset.notes if self.validation is not None else ()
        return tuple(dict.fromkeys((*self.plan_notes, *self.train.dataset.notes, *held_out)))

    def record(self) -> dict[str, Any]:
        """For the workdir: what evaluation and export need without the images."""
        return {
            "class_names": list(self.class_names),
            "image_size": self.image_size and list(self.image_size),
            "mean": list(self.mean),
            "std": list(self.std),
            "fingerprint": self.fingerprint,
            "given": self.given,
            "train_examples": len(self.train),
            "validation_examples": len(self.validation) if self.validation is not None else 0,
            "train_class_counts": self.train.dataset.class_counts().tolist(),
            "skipped_images": list(self.skipped),
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def open_source(settings: config.Experiment, *, keep_written: bool = False) -> Source:
    """The source of an experiment's images.

    Args:
        settings: the experiment.
        keep_written: see `Dataset.written`.

    Raises:
        UserError: an unknown scheme or name, a missing folder, or data that is not prepared.
    """
    data = settings.data
    options = Options(
        channels=data.channels,
        seed=data_seed(settings),
        data_dir=data.directory,
        download=data.download,
        crop_context=data.crop_context,
        keep_written=keep_written,
    )
    objects = tasks.create(settings.task).annotations == "objects"
    return (catalog.open_objects if objects else catalog.open_labels)(data.source, options)


def load(settings: config.Experiment, source: Source, split: str) -> Dataset:
    """One split of an experiment's source, as its task needs it.

    Raises:
        UserError: no such split, no images, or a single class to classify.
    """
    return tasks.create(settings.task).dataset(source.load(split))


def check(settings: config.Experiment, source: Source) -> None:
    """Reports mistakes in the choice of images before any of them is decoded.

    Raises:
        UserError: see `split_plan.plan`; or the classes of the splits differ, if the source lists them without opening
            files.
    """
    chosen = split_plan.plan(settings, source)
    if not source.lists_cheaply:
        return
    train = load(settings, source, chosen.train)
    for split in (chosen.validation, chosen.test):
        if split is not None:
            _require_same_classes(train, load(settings, source, split), split)


def read(
    settings: config.Experiment,
    progress: Progress,
    given: tuple[Dataset, Dataset] | None = None,
    source: Source | None = None,
) -> SplitCaches:
    """Decodes all images that the experiment trains and validates on.

    Args:
        settings: the experiment.
        progress: called while reading.
        given: training and validation dataset in place of the source's.
        source: `open_source(settings)`, if it is open already.

    Raises:
        UserError: the source is missing, or has corrupt images.
    """
    notes, seeded = tuple[str, ...](), True
    validation: str | None
    held_out: Dataset | None
    if given:
        train, held_out = given
        validation = settings.data.validation_split
    else:
        source = source or open_source(settings)
        chosen = split_plan.plan(settings, source)
        validation, notes, seeded = chosen.validation, chosen.notes, source.seeded
        train = load(settings, source, chosen.train)
        held_out = load(settings, source, validation) if validation is not None else None
    if held_out is not None:
        _require_same_classes(train, held_out, validation or "validation")
    size = image_size(settings, train)
    caches = [None if each is None else cache(settings, each, size, progress) for each in (train, held_out)]
    assert caches[0] is not None
    fingerprint = " ".join(each.fingerprint for each in (train, held_out) if each is not None)
    reading = _reading(settings, train, validation, seeded=seeded)
    return SplitCaches(caches[0], caches[1], reading, fingerprint, given is not None, notes)


def choose(settings: config.Experiment, caches: SplitCaches) -> TrainingData:
    """The training and validation images of an experiment: its subset, fold or hold-out of the decoded splits.

    Raises:
        UserError: folds or subsets that cannot be drawn, or that lack a class; fewer images than a batch.
        ValueError: the images were read under other settings.
    """
    data = settings.data
    validation_split = caches.settings["data.validation_split"]
    if data.folds is not None and data.validation_split is None:
        validation_split = None
    elif data.validation_split is not None and find_split(data.validation_split, (validation_split or "",)) is None:
        validation_split = data.validation_split
    seeded = caches.settings["data.seed"] is not None
    wanted = _reading(settings, caches.train.dataset, validation_split, seeded=seeded)
    changed = [
        f"{key}: {caches.settings[key]!r} then, {wanted[key]!r} now"
        for key in wanted
        if caches.settings[key] != wanted[key]
    ]
    if changed:
        raise ValueError(f"the images were read under other settings ({'; '.join(changed)}); read them again")
    part = fold(settings, caches.train.dataset, validates=caches.validation is not None)
    train, validation = caches.train, caches.validation
    if part is not None:
        train = caches.train.take(part.train)
        validation = caches.train.take(part.validation) if len(part.validation) else caches.validation
    limit = data.validation_examples
    if validation is not None and limit is not None and limit < len(validation):
        validation = validation.take(folds.subset(_strata(validation.dataset), limit, data_seed(settings)))
    if len(train) < settings.training.batch_size:
        raise UserError(
            f"config: training.batch_size: {train.dataset.name}: {len(train)} training images are fewer than one batch "
            f"of {settings.training.batch_size}; use at most {len(train)}"
        )
    mean, std = data.mean or (), data.std or ()
    if data.mean is None and data.normalization == "dataset":
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
        plan_notes=caches.notes,
    )


def fold(settings: config.Experiment, dataset: Dataset, *, validates: bool) -> folds.Fold | None:
    """Which images of the training split to train on, and which to hold out for validation; None: all train.

    Args:
        settings: the experiment.
        dataset: the training split.
        validates: whether there is a validation split, so that nothing needs to be held out.

    Raises:
        UserError: folds or subsets that cannot be drawn, or that lack a class.
    """
    wanted, labels = settings.data.train_examples, _strata(dataset)
    if wanted is None:
        return _fold(settings, dataset, np.arange(len(labels)), validates)
    drawn = folds.subset(labels, wanted, data_seed(settings))
    what = f"config: data.train_examples: the subset of {dataset.name}"
    folds.require_every_class(labels, drawn, what, "draw more", dataset.class_names)
    part = _fold(settings, dataset, drawn, validates)
    if part is None:
        return folds.Fold(train=drawn, validation=drawn[:0])
    return folds.Fold(train=drawn[part.train], validation=drawn[part.validation])


def _strata(dataset: Dataset) -> np.ndarray:
    """int [n], groups of images whose proportions all parts keep: their classes, if they have one each."""
    return dataset.labels if dataset.has_labels else np.zeros(len(dataset), np.int32)


def _fold(settings: config.Experiment, dataset: Dataset, drawn: np.ndarray, validates: bool) -> folds.Fold | None:
    data, names, seed = settings.data, dataset.class_names, data_seed(settings)
    labels, groups = _strata(dataset)[drawn], None if dataset.groups is None else dataset.groups[drawn]
    if data.folds is not None:
        key = "data.folds" if data.fold_examples is None else "data.fold_examples"
        try:
            if data.fold_examples is None:
                return folds.k_folds(labels, data.folds, seed, names, groups)[data.fold]
            held_out = round(data.fold_examples * data.validation_fraction) if data.validation_split is None else 0
            return folds.independent_folds(labels, data.folds, data.fold_examples, held_out, seed, names, groups)[
                data.fold
            ]
        except UserError as error:
            raise UserError(f"config: {key}: {dataset.name}: {error}") from None
    if data.validation_fraction == 0 or validates:
        return None
    try:
        return folds.holdout(labels, data.validation_fraction, seed, names, groups)
    except UserError as error:
        raise UserError(f"config: data.validation_fraction: {dataset.name}: {error}") from None


def data_seed(settings: config.Experiment) -> int:
    """The seed of everything that is drawn from the images."""
    return settings.seed if settings.data.seed is None else settings.data.seed


def image_size(settings: config.Experiment, dataset: Dataset) -> tuple[int, int] | None:
    """(height, width) to which each image is resized at loading; None: images are not resized."""
    task, model, wanted = tasks.create(settings.task), settings.model, settings.data.image_size
    if wanted == "original":
        return None
    if wanted is None and dataset.size is not None and task.center_crop is None:
        side = min(dataset.size)
        return (side, side) if task.fit == "crop" else dataset.size
    height, width = task.describe(model.name, resolution=model.resolution, **model.options()).size
    scale = 1 / (task.center_crop or 1.0) if wanted is None else wanted / max(height, width)
    return round(height * scale), round(width * scale)


def cache(
    settings: config.Experiment, dataset: Dataset, size: tuple[int, int] | None, progress: Progress
) -> ImageCache:
    """The decoded images of a dataset; stores their missing proposals if the task needs them."""
    task = tasks.create(settings.task)
    images = ImageCache.open(
        dataset,
        size,
        fit=task.fit,
        interpolation=task.interpolation,
        cache=settings.data.cache,
        directory=settings.data.cache_directory,
        corrupt_images=settings.data.corrupt_images,
        progress=lambda done, total: progress(dataset.name, done, total),
    )
    if task.proposals is not None:
        name, total = f"{dataset.name} (proposals)", len(images)
        complete(
            selective_search(task.proposals),
            task.proposals.store,
            images.dataset,
            lambda counts: progress(name, counts.processed, total),
            key="task.proposals.directory",
            wait=True,
        )
    return images


def _reading(settings: config.Experiment, dataset: Dataset, validation: str | None, *, seeded: bool) -> dict[str, Any]:
    """The settings that determine how images are read, by dotted key."""
    data, task = settings.data, tasks.create(settings.task)
    return {
        "task.name": settings.task.name,
        "task.fit": task.fit,
        "task.interpolation": task.interpolation,
        "data.source": data.source,
        "data.directory": data.directory,
        "data.channels": data.channels,
        "data.image_size": image_size(settings, dataset),
        "data.train_split": data.train_split,
        "data.validation_split": validation,
        "data.corrupt_images": data.corrupt_images,
        "data.crop_context": data.crop_context,
        "data.seed": data_seed(settings) if seeded else None,
    }


def unchanged(now: str, then: str) -> bool:
    """Whether two fingerprints are those of the same images. The previous version's differ in length for images with
    objects and for crops; they cannot be compared and are accepted."""
    return now == then or len(now) != len(then)


def _require_same_classes(train: Dataset, other: Dataset, split: str) -> None:
    if train.class_names != other.class_names:
        different = sorted(set(train.class_names) ^ set(other.class_names))
        raise UserError(f"{train.name}: the classes of {split} differ from those of the training split: {different}")
