"""What a run asks of its images, and which splits of a source it trains, validates and tests on."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfeff import config, tasks
from tfeff.data.contents import Contents, require_enough
from tfeff.data.dataset import Dataset
from tfeff.data.input.cache import ImageCache
from tfeff.data.names import listed
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Source, UngroupedError
from tfeff.data.splits import namesakes
from tfeff.errors import UserError, nearest
from tfeff.proposals import complete
from tfeff.proposals.records import method
from tfeff.reporting.progress import Bar
from tfeff.tasks.task import ImageTask

_DEFAULT_FRACTION = config.Data.validation_fraction


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a run asks of its images.

    Attributes:
        data: the section of the config.
        seed: seed of everything that is drawn from the images.
        task: decides what is annotated, and how images are brought to the size of the network's input.
        network_size: returns (height, width) of the network's input.
        batch_size: minimum number of training images.
        directory: folder of the list of corrupt images, if `data` names no other; None: all images are decoded again
            whenever they are opened.
    """

    data: config.Data
    seed: int
    task: ImageTask
    network_size: Callable[[], tuple[int, int]]
    batch_size: int
    directory: Path | None = None


def request(settings: config.Experiment, directory: Path | None = None) -> Request:
    """Returns what an experiment asks of its images; `directory`: see `Request`.

    Raises:
        UserError: the task is not trained in tiles.
    """
    data = settings.data
    if data.tile is not None and not settings.task.TILES:
        data.wrong("tile", f"none: task.name={settings.task.name} is not trained in tiles")
    return Request(
        data=data,
        seed=settings.seed if data.seed is None else data.seed,
        task=tasks.create(settings.task),
        network_size=lambda: settings.description.size,
        batch_size=settings.training.batch_size,
        directory=directory,
    )


@dataclass(frozen=True)
class Splits:
    """The splits of a source for training, validation and test.

    Attributes:
        train: the split to train on.
        validation: the split to validate on; None if a part of the training split is held out, or nothing.
        test: the split to test on; None if there is none.
        notes: what the user should know about this choice, one line each.
    """

    train: str
    validation: str | None
    test: str | None
    notes: tuple[str, ...] = ()


def open_source(wanted: Request, *, keep_raw_annotations: bool = False) -> Source:
    """Returns the source of a run's images.

    Args:
        wanted: what the run asks of its images.
        keep_raw_annotations: see `Dataset.raw_annotations`.

    Raises:
        UserError: an unknown scheme or name, a missing folder, or data that is not prepared.
    """
    data = wanted.data
    options = replace(
        data.options(wanted.seed, further_classes=wanted.task.section.OPEN_SET),
        crop_proposals=None if data.proposals.directory is None else functools.partial(_proposed, data),
        keep_raw_annotations=keep_raw_annotations,
        grid=data.grid and replace(data.grid, class_agnostic=wanted.task.class_agnostic),
    )
    objects = wanted.task.kind.annotations == "objects"
    return (catalog.open_objects if objects else catalog.open_labels)(data.source, options)


def _proposed(data: config.Data, images: Dataset) -> list[np.ndarray | None]:
    """Returns proposals of each image, boxes_yxyx float32 [n, 4]; those missing from the store are computed.

    None stands for those of an image that cannot be read, if the run skips such images.
    """
    section = data.proposals
    with Bar(f"proposals of {images.name}", len(images), "images") as bar:
        store = complete(
            method(section),
            section.store,
            images,
            lambda counts: bar.show(counts.processed, counts.computed),
            key="data.proposals.directory",
            wait=True,
            skip=data.corrupt_images == "skip",
        )
    found = (store.find(images, index) for index in range(len(images)))
    return [None if each is None else each.first(section.max_proposals).boxes_yxyx for each in found]


def load(wanted: Request, source: Source, split: str) -> Dataset:
    """Returns one split of a run's source, as its task needs it.

    If the task allows classes that are not trained on, those have the last numbers, and the training split does not
    name them.

    Raises:
        UserError: no such split, no images, a single class to classify, or no image of the training split that
            matches `data.groups`.
    """
    dataset, train = source.load(split), source.find(wanted.data.train_split)
    annotated = dataset.cropped or dataset
    if wanted.data.groups is not None and annotated.groups is None and source.find(split) == train:
        raise UngroupedError(annotated.name, wanted.data.groups, annotated.ids)
    if wanted.task.section.OPEN_SET and train is not None:
        dataset = _trained_first(dataset, source.load(train))
    return wanted.task.dataset(dataset)


def _trained_first(dataset: Dataset, train: Dataset) -> Dataset:
    """Returns a split in which the classes with training images have the first numbers."""
    counts = train.class_counts()
    trained, others = np.flatnonzero(counts), np.flatnonzero(counts == 0)
    if not len(others):
        return dataset
    order = trained if dataset is train else np.concatenate([trained, others])
    number = np.full(len(counts), -1)
    number[order] = np.arange(len(order))
    new = dataset.class_counts()[others]
    names = listed([dataset.class_names[index] for index in others[new > 0]])
    note = f"{dataset.name}: {new.sum():,} of {len(dataset):,} images are of classes that are not trained on: {names}"
    return replace(
        dataset,
        class_names=tuple(dataset.class_names[index] for index in order),
        class_ids=[dataset.class_ids[index] for index in order] if dataset.class_ids else (),
        labels=number[dataset.labels],
        notes=(*dataset.notes, note) if new.any() else dataset.notes,
    )


def assign(wanted: Request, source: Source) -> Splits:
    """Chooses the splits for training, validation and test.

    The validation split is the one the config names; else, without folds, the source's own one, unless it is the test
    split or all its images are also in the training or the test split. If only some are, the source leaves these out of
    it.

    Raises:
        UserError: a split that the config names does not exist or could be several ones, or is the training split.
    """
    data = wanted.data
    train = _named(source, "data.train_split", data.train_split)
    test = find(source, "data.test_split", data.test_split) if data.test_split is not None else None
    if test is None and data.test_split not in (None, config.Data.test_split):
        test = _named(source, "data.test_split", data.test_split)
    validation, notes = None, list[str]()
    if data.validation_split is not None:
        validation = _named(source, "data.validation_split", data.validation_split)
    elif data.folds is None:
        validation = find(source, "data.validation_split", "validation")
        if validation == test:
            validation = None
        if validation is not None:
            validation, notes = apart(source, validation, [train] if test is None else [train, test])
    for key, split in (("test_split", test), ("validation_split", validation)):
        if split is not None and (shared := source.shared(train, split)):
            raise UserError(
                f'config: data.{key}: "{split}" shares images with data.train_split = "{train}": {listed(shared)}; '
                "choose another split, or list each image in one of them"
            )
    if test is not None and test == validation:
        notes.append(f'{source.name}: the validation split "{test}" is also the test split')
    elif test is not None and validation is not None and (shared := source.shared(test, validation)):
        where = f'images of the validation split "{validation}" are also in the test split "{test}"'
        notes.append(f"{source.name}: {len(shared):,} {where}, first: {shared[0]}")
    if (
        validation is not None
        and data.validation_split is None
        and data.validation_fraction not in (0, _DEFAULT_FRACTION)
    ):
        notes.append(
            f'{source.name}: data.validation_fraction is not used, since the source has a split "{validation}"'
        )
    return Splits(train, validation, test, tuple(notes))


def apart(source: Source, validation: str, others: Sequence[str]) -> tuple[str | None, list[str]]:
    """Leaves the images of other splits out of the source's validation split.

    Returns:
        The validation split, or None if nothing is left of it; and what the user should know, one line each.

    Raises:
        UserError: some are left out, and defects stop.
    """
    for other in others:
        shared = source.shared(other, validation)
        if shared and len(shared) == len(source.annotated(validation)):
            where = f'images of the split "{validation}" are also in "{other}"'
            return None, [f"{source.name}: all {len(shared):,} {where}; it is not validated on"]
        if shared:
            source.leave_out(validation, shared, f'image that is also in "{other}" and left out')
    return validation, []


def check(wanted: Request, source: Source) -> dict[str, Contents]:
    """Reports mistakes in the choice of images, and in their annotations, before any image is decoded.

    Returns:
        What the splits for `train`, `validation` and `test` hold; the test split only if that is known without reading
        the images.

    Raises:
        UserError: see `assign`; too much is lost, there is nothing to train on, or the classes of the splits differ.
    """
    chosen = assign(wanted, source)
    splits = {"train": chosen.train, "validation": chosen.validation, "test": chosen.test}
    if not source.lists_cheaply:
        splits["test"] = None
    found = {
        role: contents(wanted, source.annotated(split), trained=role == "train")
        for role, split in splits.items()
        if split is not None
    }
    require_enough(found, wanted.data.max_lost)
    if source.lists_cheaply:
        train = load(wanted, source, chosen.train)
        for split in (chosen.validation, chosen.test):
            if split is not None:
                other = load(wanted, source, split)
                require_same_classes(train, other, open_set=wanted.task.section.OPEN_SET)
                if not source.drawn:
                    require_trained_classes(wanted, train, other)
    return found


def contents(wanted: Request, dataset: Dataset, cache: ImageCache | None = None, *, trained: bool = False) -> Contents:
    """Returns what a split holds for a run.

    Args:
        wanted: what the run asks of its images.
        dataset: the split as it is annotated.
        cache: its decoded images, without the corrupt ones.
        trained: whether it is the split to train on, where the task may limit the objects of an image, and drops those
            that are too small at the network's size.
    """
    corrupt = dict[str, str]()
    if cache is not None:
        # Ids of crops: that of the image, and the box.
        crops = cache.dataset.cropped is not None and dataset.cropped is None
        corrupt = {image.id.rpartition(" [")[0] if crops else image.id: image.reason for image in cache.skipped}
    reading = wanted.task.reading
    if not trained or reading.max_objects is None:
        return Contents.of(dataset, corrupt=corrupt)
    size, stretch = wanted.network_size(), reading.fit == "stretch"
    return Contents.of(dataset, reading.max_objects, corrupt, size=size, stretch=stretch)


def require_same_classes(dataset: Dataset, other: Dataset, *, open_set: bool = False) -> None:
    """Requires the same classes in the same order, so that labels mean the same.

    With `open_set`, `other` may have further classes after them.

    Raises:
        UserError: they differ.
    """
    if dataset.class_names != (other.class_names[: dataset.num_classes] if open_set else other.class_names):
        raise UserError(
            f"{other.name} has the classes {', '.join(other.class_names)}; {dataset.name} has "
            f"{', '.join(dataset.class_names)}: all splits must have the same classes in the same order"
        )


def require_trained_classes(wanted: Request, train: Dataset, other: Dataset) -> None:
    """Requires training images of all classes of another split, unless the task allows classes without any.

    Raises:
        UserError: a class has none.
    """
    if wanted.task.section.OPEN_SET or not train.has_labels or train.cropped is not None:
        return
    unknown = np.flatnonzero((train.class_counts() == 0) & (other.class_counts() > 0))
    if len(unknown):
        names = listed([train.class_names[index] for index in unknown])
        raise UserError(
            f"{train.name} has no images of {names}, which {other.name} has; add images of them to train on, or leave "
            "them out"
        )


class NoObjectsError(UserError):
    """Images without any object to train on or to find."""


def require_objects(dataset: Dataset, purpose: str, advice: str = "") -> None:
    """Requires of images with annotated objects at least one that is neither difficult nor a crowd.

    Args:
        dataset: the images.
        purpose: what they are for, for the message.
        advice: what to do, for the message.

    Raises:
        NoObjectsError: there is none.
    """
    if dataset.has_objects and all(objects.ignored.all() for objects in dataset.objects):
        text = f"{dataset.name}: the {len(dataset)} images to {purpose} have no objects"
        raise NoObjectsError(f"{text}; {advice}" if advice else text)


def _named(source: Source, key: str, split: str) -> str:
    found = find(source, key, split)
    if found is None:
        raise UserError(f'config: {key}: {source.name} has no split "{split}"; {nearest(split, source.splits)}')
    return found


def find(source: Source, key: str, split: str) -> str | None:
    """Returns the split of a source that a key of the config means; None if there is none.

    Raises:
        UserError: there are several.
    """
    found, same = source.find(split), namesakes(split, source.splits)
    if found is None and same:
        raise UserError(f'config: {key}: "{split}" could be {" or ".join(same)} of {source.name}; name one of them')
    return found
