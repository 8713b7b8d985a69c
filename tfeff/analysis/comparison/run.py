"""Opens several finished runs of classifiers and checks that they can be compared on the same examples."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfeff import checked, config, runs, selection, training
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import content_digest
from tfeff.data.input.cache import ImageCache
from tfeff.data.splits import canonical_name
from tfeff.errors import UserError
from tfeff.networks.heads import POOL
from tfeff.tasks import task as task_interface
from tfeff.tasks.classification import ClassificationTask
from tfeff.training import checkpoint
from tfeff.training.evaluation import SplitImages, split_images


@dataclass(frozen=True)
class ClassifierRun:
    """A finished run of a classifier; its name is unique among the compared runs."""

    name: str
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
    def task(self) -> ClassificationTask:
        """Its task."""
        task = self.plan.task
        assert isinstance(task, ClassificationTask)
        return task

    @cached_property
    def key(self) -> str:
        """Changes whenever its weights or its test-time augmentation change."""
        weights = content_digest(self.workdir.final.read_bytes()).hex()
        return f"{weights} {self.settings.task!r} {self.settings.training.batch_size}"

    @cached_property
    def network(self) -> keras.Model:
        """Its network with the final weights."""
        return training.trained_model(self.workdir, plan=self.plan)


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
    """The images of a split, as the run's network takes them; the default is as in `training.evaluate_run`.

    Raises:
        UserError: there is no such split, or it is empty.
    """
    source = selection.open_source(run.plan.images)
    read = split_images(run.workdir, run.plan.images, split, reporter, source)
    # Images that were split elsewhere cannot be found in the source.
    if canonical_name(read.split) == "validation" or run.workdir.dataset().get("given"):
        return read
    trained = selection.assign(run.plan.images, source).train
    found = source.find(read.split)
    if found is not None and (found == trained or source.overlap(trained, found)):
        note = (
            f"{run.name} was trained on images of this split: its accuracy is too high, and its probabilities "
            "cannot reveal wrong labels"
        )
        return replace(read, notes=(*read.notes, note))
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
    settings, workdir = runs.open_run(path).config, training.Workdir(path)
    if not isinstance(settings, config.Experiment) or settings.task.name != "classification":
        kind = settings.task.name if isinstance(settings, config.Experiment) else "R-CNN"
        raise UserError(f"--workdir={path}: a run of {kind}, which cannot be compared with classifiers; remove it")
    if not workdir.final.is_file():
        raise UserError(f"--workdir={path}: the run is not finished; rerun its tfeff.train command")
    return ClassifierRun(name, workdir)


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


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """Predictions and features of a network for n images.

    Attributes:
        probabilities: float32 [n, classes], as `tfeff.evaluate` computes them.
        features: float32 [n, d], the globally pooled features; without test-time augmentation.
    """

    probabilities: np.ndarray
    features: np.ndarray


def predict(run: ClassifierRun, images: ImageCache, path: Path) -> SplitPredictions:
    """Predictions of a run's network, from the file if it holds them already.

    Args:
        images: the images, at the size of the run's cache.
        path: path of the file; written if it is missing, damaged or of other weights or images.

    Raises:
        UserError: an output of the network is not finite.
    """
    key = _key(run, images)
    if path.is_file():
        try:
            arrays, record = checkpoint.load(path)
            if record.get("key") == key:
                return SplitPredictions(arrays["probabilities"], arrays["features"])
        except checkpoint.DamagedError as error:
            checked.warn(f"predictions are computed again: {error}")
    predicted = _predict(run, images)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"probabilities": predicted.probabilities, "features": predicted.features}
    checkpoint.save(path, arrays, {"key": key, "model": run.name})
    return predicted


def _key(run: ClassifierRun, images: ImageCache) -> str:
    dataset = images.dataset
    parts = f"{run.key} {dataset.fingerprint} {len(images)} {images.form}".encode()
    return hashlib.sha256(parts + dataset.labels.tobytes()).hexdigest()


def _predict(run: ClassifierRun, images: ImageCache) -> SplitPredictions:
    network, task = run.network, run.task
    predictor = task.predictor(network)
    pooled = network.get_layer(POOL).output
    if predictor is network:  # one pass for both
        both = keras.Model(network.input, [network.output, pooled])
    else:
        both = keras.Model(network.input, [predictor(network.input), pooled])

    def decoded(inputs: task_interface.Batch) -> dict[str, tf.Tensor]:
        outputs, features = both(inputs["image"], training=False)
        return {**task.decode(outputs), "features": tf.cast(features, tf.float32)}

    pipeline = run.plan.evaluation_pipeline(images, network.size)
    values = task_interface.predictions(tf.function(decoded, jit_compile=False, autograph=False), pipeline)
    for name in ("probabilities", "features"):
        if not np.isfinite(values[name]).all():
            raise UserError(f"--workdir={run.workdir.path}: {name} of the network are not finite: it has diverged")
    return SplitPredictions(values["probabilities"], values["features"])
