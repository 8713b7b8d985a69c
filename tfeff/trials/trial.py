"""Candidates, and their trials as experiments of `tfeff.train`."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfeff import config


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


def on_fold(experiment: config.Experiment, folds: config.Folds, fold: int, seed: int) -> config.Experiment:
    """The experiment of one trial.

    Args:
        experiment: of the candidate.
        folds: how the training split is divided.
        fold: 0 to folds.count - 1.
        seed: 0 to folds.seeds - 1, added to the experiment's seed. The folds depend on the experiment's seed alone.
    """
    data = experiment.data
    independent = folds.kind == "independent"
    return dataclasses.replace(
        experiment,
        seed=experiment.seed + seed,
        data=dataclasses.replace(
            data,
            folds=folds.count,
            fold=fold,
            fold_examples=folds.examples if independent else None,
            train_examples=None if independent else folds.examples,
            validation_fraction=folds.validation_fraction if independent else data.validation_fraction,
            test_split=None,
            seed=experiment.seed if data.seed is None else data.seed,
        ),
    )


def result_row(training: config.Training, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The row of metrics that belongs to the weights that the training keeps.

    That is the last row, unless the training keeps the best epoch. Only epochs at which the training itself validates
    are eligible, not an epoch at which it was merely interrupted.
    """
    if training.keep == "last" and training.early_stopping_epochs is None:
        return rows[-1]
    validated = [
        row for row in rows if row["epoch"] % training.validation_epochs == 0 or row["epoch"] == training.epochs
    ]
    return min(validated or rows[-1:], key=lambda row: float(row["validation_loss"]))
