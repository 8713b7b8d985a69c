"""Candidates, their trials as experiments of `tfeff.train`, and the images that all trials share."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff import config, selection
from tfeff.data.contents import Contents, require_enough
from tfeff.data.dataset import Dataset
from tfeff.data.images.unreadable import IN_SEARCH
from tfeff.data.sources.source import Source
from tfeff.errors import UserError
from tfeff.recipes.own import lengths
from tfeff.reporting.progress import Bar
from tfeff.training import exposure
from tfeff.training.stopping import EarlyStopping, watched


@dataclass(frozen=True)
class Candidate:
    """A training configuration that is compared with others.

    Attributes:
        name: unique, valid as a file name.
        experiment: the training, before a fold and a seed are set.
        settings: JSON-ready description that the store keeps.
        tests_rates: find its learning rate by a range test if the config gives all candidates their rates.
    """

    name: str
    label: str
    experiment: config.Experiment
    macs: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    tests_rates: bool = False


SEEDS_PER_FOLD = 1000
"""Distance between the seeds of two folds: every trial of a candidate has initial weights of its own, so that the
differences between folds contain those between initial weights."""


@dataclass(frozen=True)
class Trial:
    """A training, as an experiment of `tfeff.train`."""

    experiment: config.Experiment

    def on_fold(self, folds: config.Folds, fold: int, seed: int) -> "Trial":
        """Returns the training on a fold.

        Args:
            fold: 0 to folds.count - 1; of independent folds also further ones.
            seed: 0 to folds.seeds - 1. Initial weights and the order of images depend on the fold, this number and the
                experiment's seed; the folds depend on the experiment's seed alone.
        """
        data, first = self.experiment.data, self.experiment.seed
        independent = folds.kind == "independent"
        part = dataclasses.replace(
            data,
            folds=fold + 1 if independent else folds.count,  # independent folds do not depend on their number
            fold=fold,
            fold_examples=folds.examples if independent else None,
            train_examples=None if independent else folds.examples,
            validation_fraction=folds.validation_fraction if independent else data.validation_fraction,
            validation_split=folds.validation_split,
            test_split=None,
            seed=first if data.seed is None else data.seed,
        )
        return Trial(dataclasses.replace(self.experiment, seed=first + SEEDS_PER_FOLD * fold + seed, data=part))

    def for_rates(self, folds: config.Folds) -> "Trial":
        """Returns the training on a part of the first fold, validated on the rest of it, that tries learning rates."""
        return self.on_fold(dataclasses.replace(folds, validation_split=None), fold=0, seed=0)

    def of_length(self, epochs: int) -> "Trial":
        """Returns the training with another number of epochs; its schedule and its phases take the same shares of them.

        Raises:
            UserError: another setting of the experiment needs more epochs.
        """
        each = self.experiment
        if epochs == each.training.epochs:
            return self
        share = epochs / each.training.epochs
        values = lengths(each.task, each.optimizer, each.schedule, each.training, share)
        return Trial(config.replaced(each, values | {"training.epochs": epochs}))

    def at_rate(self, rate: float) -> "Trial":
        """Returns the training at another learning rate."""
        update = dataclasses.replace(self.experiment.optimizer, learning_rate=rate)
        return Trial(dataclasses.replace(self.experiment, optimizer=update))


def result_row(training: config.Training, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the row of metrics that belongs to the weights that the training keeps.

    That is the last row, unless the training keeps the best epoch. Only epochs at which the training itself validates
    are eligible, not an epoch at which it was merely interrupted.
    """
    kept = rows[-1]
    if training.keep == "last" and training.early_stopping_epochs is None:
        return kept
    best = EarlyStopping(None, training.minimum_change)
    for row in rows:
        scheduled = row["epoch"] % training.validation_epochs == 0 or row["epoch"] == training.epochs
        if scheduled and best.observe(watched(row, training.monitor), epochs=training.validation_epochs):
            kept = row
    return kept


@dataclass(frozen=True, eq=False)
class TrialImages:
    """The images of all trials.

    Attributes:
        dataset: the images from which folds are drawn.
        shared: the split that all folds are validated on, if there is one.
        examples: number of training and of validation images of one trial.
        validation_groups: number of groups of validation images; each image is one, unless it belongs to others.
        fingerprint: fingerprint of the dataset and, if there is one, of the split that all folds are validated on.
        found: what these splits hold, by role.
    """

    dataset: Dataset
    shared: Dataset | None
    examples: tuple[int, int]
    validation_groups: int
    fingerprint: selection.Fingerprint
    found: Mapping[str, Contents]

    def require_unknown(self, sources: Sequence[str]) -> None:
        """Refuses a candidate that learns from a run that was trained on images on which candidates are compared.

        Args:
            sources: `Experiment.sources` of the candidate.

        Raises:
            UserError: it does.
        """
        exposure.require_unknown(sources, self.dataset if self.shared is None else self.shared)

    def check_rates(self, trial: Trial) -> None:
        """Rejects trainings for learning rates on fewer images than a batch; `trial`: see `Trial.for_rates`."""
        part = selection.fold(selection.request(trial.experiment), self.dataset, validates=False)
        images, batch_size = len(self.dataset if part is None else part.train), trial.experiment.training.batch_size
        if batch_size > images and not trial.experiment.task.CUTS_REGIONS:
            raise UserError(
                f"config: trials.learning_rate=held_out: rates are tried on {images} images of a fold, fewer than one "
                f"batch of {batch_size}; raise folds.examples, or lower folds.validation_fraction or "
                "experiment.training.batch_size"
            )


def open_images(
    base: config.Experiment,
    folds: config.Folds,
    blocks: Iterable[tuple[int, int]],
    directory: Path | None = None,
) -> TrialImages:
    """Returns the images of all trials, all of which are decoded once: trials would find corrupt ones one by one.

    Args:
        base: the experiment of all trials.
        folds: how images are divided.
        blocks: folds and seeds of the trials.
        directory: see `selection.Request`.

    Raises:
        UserError: the data is missing, has corrupt images, has lost too much to defects or is too small for the folds,
            images of different sizes have no common size, or the validation split is missing or shares images with the
            training split.
    """
    wanted = selection.request(base, directory)
    # Sources are told which splits are used: images in others are lost.
    used = dataclasses.replace(base.data, validation_split=folds.validation_split)
    source = selection.open_source(dataclasses.replace(wanted, data=used))
    dataset = selection.load(wanted, source, base.data.train_split)
    shared = None
    if folds.validation_split is not None:
        named = dataclasses.replace(base.data, validation_split=folds.validation_split, test_split=None)
        try:
            selection.assign(dataclasses.replace(wanted, data=named), source)
        except UserError as error:
            raise UserError(str(error).replace("data.validation_split", "folds.validation_split")) from None
        shared = selection.load(wanted, source, folds.validation_split)
    whole = wanted.task.reading.center_crop is not None
    if base.data.image_size is None and (dataset.size is None or whole):
        why = "with task.center_crop, it depends on the resolution" if whole else "the images differ in size"
        raise UserError(
            f"config: experiment.data.image_size is required because {why}; all candidates must start from the same "
            "images"
        )
    # The last fold first, because only that one can ask for more images than there are.
    trial, numbers = Trial(base), sorted({fold for fold, _ in blocks}, reverse=True)
    try:
        parts = [
            selection.fold(selection.request(trial.on_fold(folds, fold, seed=0).experiment), dataset, validates=False)
            for fold in numbers
        ]
    except UserError as error:
        further = ""
        if numbers[0] >= folds.count:
            further = f" ({folds.count} of them for the members; see members.fresh_folds)"
        raise UserError(f"config: folds.examples, folds.count{further}: {error}") from None
    train = min(len(part.train) for part in parts if part is not None)
    validation = min(len(part.validation) for part in parts if part is not None)
    groups = min(_groups(dataset, part.validation) for part in parts if part is not None)
    found = {"train": _contents(wanted, source, base.data.train_split, dataset, trained=True)}
    if shared is not None:
        assert folds.validation_split is not None
        found["validation"] = _contents(wanted, source, folds.validation_split, shared)
    require_enough(found, base.data.max_lost)
    fingerprint = selection.Fingerprint.of({"train": dataset})
    if shared is not None:
        fingerprint = selection.Fingerprint.of({"train": dataset, "validation": shared})
        validation, groups = len(shared), _groups(shared, np.arange(len(shared)))
    if base.data.validation_examples is not None:  # they show at most as many groups
        validation = min(validation, base.data.validation_examples)
        groups = min(groups, validation)
    return TrialImages(dataset, shared, (train, validation), groups, fingerprint, found)


def check_final(
    wanted: Mapping[tuple[int, int], selection.Request],
) -> tuple[dict[str, Contents], dict[tuple[int, int], str]]:
    """Checks trainings that follow the trials, on all training images, so that no mistake shows only then.

    The images that they are validated and tested on are decoded once.

    Args:
        wanted: size of a network's input -> what its training asks of the images.

    Returns:
        What the splits hold, by role; and why networks of some sizes cannot be trained, such as objects that are too
        small for their input.

    Raises:
        UserError: mistakes in the choice of splits, different classes, corrupt images, or no network can be trained.
    """
    every = list(wanted.values())
    source, found, failures = selection.open_source(every[0]), dict[str, Contents](), dict[tuple[int, int], str]()
    for size, each in wanted.items():
        try:
            checked = selection.check(each, source)
            found = found or checked
        except UserError as error:
            if len(failures) == len(wanted) - 1:
                raise
            failures[size] = str(error)
    chosen = selection.assign(every[0], source)
    for role, split in (("validation", chosen.validation), ("test", chosen.test)):
        if split is not None and role in found:
            found[role] = _contents(every[0], source, split, selection.load(every[0], source, split))
    require_enough(found, every[0].data.max_lost)
    return found, failures


def _groups(images: Dataset, chosen: npt.NDArray[np.intp]) -> int:
    """Returns the number of groups of some images; without groups, each image is one."""
    return len(chosen) if images.groups is None else len(np.unique(images.groups[chosen]))


def _contents(
    wanted: selection.Request, source: Source, split: str, dataset: Dataset, *, trained: bool = False
) -> Contents:
    """Returns what a split holds, without the corrupt images that trials skip.

    Raises:
        UserError: it has corrupt images, and trials do not skip them.
    """
    size = selection.image_size(wanted, dataset)
    with Bar(f"checking {dataset.name}", len(dataset), "images") as bar:
        cache = selection.decodable(wanted, dataset, size, lambda _, done, __: bar.show(done), advice=IN_SEARCH)
    return selection.contents(wanted, source.annotated(split), cache, trained=trained)


def check_batch_size(task: config.TaskSettings, batch_size: int, images: int) -> None:
    """Rejects a batch that is larger than the training images of a trial, unless it consists of regions of them."""
    if batch_size > images and not task.CUTS_REGIONS:
        raise UserError(
            f"config: folds: {images} training images per fold are fewer than one batch of {batch_size}; raise "
            "folds.examples or lower experiment.training.batch_size"
        )
