"""Training of the choice on all training images, evaluation and export."""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tfeff import checked, config, training
from tfeff.budget.limits import Costs, Errors
from tfeff.budget.study import Study
from tfeff.budget.teachers import Teacher
from tfeff.budget.verification import Loss, Verification, verify
from tfeff.errors import DivergedError, NoRoomError, UserError
from tfeff.serving import run as serving
from tfeff.serving.exportable import Exportable
from tfeff.training.evaluation import RunEvaluation
from tfeff.trials.store import TrialStore

TEACHERS = "teachers"
"""Folder of the runs that choices imitate."""
Settings = Mapping[str, Any]
"""All values of the config of a run, by dotted key."""
OTHERS = "others"
"""Folder of earlier choices: those that exceeded the budget when they were exported, and those of other budgets or
teachers."""


class NotDeliveredError(UserError):
    """A network whose training on all images diverged, or that cannot be exported; another one may do."""


@dataclass(frozen=True)
class Delivered:
    """The chosen network.

    Attributes:
        name: the candidate's name.
        pace: share of the epochs of the rules for which it was trained on all training images.
        teacher: the network that it imitates; None if there is none.
        workdir: workdir of its run on all training images.
        exported: the exported model.
        costs: measured in the exported form, with those that are exact, and the latency on another device.
        errors: how wrong those can be that are estimates.
        evaluation: evaluation on the test images, else on the validation images; None if there are none.
        verified: what the exported network predicts.
        dropped: why it was dropped before those that were left missed the budget; None: it was not.
        others: number of other networks that were trained on all training images to be chosen.
    """

    name: str
    workdir: Path
    exported: Path
    costs: Costs
    errors: Errors
    evaluation: RunEvaluation | None
    verified: Verification
    pace: float
    teacher: Teacher | None = None
    dropped: str | None = None
    others: int = 0


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
    return training.train(settings, directory / _key(config.flatten(settings)), reporter=reporter).path


def deliver(
    study: Study,
    name: str,
    precision: str,
    pace: float,
    directory: Path,
    reporter: training.Reporter,
    store: TrialStore,
    teacher: Path | None = None,
) -> tuple[Path, RunEvaluation | None, Verification]:
    """Trains a candidate on all training images, evaluates and exports it, and evaluates the export.

    Args:
        precision: dtype policy of the training, used if neither the config nor the rules choose one.
        pace: share of the epochs that it is trained for.
        directory: workdir of the run; an interrupted run continues, another one gives way.
        reporter: reports the progress of the training.
        store: keeps the evaluation of the export, as long as that of the network remains the same.
        teacher: workdir of the run that is imitated, if any.

    Returns:
        The exported model; the evaluation of the network, None if there are no images for it; that of the export.

    Raises:
        NotDeliveredError: the training diverged, or the network cannot be exported.
        UserError: another error of the training.
    """
    keras.backend.clear_session()
    settings = study.final(name, precision, pace, teacher)
    values, budget = config.flatten(settings), study.settings.budget
    moved = make_way(directory, values)
    if moved is not None:
        reporter.say(moved)
    try:
        workdir = training.train(settings, directory, reporter=reporter, choices={})
    except DivergedError as error:
        raise NotDeliveredError(str(error)) from None
    model = training.trained_model(workdir)
    evaluation = training.finish_run(workdir, reporter, model)
    try:
        exported = _export(serving.exportable(workdir, model), workdir, budget)
    except NoRoomError:
        raise
    except UserError as error:
        raise NotDeliveredError(f"it cannot be exported ({budget.format}): {error}") from None
    split, report = (None, {}) if evaluation is None else (evaluation.split, evaluation.report)
    found = store.cached(
        f"verified {_key(values)} as {budget.form}, evaluation {checked.checksum(report)}",
        lambda: dataclasses.asdict(verify(workdir, model, exported, split, reporter)),
    )
    return exported, evaluation, Verification(found["report"], Loss(**found["loss"]))


def _export(exportable: Exportable, workdir: training.Workdir, budget: config.Limits) -> Path:
    """Exports a trained network, and returns the model in the format of the budget."""
    exported = exportable.saved_model(workdir.saved_model, overwrite=True)
    if budget.format != "saved_model":
        exported = workdir.path / budget.format
        # Limits are those of the network, as it was estimated, without what fits images.
        exportable.portable(exported, budget.format, fit=False, precision=budget.precision, overwrite=True)
    return exported


def make_way(directory: Path, settings: Settings) -> str | None:
    """Moves another run out of the way, and the one with these settings back, if there is one.

    Keys that change no result may differ: a run resumes with other values.

    Args:
        directory: workdir of the choice.
        settings: config of its run.

    Returns:
        What was done and why, in words, if a run of the same network gives way to one that is trained; else None.
    """
    others, key, words = directory.parent / OTHERS, _key(settings), None
    if (directory / config.RUN_FILE).is_file():
        before = config.flatten(config.saved(directory, config.Experiment))
        if _key(before) == key:
            return None
        others.mkdir(exist_ok=True)
        directory.rename(others / _key(before))
        different = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        different = [name for name in different if not config.changes_no_result(name)]
        if not any(name.startswith("model.") for name in different) and not (others / key).is_dir():
            words = (
                f"the choice was trained with other values of {', '.join(different)}; it is trained again, and the "
                f"earlier run is now {others / _key(before)}"
            )
    if not (directory / config.RUN_FILE).is_file() and (others / key).is_dir():
        if directory.is_dir():
            shutil.rmtree(directory)  # of a run that was killed before its config was written
        (others / key).rename(directory)
    return words


def _key(settings: Settings) -> str:
    """Returns the name of a run's folder: its network, and a checksum of what decides its result."""
    values = {name: value for name, value in settings.items() if not config.changes_no_result(name)}
    return f"{settings['model.name']}-{checked.checksum(values)}"
