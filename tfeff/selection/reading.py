"""The decoded splits of a run, with corrupt images refused or skipped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tfeff.config import FasterRCNNSettings, YoloSettings
from tfeff.data.augment.policy import BoxAugmentation
from tfeff.data.contents import Contents, require_enough
from tfeff.data.dataset import Dataset
from tfeff.data.images.resizing import shrinkage
from tfeff.data.images.unreadable import IN_RUN
from tfeff.data.input.cache import ImageCache
from tfeff.data.names import counted
from tfeff.data.sources.source import Source
from tfeff.proposals import complete
from tfeff.proposals.records import method
from tfeff.selection.fingerprint import Fingerprint
from tfeff.selection.splits import (
    Request,
    assign,
    contents,
    load,
    open_source,
    require_same_classes,
    require_trained_classes,
)

Progress = Callable[[str, int, int], None]
"""Called with the name of what is being read, images done and images in total."""


@dataclass(frozen=True)
class SplitCaches:
    """The decoded images of an experiment's training and validation split.

    Reading takes long, so runs that differ in network, training, seed or fold can share it.

    Attributes:
        train: the whole training split.
        validation: the whole validation split, if the source has one to validate on.
        datasets: both splits with the corrupt images, so that these do not change what is drawn from them.
        settings: the settings that they were read with, by dotted key.
        fingerprint: fingerprint of both splits, to notice changes.
        given: whether the caller passed other datasets than those of the experiment's source.
        notes: notes on the choice of splits.
        found: what the splits hold, by role.
        test: the images of the test split that can be decoded, if that was checked.
    """

    train: ImageCache
    validation: ImageCache | None
    datasets: tuple[Dataset, Dataset | None]
    settings: Mapping[str, Any]
    fingerprint: Fingerprint
    given: bool = False
    notes: tuple[str, ...] = ()
    found: Mapping[str, Contents] = field(default_factory=dict)
    test: Dataset | None = None


def read(
    wanted: Request,
    progress: Progress,
    given: tuple[Dataset, Dataset] | None = None,
    source: Source | None = None,
    checked: Mapping[str, Contents] | None = None,
) -> SplitCaches:
    """Decodes all images that the experiment trains and validates on, and checks those that it is tested on.

    Args:
        wanted: what the run asks of its images.
        progress: called while reading.
        given: training and validation dataset in place of the source's.
        source: `open_source(wanted)`, if it is open already.
        checked: what `check` found. If it counted the test split, its images are decoded once, too, but not kept, so
            that corrupt ones are found before the run is trained.

    Raises:
        UserError: the source is missing, has corrupt images, or has lost too much to defects.
    """
    notes, seeded = tuple[str, ...](), True
    validation: str | None
    held_out: Dataset | None
    annotated: tuple[Dataset, Dataset | None]
    test: str | None = None
    if given:
        train, held_out = given
        annotated = given
        validation = wanted.data.validation_split
    else:
        source = source or open_source(wanted)
        chosen = assign(wanted, source)
        validation, notes, seeded = chosen.validation, chosen.notes, source.seeded
        test = chosen.test if checked and "test" in checked and chosen.test != validation else None
        train = load(wanted, source, chosen.train)
        held_out = load(wanted, source, validation) if validation is not None else None
        annotated = source.annotated(chosen.train), source.annotated(validation) if validation is not None else None
    if held_out is not None:
        require_same_classes(train, held_out, open_set=wanted.task.section.OPEN_SET)
        if source is not None and not source.drawn:
            require_trained_classes(wanted, train, held_out)
    size = image_size(wanted, train)
    notes = *notes, *_reduction_note(wanted, train, size), *_mixing_note(wanted, train)
    for split in filter(None, (train, held_out)):
        notes = *notes, *detections_note(wanted, split)
    caches = [None if each is None else cache(wanted, each, size, progress) for each in (train, held_out)]
    assert caches[0] is not None
    found = dict(checked or {})
    for role, dataset, cached in zip(("train", "validation"), annotated, caches, strict=True):
        if dataset is not None and cached is not None and (role not in found or cached.skipped):
            found[role] = contents(wanted, dataset, cached, trained=role == "train")
    tested = None
    if test is not None and source is not None:
        tested = decodable(wanted, load(wanted, source, test), size, progress)
        if tested.skipped:
            found["test"] = contents(wanted, source.annotated(test), tested)
        skipped = skipped_note([each.id for each in tested.skipped])
        notes = *notes, *(f"test: {each}" for each in skipped), *detections_note(wanted, tested.dataset)
    require_enough(found, wanted.data.max_lost)
    fingerprint = Fingerprint.of({"train": train, "validation": held_out})
    reading = reading_settings(wanted, train, validation, seeded=seeded)
    return SplitCaches(
        caches[0],
        caches[1],
        (train, held_out),
        reading,
        fingerprint,
        given is not None,
        notes,
        found,
        None if tested is None else tested.dataset,
    )


def image_size(wanted: Request, dataset: Dataset) -> tuple[int, int] | None:
    """Returns (height, width) to which each image is resized at loading; None: images are not resized."""
    task, side = wanted.task, wanted.data.image_size
    if side == "original" or task.section.CUTS_REGIONS:
        return None
    if side is None and dataset.size is not None and task.reading.center_crop is None:
        shorter = min(dataset.size)
        return (shorter, shorter) if task.reading.fit == "crop" else dataset.size
    if side is not None:  # whatever the size of the network's input, so that networks can share the images
        aspect = task.section.aspect
        shorter = round(side / max(aspect, 1 / aspect))
        return (shorter, side) if aspect >= 1 else (side, shorter)
    height, width = (round(length / (task.reading.center_crop or 1.0)) for length in wanted.network_size())
    return height, width


def cache(
    wanted: Request,
    dataset: Dataset,
    size: tuple[int, int] | None,
    progress: Progress,
    *,
    advice: str = IN_RUN,
    readable: bool = False,
) -> ImageCache:
    """Returns the decoded images of a dataset; stores their missing proposals if the task needs them.

    `readable`: see `ImageCache.open`.

    Raises:
        UserError: an image cannot be decoded, unless the run skips those; `advice` ends the message.
    """
    task, images = wanted.task, _decoded(wanted, dataset, size, progress, advice, readable=readable)
    if task.proposals is not None:
        name, total = f"{dataset.name} (proposals)", len(images)
        complete(
            method(task.proposals),
            task.proposals.store,
            images.dataset,
            lambda counts: progress(name, counts.processed, total),
            key=f"{task.proposals.KEY}.directory",
            wait=True,
        )
    return images


def cache_part(
    wanted: Request, dataset: Dataset, places: np.ndarray, progress: Progress, *, advice: str = IN_RUN
) -> ImageCache:
    """Returns the decoded images at some places (int [m], rising) of the training split; arguments as for `cache`.

    Only these are decoded, unless a cache on disk has all of them.
    """
    size = image_size(wanted, dataset)
    if wanted.data.cache != "disk":
        return cache(wanted, dataset.take(places), size, progress, advice=advice)
    images = cache(wanted, dataset, size, progress, advice=advice)
    return images.take(np.flatnonzero(np.isin(images.rows, places)))


def decodable(
    wanted: Request,
    dataset: Dataset,
    size: tuple[int, int] | None,
    progress: Progress,
    *,
    advice: str = IN_RUN,
) -> ImageCache:
    """Returns the images of a dataset that can be decoded, without keeping them in memory; a cache on disk keeps them.

    Raises:
        UserError: as for `cache`.
    """
    return _decoded(wanted, dataset, size, progress, advice, keep=False)


def _decoded(
    wanted: Request,
    dataset: Dataset,
    size: tuple[int, int] | None,
    progress: Progress,
    advice: str,
    *,
    keep: bool = True,
    readable: bool = False,
) -> ImageCache:
    task, kind = wanted.task, wanted.data.cache
    return ImageCache.open(
        dataset,
        size,
        fit=task.reading.fit,
        interpolation=task.reading.interpolation,
        cache="none" if task.section.CUTS_REGIONS or (kind == "memory" and not keep) else kind,
        directory=wanted.data.cache_directory or wanted.directory,
        corrupt_images=wanted.data.corrupt_images,
        readable=readable,
        reduced=wanted.data.reduced_decoding,
        advice=advice,
        progress=lambda done, total: progress(dataset.name, done, total),
    )


def _reduction_note(wanted: Request, dataset: Dataset, size: tuple[int, int] | None) -> tuple[str, ...]:
    """Returns that `data.reduced_decoding` has no effect on images of one size, as one line, or none."""
    if not wanted.data.reduced_decoding or size is None or dataset.size is None:
        return ()
    if shrinkage(dataset.size, size, wanted.task.reading.fit) >= 2:
        return ()
    (height, width), (loaded_height, loaded_width) = dataset.size, size
    return (
        f"data.reduced_decoding has no effect: images have {height}x{width} pixels and are loaded with {loaded_height}x"
        f"{loaded_width}, not with half of them or less; set data.image_size",
    )


def _mixing_note(wanted: Request, dataset: Dataset) -> tuple[str, ...]:
    """Returns that mixed images can have more objects than the task uses, as one line, or none."""
    augmentation, limit = getattr(wanted.task.section, "augmentation", None), wanted.task.reading.max_objects
    if limit is None or not isinstance(augmentation, BoxAugmentation) or not augmentation.mixes:
        return ()
    most = max(map(len, dataset.objects))
    if augmentation.images * most <= limit:
        return ()
    return (
        f"task.augmentation joins up to {augmentation.images} images of up to {most:,} objects; if a joined image has "
        f"more than task.max_objects={limit}, the smallest ones are dropped and train as background "
        f"({augmentation.images * most:,} would keep all)",
    )


BOXES_PER_OBJECT, REGIONS_PER_OBJECT = 15, 5
"""Boxes and regions on an object that a detector needs, so that each object has some among the best of an image."""


def detections_note(wanted: Request, dataset: Dataset) -> tuple[str, ...]:
    """Returns what limits the objects that a detector finds in images of many, one line each."""
    section = wanted.task.section
    suppression = getattr(section, "suppression", None)
    if suppression is None or not dataset.has_objects:
        return ()
    counts = np.array([np.count_nonzero(~each.ignored) for each in dataset.objects])
    most = int(counts.max(initial=0))
    limits = {"task.suppression.detections": (suppression.detections, 1)}
    follows = suppression.candidates is None and suppression.detections < most
    if not follows and not (isinstance(section, YoloSettings) and section.detects_peaks):
        limits["task.suppression.candidates"] = suppression.entering, BOXES_PER_OBJECT
    if isinstance(section, FasterRCNNSettings):
        limits["task.network.regions"] = section.network.regions, REGIONS_PER_OBJECT
        limits["task.proposals_per_level"] = section.proposals_per_level, BOXES_PER_OBJECT
    if (proposals := wanted.task.proposals) is not None:
        limits[f"{proposals.KEY}.max_proposals"] = proposals.max_proposals, REGIONS_PER_OBJECT
    return tuple(
        f"{dataset.name}: {counted((counts * each > limit).sum(), 'images')} with more objects than {key}={limit}"
        f"{f' has {each} boxes for' if each > 1 else ''}, so that some cannot be found; set it to at least "
        f"{each * most}"
        for key, (limit, each) in limits.items()
        if each * most > limit
    )


def skipped_note(ids: Sequence[str]) -> tuple[str, ...]:
    """Returns what the user should know about corrupt images that were skipped: one line, or none."""
    if len(ids) == 1:
        return (f"skipped a corrupt image: {ids[0]}",)
    return (f"skipped {len(ids)} corrupt images, the first is {ids[0]}",) if ids else ()


def reading_settings(wanted: Request, dataset: Dataset, validation: str | None, *, seeded: bool) -> dict[str, Any]:
    """Returns the settings that determine how images are read, by dotted key."""
    data, task = wanted.data, wanted.task
    return {
        "task.name": wanted.task.section.name,
        "task.fit": task.reading.fit,
        "task.interpolation": task.reading.interpolation,
        "data.source": data.source,
        "data.directory": data.directory,
        "data.channels": data.channels,
        "data.image_size": image_size(wanted, dataset),
        "data.reduced_decoding": data.reduced_decoding,
        "data.train_split": data.train_split,
        "data.validation_split": validation,
        "data.corrupt_images": data.corrupt_images,
        "data.crop_context": data.crop_context,
        "data.tile": data.tile,
        "data.tile_overlap": data.tile_overlap,
        "data.proposals": asdict(data.proposals),
        "data.groups": data.groups,
        "data.seed": wanted.seed if seeded else None,
    }
