"""The final training of a budget search."""

from dataclasses import replace
from pathlib import Path

from tests.budget.test_candidates import LITE0, listed
from tfeff import config
from tfeff.budget.limits import Bounds
from tfeff.budget.study import Study
from tfeff.recipes import own, rules
from tfeff.recipes.image_set import LabeledImages
from tfeff.selection import Fingerprint
from tfeff.trials.results import TrialObjective

TEACHER = Path("teacher")


def study(*overrides: str) -> Study:
    """Returns a study of the networks of a budget search whose config has these values."""
    settings = config.override(own.budget("folder:x").base, ["distill=true", *overrides])
    networks = {each.id: each for each in listed(starts=[replace(LITE0, task=settings.experiment.task)])}
    return Study(
        settings=settings,
        objective=TrialObjective("validation_accuracy"),
        examples=(200, 50),
        fingerprint=Fingerprint({}),
        found={},
        num_classes=2,
        networks=networks,
        costs={},
        estimated=(),
        bounds=Bounds(settings.budget, lambda measure: 1.0),
        fates={},
        shortlist=list(networks),
        counted=LabeledImages(count=200, class_counts=(100, 100), side=256),
    )


def test_a_teacher_changes_what_the_rules_chose():
    found = study()
    name = found.shortlist[0]
    plain, taught = found.final(name), found.final(name, teacher=TEACHER)
    assert taught.training.epochs == rules.TAUGHT_EPOCHS * plain.training.epochs
    assert (taught.optimizer.frozen, taught.optimizer.learning_rate) == ((), 0.001)
    assert (taught.task.teacher.runs, taught.task.teacher.features) == (("teacher",), 0.5)
    assert found.taught_epochs == rules.TAUGHT_EPOCHS


def test_a_teacher_changes_no_value_that_was_set():
    changes = "optimizer.frozen=stem*", "optimizer.learning_rate=0.02", "training.epochs=7", "task.teacher.features=1.5"
    found = study(*(f"experiment.{each}" for each in changes))
    taught = found.final(found.shortlist[0], teacher=TEACHER)
    assert (taught.optimizer.frozen, taught.optimizer.learning_rate) == (("stem*",), 0.02)
    assert (taught.training.epochs, taught.task.teacher.features) == (7, 1.5)
    assert found.taught_epochs == 1
    kept = study("candidates.kept=task.teacher.features,training.epochs")  # as set to the values of the recipe
    taught = kept.final(kept.shortlist[0], teacher=TEACHER)
    assert (taught.training.epochs, taught.task.teacher.features) == (config.Training.epochs, 0.0)


def test_a_config_without_rules_keeps_its_epochs():
    found = study("candidates.training=experiment")
    assert found.final(found.shortlist[0], teacher=TEACHER).training.epochs == config.Training.epochs
    assert found.taught_epochs == 1
