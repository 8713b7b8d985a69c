"""One training of a search: a network on a fold with a seed, as an experiment of `tfeff.train`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfeff import config
from tfeff.errors import UserError
from tfeff.scaling.baseline import Baseline, ScaledNetwork, memory


def experiment(
    search: config.Search,
    baseline: Baseline,
    network: ScaledNetwork,
    *,
    fold: int,
    seed: int,
    learning_rate: float | None = None,
) -> config.Experiment:
    """What `tfeff.training.train` runs for one trial.

    Args:
        search: its baseline's experiment, with what a trial changes of it.
        baseline: what is scaled.
        network: the one to train.
        fold: 0 to folds.count - 1.
        seed: 0 to folds.seeds - 1; added to the experiment's seed. The folds are drawn by the experiment's seed alone.
        learning_rate: found by a range test; None: as `trials.learning_rate` says.
    """
    base, folds = search.experiment, search.folds
    size = batch_size(search, baseline, network)
    if learning_rate is None:
        learning_rate = scaled_learning_rate(search, size)
    independent = folds.kind == "independent"
    data = dataclasses.replace(
        base.data,
        folds=folds.count,
        fold=fold,
        fold_examples=folds.examples if independent else None,
        train_examples=None if independent else folds.examples,
        validation_fraction=folds.validation_fraction if independent else base.data.validation_fraction,
        test_split=None,
        seed=base.seed if base.data.seed is None else base.data.seed,
    )
    return dataclasses.replace(
        base,
        seed=base.seed + seed,
        model=network.model,
        data=data,
        optimizer=dataclasses.replace(base.optimizer, learning_rate=learning_rate),
        training=dataclasses.replace(base.training, batch_size=size),
    )


def outcome(search: config.Search, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of a trial's rows the one that counts: the last, or that of the weights which the training keeps.

    A training keeps those of the epochs that it validates itself, not of one at whose end it was interrupted.
    """
    training = search.experiment.training
    if training.keep == "last" and training.early_stopping_epochs is None:
        return rows[-1]
    own = [row for row in rows if row["epoch"] % training.validation_epochs == 0 or row["epoch"] == training.epochs]
    return min(own or rows[-1:], key=lambda row: float(row["validation_loss"]))


def batch_size(search: config.Search, baseline: Baseline, network: ScaledNetwork) -> int:
    """Images an update, such that every network takes about the baseline's memory.

    Raises:
        UserError: less than one image.
    """
    base = search.experiment.training.batch_size
    match search.trials.batch_size:
        case "fixed":
            return base
        case "product":
            factor = network.nominal
        case _:
            factor = memory(network.cost) / memory(baseline.cost)
    parts = search.experiment.training.accumulation_steps
    size = math.floor(base / factor / parts + 0.5) * parts
    if size < 1:
        raise UserError(
            f"{network.label} would train on {base / factor:.2f} images an update: raise training.batch_size "
            f"({base} now), or set trials.batch_size to fixed"
        )
    return size


def scaled_learning_rate(search: config.Search, size: int) -> float:
    """The learning rate that goes with a batch size."""
    base = search.experiment
    ratio = size / base.training.batch_size
    match search.trials.learning_rate:
        case "linear":
            return base.optimizer.learning_rate * ratio
        case "sqrt":
            return base.optimizer.learning_rate * math.sqrt(ratio)
        case _:
            return base.optimizer.learning_rate
