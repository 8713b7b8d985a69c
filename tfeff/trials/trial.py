"""Candidates, and their trials as experiments of `tfeff.train`."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfeff import config
from tfeff.training.stopping import EarlyStopping, watched


@dataclass(frozen=True)
class Candidate:
    """A training configuration that is compared with others.

    Attributes:
        name: unique, valid as a file name.
        label: for tables and messages.
        experiment: its training, before a fold and a seed are set.
        macs: multiply-adds of its network.
        settings: JSON-ready description that the store keeps.
    """

    name: str
    label: str
    experiment: config.Experiment
    macs: int
    settings: Mapping[str, Any] = field(default_factory=dict)


SEEDS_PER_FOLD = 1000
"""Distance between the seeds of two folds: every trial of a candidate has initial weights of its own, so that the
differences between folds contain those between initial weights."""


def on_fold(experiment: config.Experiment, folds: config.Folds, fold: int, seed: int) -> config.Experiment:
    """The experiment of one trial.

    Args:
        experiment: of the candidate.
        folds: how the training split is divided.
        fold: 0 to folds.count - 1; of independent folds also further ones.
        seed: 0 to folds.seeds - 1. Initial weights and the order of images depend on the fold, this number and the
            experiment's seed; the folds depend on the experiment's seed alone.
    """
    data = experiment.data
    independent = folds.kind == "independent"
    return dataclasses.replace(
        experiment,
        seed=experiment.seed + SEEDS_PER_FOLD * fold + seed,
        data=dataclasses.replace(
            data,
            folds=fold + 1 if independent else folds.count,  # independent folds do not depend on their number
            fold=fold,
            fold_examples=folds.examples if independent else None,
            train_examples=None if independent else folds.examples,
            validation_fraction=folds.validation_fraction if independent else data.validation_fraction,
            validation_split=folds.validation_split,
            test_split=None,
            seed=experiment.seed if data.seed is None else data.seed,
        ),
    )


def of_length(experiment: config.Experiment, epochs: int) -> config.Experiment:
    """The experiment with another number of epochs.

    Raises:
        UserError: another setting of the experiment needs more epochs.
    """
    if epochs == experiment.training.epochs:
        return experiment
    return dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, epochs=epochs))


def result_row(training: config.Training, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The row of metrics that belongs to the weights that the training keeps.

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
