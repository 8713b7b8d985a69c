"""Opens several finished runs of classifiers and checks that they can be compared on the same examples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import keras

from tfeff import config, runs, tasks, training
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import content_digest
from tfeff.data.splits import canonical_name
from tfeff.errors import UserError
from tfeff.runs.network import NetworkRun
from tfeff.tasks.classification import Classification
from tfeff.training import selection, split_plan
from tfeff.training.assessment import SplitImages


@dataclass(frozen=True)
class ClassifierRun:
    """A finished run of a classifier.

    Attributes:
        name: unique among the compared runs, from the names of the workdirs.
        workdir: its workdir.
    """

    name: str
    workdir: training.Workdir = field(repr=False)

    @cached_property
    def settings(self) -> config.Experiment:
        """Its experiment."""
        return self.workdir.config()

    @cached_property
    def task(self) -> Classification:
        """Its task."""
        task = tasks.create(self.settings.task)
        assert isinstance(task, Classification)
        return task

    @cached_property
    def key(self) -> str:
        """Changes whenever its weights or its test-time augmentation change."""
        weights = content_digest(self.workdir.final.read_bytes()).hex()
        return f"{weights} {self.settings.task!r} {self.settings.training.batch_size}"

    @cached_property
    def network(self) -> keras.Model:
        """Its network with the final weights."""
        return training.trained_model(self.workdir)


def open_runs(workdirs: Sequence[str | Path]) -> list[ClassifierRun]:
    """Opens the runs of the workdirs.

    Raises:
        UserError: a workdir is given twice, holds no finished run of a classifier, or has other classes than the first.
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
    for other in opened[1:]:
        _require_same_classes(opened[0].workdir, other.workdir)
    return opened


def unique_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as are needed to tell them apart.

    >>> unique_names([Path("/runs/a/seed0"), Path("/runs/b/seed0")])
    ['a/seed0', 'b/seed0']
    """
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"paths repeat: {paths}")


def read_split(run: ClassifierRun, split: str | None, reporter: training.Reporter) -> SplitImages:
    """The images of a split, as the run's network takes them; the default is as in `training.assess`.

    Raises:
        UserError: there is no such split, or it is empty.
    """
    source = selection.open_source(run.settings)
    read = training.assessment.split_images(run.workdir, split, reporter, lambda: source)
    # Images that were split elsewhere cannot be found in the source.
    if canonical_name(read.split) == "validation" or run.workdir.dataset().get("given"):
        return read
    trained = split_plan.plan(run.settings, source).train
    found = source.find(read.split)
    if found is not None and (found == trained or source.overlap(trained, found)):
        note = (
            f"{run.name} was trained on images of this split: its accuracy is too high, and its probabilities "
            "cannot reveal wrong labels"
        )
        return SplitImages(read.split, read.images, (*read.notes, note))
    return read


def require_same_examples(first: tuple[ClassifierRun, Dataset], second: tuple[ClassifierRun, Dataset]) -> None:
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
    if not same and any(left.images.digest(index) != right.images.digest(index) for index in range(len(left))):
        raise UserError(
            f"{names} are evaluated on different examples: those of {left.name} and of {right.name}; {remedy}"
        )
    if (left.labels != right.labels).any():
        raise UserError(f"{names}: the same images have different labels in {left.name} and {right.name}; {remedy}")


def _open(path: Path, name: str) -> ClassifierRun:
    run = runs.open_run(path)
    if not isinstance(run, NetworkRun) or run.workdir.config().task.name != "classification":
        kind = run.workdir.config().task.name if isinstance(run, NetworkRun) else "R-CNN"
        raise UserError(f"--workdir={path}: a run of {kind}, which cannot be compared with classifiers; remove it")
    if not run.workdir.final.is_file():
        raise UserError(f"--workdir={path}: the run is not finished; rerun its tfeff.train command")
    return ClassifierRun(name, run.workdir)


def _require_same_classes(first: training.Workdir, other: training.Workdir) -> None:
    left, right = first.dataset()["class_names"], other.dataset()["class_names"]
    if left == right:
        return
    different = sorted(set(left) ^ set(right))
    listed = ", ".join(different[:5]) + (f" and {len(different) - 5} more" if len(different) > 5 else "")
    what = f"only one of them has {listed}" if different else "in a different order"
    raise UserError(
        f"--workdir={first.path} and --workdir={other.path} have different classes ({what}); compare runs that were "
        "trained on the same classes"
    )
