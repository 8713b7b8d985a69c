"""The outcome of a budget search in words."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.budget.test_study import study_of
from tfeff.budget.answer import answer
from tfeff.budget.delivery import Delivered
from tfeff.budget.limits import Bounds
from tfeff.budget.study import Fate
from tfeff.budget.teachers import Teacher
from tfeff.config import Limits


def findings(*overrides, error=0.0):
    """Returns what is known after a search that chose the first network."""
    study = study_of(*overrides)
    name = study.shortlist[0]
    object.__setattr__(study, "bounds", Bounds(Limits(latency="20ms"), lambda measure: 1.0))
    errors = {"latency": error} if error else {}
    delivered = Delivered(name, Path("best"), Path("best/saved_model"), {"latency": 0.019}, errors, None, 1.0)
    ranking = SimpleNamespace(sentence="It is the best.", chosen=name, order=study.shortlist[:3])
    return SimpleNamespace(
        study=study,
        delivered=delivered,
        ranking=ranking,
        fates={},
        complete=True,
        pace=1.0,
        prospects=None,
        labels=None,
        candidates={key: study.candidate(key) for key in study.shortlist[:1]},
        table={name: {(0, 0): 0.9, (2, 0): 0.91}},
        failed=(),
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (0.0, "and meets the budget: latency 19 ms of 20 ms."),
        (0.12, "and is expected to meet the budget: latency 19 ms (estimated, ± 12 %) of 20 ms."),
    ],
)
def test_an_estimate_is_not_stated_as_a_fact(error, words):
    assert words in answer(findings(error=error))


def test_the_answer_says_why_a_network_teaches():
    found = findings()
    assert "imitates" not in answer(found)
    name = list(found.study.networks)[-1]
    object.__setattr__(found.delivered, "teacher", Teacher(name, "the best probe"))
    label = found.study.networks[name].label
    words = f"It imitates {label}, which was trained for this: of all that there was time for, it has the best probe."
    assert words in answer(found)


@pytest.mark.parametrize(
    ("folds", "final", "words"),
    [(0.2, 1.0, ("20 %", "all")), (0.2, 0.5, ("20 %", "50 %")), (1.0, 0.5, ("all", "50 %"))],
)
def test_shortened_trainings_are_stated(folds, final, words):
    found = findings()
    assert "lack of time" not in answer(found)
    found.pace = folds
    object.__setattr__(found.delivered, "pace", final)
    label = found.study.networks[found.delivered.name].label
    assert (
        f"the networks were compared after {words[0]} of the epochs that suit the images; "
        f"{label} was then trained for {words[1]} of them."
    ) in answer(found)


def test_networks_that_there_was_no_time_for_are_counted():
    found = findings()
    found.fates = {"one": Fate("time", "no time"), "two": Fate("time", "no time"), "three": Fate("race", "worse")}
    assert "For lack of time, 2 networks could not be trained on all folds." in answer(found)
    found.complete = False
    assert (
        "The time was over before the networks were compared on all folds; there was no more for 2 other networks."
        in answer(found)
    )


def test_failed_trainings_of_another_choice_than_that_of_the_ranking_are_stated():
    found = findings()
    found.ranking.chosen = found.ranking.order[1]
    trained = found.candidates[found.delivered.name].name
    found.failed = [{"candidate": trained, "fold": 1, "error": "diverged"}, {"candidate": "other", "fold": 3}]
    assert "Its training failed on 1 of 3 folds, which do not count." in answer(found)
    found.ranking.chosen = found.delivered.name  # the sentence of the ranking says it
    assert "failed" not in answer(found)


def test_a_choice_that_was_dropped_before_is_not_called_one_of_the_best():
    found = findings()
    found.ranking.chosen = "another"
    assert "is the first of them that meets the budget when exported." in answer(found)
    object.__setattr__(found.delivered, "dropped", "chance of being within 1 point of the best: 1.2 % after 3 folds")
    words = answer(found)
    assert "None of the networks that were left meets the budget when exported." in words
    assert "was dropped earlier: chance of being within 1 point of the best: 1.2 % after 3 folds." in words
    assert "first of them" not in words


def test_a_better_network_whose_training_failed_is_not_said_to_miss_the_budget():
    found = findings()
    name, best, second = found.ranking.order
    labels = {each: found.study.networks[each].label for each in found.ranking.order}
    found.ranking.chosen, found.ranking.order = best, (best, second, name)
    found.fates = {best: Fate("failed", "trained on all images: the loss is not finite"), name: Fate("chosen", "")}
    reason = f"{labels[best]}: trained on all images: the loss is not finite"
    assert f"It is the best. {labels[name]} is the first of them that could be delivered ({reason})." in answer(found)
    found.fates[second] = Fate("measured", "exported and measured: a latency of 21 ms, above 20 ms")
    object.__setattr__(found.delivered, "dropped", "its probe is worse")
    found.ranking.order = best, second
    reasons = f"{reason}; {labels[second]}: exported and measured: a latency of 21 ms, above 20 ms"
    words = answer(found)
    assert f"None of the networks that were left could be delivered ({reasons}). {labels[name]} was dropped" in words
    assert "meets the budget when exported" not in words


@pytest.mark.parametrize(
    ("named", "split", "words"),
    [("val", "validation", "test"), ("test", "test", "test"), ("test", "validation", "validation")],
)
def test_the_images_of_a_split_that_is_named_as_the_test_split_are_test_images(named, split, words):
    found = findings(f"experiment.data.test_split={named}")
    result = {"accuracy": 0.9, "accuracy_interval": (0.85, 0.94)}
    evaluator = SimpleNamespace(result=lambda report: result)
    evaluation = SimpleNamespace(evaluator=evaluator, report={}, split=split)
    object.__setattr__(found.delivered, "evaluation", evaluation)
    assert f"On the {words} images: accuracy 90.0 % (95 % interval 85.0 % to 94.0 %)." in answer(found)


def test_images_that_are_held_out_from_the_choice_are_stated():
    assert "Trained on all training images and exported" in answer(findings())
    words = "Trained on 80 % of the training images (validated on the others, on which the networks were compared, too)"
    assert words in answer(findings("experiment.data.validation_fraction=0.2"))
