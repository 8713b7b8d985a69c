"""Training of the choice on all training images, evaluation and export."""

import json
from dataclasses import dataclass
from pathlib import Path

import keras

from tfeff import checked, config, training
from tfeff.budget.limits import Costs, Errors
from tfeff.budget.study import Study
from tfeff.serving import run as serving
from tfeff.training.evaluation import RunEvaluation

TEACHERS = "teachers"
"""Folder of the runs that choices imitate."""
OTHERS = "others"
"""Folder of earlier choices: those that exceeded the budget when they were exported, and those of other budgets or
teachers."""


@dataclass(frozen=True)
class Delivered:
    """The chosen network.

    Attributes:
        name: the candidate's name.
        teacher: label of the network that it imitates; None if there is none.
        workdir: workdir of its run on all training images.
        exported: the exported model.
        costs: measured in the exported form, with those that are exact, and the latency on another device.
        errors: how wrong those can be that are estimates.
        evaluation: evaluation on the test images, else on the validation images; None if there are none.
        dropped: why it was dropped before those that were left missed the budget; None: it was not.
    """

    name: str
    workdir: Path
    exported: Path
    costs: Costs
    errors: Errors
    evaluation: RunEvaluation | None
    teacher: str | None = None
    dropped: str | None = None


def teach(study: Study, name: str, precision: str, directory: Path, reporter: training.Reporter) -> Path:
    """Trains a teacher on all training images; an interrupted training continues.

    Args:
        name: id of its network.
        precision: see `deliver`.
        directory: directory of all teachers.

    Returns:
        Its workdir.
    """
    keras.backend.clear_session()
    settings = study.final(name, precision)
    return training.train(settings, directory / _key(config.to_json(settings)), reporter=reporter).path


def deliver(
    study: Study,
    name: str,
    precision: str,
    pace: float,
    directory: Path,
    reporter: training.Reporter,
    teacher: Path | None = None,
) -> tuple[Path, RunEvaluation | None]:
    """Trains a candidate on all training images, evaluates and exports it.

    Args:
        precision: dtype policy of the training, used if neither the config nor the rules choose one.
        pace: share of the epochs that it is trained for.
        directory: workdir of the run; an interrupted run continues, another one gives way.
        reporter: reports the progress of the training.
        teacher: workdir of the run that is imitated, if any.

    Returns:
        The exported model, and the evaluation; None if there are no images for it.
    """
    keras.backend.clear_session()
    settings = study.final(name, precision, pace, teacher)
    make_way(directory, config.to_json(settings))
    workdir = training.train(settings, directory, reporter=reporter, choices={})
    model = training.trained_model(workdir)
    evaluation = training.finish_run(workdir, reporter, model)
    budget = study.settings.budget
    exportable = serving.exportable(workdir, model)
    exported = exportable.saved_model(workdir.saved_model, overwrite=True)
    if budget.format != "saved_model":
        exported = directory / budget.format
        # Limits are those of the network, as it was estimated, without what fits images.
        exportable.portable(exported, budget.format, fit=False, int8=budget.int8, overwrite=True)
    return exported, evaluation


def make_way(directory: Path, settings: str) -> None:
    """Moves another run out of the way, and the one with these settings back, if there is one.

    Args:
        directory: workdir of the choice.
        settings: config of its run, as `config.to_json` returns it.
    """
    others = directory.parent / OTHERS
    if (directory / "config.json").is_file():
        before = config.to_json(config.saved(directory, config.Experiment))
        if before == settings:
            return
        others.mkdir(exist_ok=True)
        directory.rename(others / _key(before))
    if not directory.is_dir() and (others / _key(settings)).is_dir():
        (others / _key(settings)).rename(directory)


def _key(settings: str) -> str:
    """Returns the name of a run's folder: its network, and the checksum of its config."""
    values = json.loads(settings)
    return f"{values['model']['name']}-{values[checked.KEY]}"
