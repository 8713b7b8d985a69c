"""Several finished runs, and whether they can be compared on the same images."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tfeff import checked, config, runs, selection, training
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import content_digest
from tfeff.data.input.cache import ImageCache
from tfeff.data.names import listed
from tfeff.errors import UserError
from tfeff.evaluation.coco import areas
from tfeff.models import Network
from tfeff.tasks.task import ImageTask
from tfeff.training import checkpoint, exposure
from tfeff.training.evaluation import SplitImages, split_images

COLUMNS = {"class", "error", "image", "label", "objects"}
"""Headings of tables that have a column for each run."""


@dataclass(frozen=True)
class ComparedRun:
    """A finished run.

    Attributes:
        name: unique among the compared runs.
        kind: `classifier` or `detector`.
    """

    name: str
    kind: str
    workdir: training.Workdir = field(repr=False)

    @cached_property
    def plan(self) -> training.Plan:
        """The plan of the run."""
        return training.Plan.opened(self.workdir)

    @property
    def settings(self) -> config.Experiment:
        """Its experiment."""
        return self.plan.settings

    @property
    def task(self) -> ImageTask:
        """Its task."""
        return self.plan.task

    @property
    def reads_regions(self) -> bool:
        """Whether the input of its network includes region proposals."""
        return self.task.proposals is not None or self.settings.task.CUTS_REGIONS

    @cached_property
    def key(self) -> str:
        """A key that changes whenever its weights or its test-time augmentation change."""
        weights = content_digest(self.workdir.final.read_bytes()).hex()
        return f"{weights} {self.settings.task!r} {self.plan.evaluation_batch_size}"

    @cached_property
    def network(self) -> Network:
        """Its network with the final weights."""
        return training.trained_model(self.workdir, plan=self.plan)


def open_runs(workdirs: Sequence[str | Path]) -> list[ComparedRun]:
    """Opens the runs of the workdirs.

    Raises:
        UserError: a workdir is given twice, holds no finished run of a classifier or a detector, or is not of the first
            one's kind or classes.
    """
    if not workdirs:
        raise UserError("give the workdir of at least one finished run: --workdir=DIR")
    if "" in workdirs:
        raise UserError("--workdir= is empty; give a directory (. for the current one)")
    paths = [Path(workdir) for workdir in workdirs]
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(resolved):
        if path in resolved[:index]:
            raise UserError(f"--workdir={paths[index]}: given twice; name each run once")
    opened = [_open(path, name) for path, name in zip(paths, unique_names(resolved), strict=True)]
    first = opened[0]
    for other in opened[1:]:
        if other.kind != first.kind:
            raise UserError(
                f"--workdir={other.workdir.path}: a {other.kind}, which cannot be compared with a {first.kind}; "
                "remove it"
            )
        _require_same_classes(first.workdir, other.workdir)
    return opened


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Returns the last parts of the paths, as many as are needed to tell them apart, and from `COLUMNS`.

    >>> unique_names([Path("/runs/a/seed0"), Path("/runs/b/seed0")])
    ['a/seed0', 'b/seed0']
    >>> unique_names([Path("/runs/objects"), Path("/runs/faces")])
    ['runs/objects', 'runs/faces']
    """
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names) and COLUMNS.isdisjoint(names):
            return names
    raise ValueError(f"paths repeat: {paths}")


def read_split(
    run: ComparedRun, split: str | None, reporter: training.Reporter, directory: Path | None = None
) -> SplitImages:
    """Returns the images of a split, as the run's network takes them; the default is as in `training.evaluate_run`.

    They are not kept in memory, where those of several runs might not fit: each is decoded when it is read.

    Args:
        directory: where corrupt images are listed, for the other runs and later calls. None: nowhere.

    Raises:
        UserError: there is no such split, or it is empty.
    """
    wanted = replace(run.plan.images, directory=directory)
    if wanted.data.cache == "memory":
        wanted = replace(wanted, data=replace(wanted.data, cache="none"))
    source = selection.open_source(wanted)
    read = split_images(run.workdir, wanted, split, reporter, source)
    notes = [*read.notes, *selection.skipped_note([image.id for image in read.images.skipped])]
    role = selection.role(run.plan.images, run.workdir.dataset(), source, read.split)
    if role == "train":
        high = "accuracy is too high, and its probabilities cannot reveal wrong labels"
        if run.kind == "detector":
            high = "mAP is too high"
        notes.append(f"{run.name} was trained on images of this split: its {high}")
    else:
        known = exposure.notes(run.settings.sources, read.images.dataset, read.split)
        notes += [f"{run.name}: {note}" for note in known]
    if role == "validation" and (chose := training.chosen_by_validation(run.plan)):
        notes.append(f"for {run.name}, images of this split also chose {chose}: expect a little less of new images")
    return replace(read, notes=tuple(dict.fromkeys(notes)))


def read_splits(
    runs: Sequence[ComparedRun], split: str | None, reporter: training.Reporter, directory: Path | None = None
) -> tuple[str, list[ImageCache], list[str]]:
    """Returns the images of a split for each run, which are the same.

    Args:
        directory: see `read_split`.

    Returns:
        The name of the split, the images as each network takes them, and notes for the user.

    Raises:
        UserError: as `read_split`, or the images or their labels differ.
    """
    read = [read_split(run, split, reporter, directory) for run in runs]
    for run, each in zip(runs[1:], read[1:], strict=True):
        require_same_examples((runs[0], read[0].images.dataset.uncut), (run, each.images.dataset.uncut))
    notes = dict.fromkeys(note for each in read for note in each.notes)
    first = read[0].images.dataset.uncut
    if any(_areas(first) != _areas(each.images.dataset.uncut) for each in read[1:]):
        notes[f"sizes of objects (small, medium, large) are those of {first.name}; some runs have other areas"] = None
    return read[0].split, [each.images for each in read], list(notes)


def require_same_examples(first: tuple[ComparedRun, Dataset], second: tuple[ComparedRun, Dataset]) -> None:
    """Checks that two networks are evaluated on the same images with the same labels, in the same order.

    Images are compared by content if their files differ in path, time or number of channels.

    Raises:
        UserError: they are not.
    """
    (run, left), (other, right) = first, second
    names = f"--workdir={run.workdir.path} and --workdir={other.workdir.path}"
    remedy = "compare runs of the same dataset and split, or choose another --split"
    if len(left) != len(right):
        raise UserError(
            f"{names} are evaluated on different examples: {len(left):,} of {left.name} and {len(right):,} of "
            f"{right.name}; {remedy}"
        )
    same = left.channels == right.channels and left.fingerprint == right.fingerprint
    if not same:
        ours, theirs = ([each.images.digest(index) for index in range(len(each))] for each in (left, right))
        if sorted(ours) != sorted(theirs):
            raise UserError(
                f"{names} are evaluated on different examples: those of {left.name} and of {right.name}; {remedy}"
            )
        if ours != theirs:
            raise UserError(
                f"{names}: the same images in another order in {left.name} and {right.name}; compare runs of one copy "
                "of the dataset, since the names of the files decide the order"
            )
    if not _same_labels(left, right):
        raise UserError(
            f"{names}: the same images have different labels, boxes or flags in {left.name} and {right.name}; {remedy}"
        )


def _same_labels(left: Dataset, right: Dataset) -> bool:
    if (left.labels != right.labels).any():
        return False
    return all(
        np.array_equal(one.labels, other.labels)
        and np.array_equal(one.boxes_yxyx, other.boxes_yxyx)
        and np.array_equal(one.difficult, other.difficult)
        and np.array_equal(one.crowd, other.crowd)
        for one, other in zip(left.objects, right.objects, strict=True)
    )


def _areas(images: Dataset) -> list[list[float]]:
    """Returns the areas by which COCO's metrics sort the objects of each image."""
    return [areas(each).tolist() for each in images.objects]


def _open(path: Path, name: str) -> ComparedRun:
    settings, workdir = runs.open_run(path).config, training.Workdir(path)
    if settings.task.IS_CLASSIFIER:
        kind = "classifier"
    elif settings.task.IS_DETECTOR:
        kind = "detector"
    else:
        raise UserError(f"--workdir={path}: a run of {settings.task.name}; only classifiers and detectors are compared")
    if not workdir.final.is_file():
        raise UserError(f"--workdir={path}: the run is not finished; rerun its tfeff.train command")
    return ComparedRun(name, kind, workdir)


def _require_same_classes(first: training.Workdir, other: training.Workdir) -> None:
    left, right = first.dataset()["class_names"], other.dataset()["class_names"]
    if left == right:
        return
    different = sorted(set(left) ^ set(right))
    what = f"only one of them has {listed(different, 5)}" if different else "in a different order"
    raise UserError(
        f"--workdir={first.path} and --workdir={other.path} have different classes ({what}); compare runs that were "
        "trained on the same classes"
    )


def predicted(
    run: ComparedRun, images: ImageCache, path: Path, predict: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """Returns arrays that depend on a run's network and the images alone, from the file if it holds them already.

    Args:
        images: the images, at the size of the run's cache.
        path: path of the file; written if it is missing, damaged or of other weights or images.
        predict: computes them.
    """
    dataset = images.dataset
    parts = f"{run.key} {dataset.fingerprint} {len(images)} {images.form}".encode()
    key = hashlib.sha256(parts + dataset.labels.tobytes()).hexdigest()
    if path.is_file():
        try:
            arrays, record = checkpoint.load(path)
            if record.get("key") == key:
                return arrays
        except checkpoint.DamagedError as error:
            checked.warn(f"predictions are computed again: {error}")
    arrays = dict(predict())
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, arrays, {"key": key, "model": run.name})
    return arrays
