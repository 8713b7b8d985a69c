"""Trains the choice on all training images, evaluates and exports it, and measures the export."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from tfeff import config, training
from tfeff.budget.limits import Costs
from tfeff.budget.study import Study
from tfeff.serving import run as serving
from tfeff.training.evaluation import RunEvaluation
from tfeff.trials.trial import Candidate

OTHERS = "others"
"""Folder of earlier choices: those that exceeded the budget when they were exported, and those of another budget."""


@dataclass(frozen=True)
class Delivered:
    """The chosen network.

    Attributes:
        name: of the candidate.
        workdir: of its run on all training images.
        exported: the exported model.
        costs: measured in the exported form, with those that are exact.
        evaluation: on the test images, else on the validation images; None if there are none.
    """

    name: str
    workdir: Path
    exported: Path
    costs: Costs
    evaluation: RunEvaluation | None


def deliver(
    study: Study, candidate: Candidate, directory: Path, measure: Callable[[Path], Costs], reporter: training.Reporter
) -> Delivered:
    """Trains a candidate on all training images, exports and measures it.

    Args:
        directory: workdir of the run; an interrupted run continues.
        measure: the costs of an exported model.
        reporter: of the training.
    """
    keras.backend.clear_session()
    workdir = training.train(final(candidate.experiment), directory, reporter=reporter)
    model = training.trained_model(workdir)
    evaluation = training.finish_run(workdir, reporter, model)
    budget = study.settings.budget
    serving.export(workdir, workdir.saved_model, model=model, overwrite=True)
    exported = workdir.saved_model
    if budget.format != "saved_model":
        exported = directory / budget.format
        serving.export_portable(workdir, exported, budget.format, int8=budget.int8, overwrite=True)
    costs = {**study.costs[candidate.name], **measure(exported)}
    return Delivered(candidate.name, directory, exported, costs, evaluation)


def final(experiment: config.Experiment) -> config.Experiment:
    """The training on all training images."""
    data = dataclasses.replace(experiment.data, validation_fraction=0.0)
    return dataclasses.replace(experiment, data=data)


def set_aside(directory: Path, name: str) -> None:
    """Moves an earlier choice out of the way."""
    kept = directory.parent / OTHERS / name
    kept.parent.mkdir(exist_ok=True)
    number = 1
    while kept.exists():
        number += 1
        kept = kept.with_name(f"{name}-{number}")
    directory.rename(kept)
