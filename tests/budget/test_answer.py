"""The outcome of a budget search in words."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.budget.test_study import study_of
from tfeff.budget.answer import answer, evaluated, growth
from tfeff.budget.delivery import Delivered
from tfeff.budget.labels import Labels, ToLabel
from tfeff.budget.limits import Bounds
from tfeff.budget.prospects import Check
from tfeff.budget.search import Moments
from tfeff.budget.study import Fate
from tfeff.budget.teachers import Teacher
from tfeff.budget.verification import Loss, Verification
from tfeff.config import Limits
from tfeff.trials.growth import Forecast, Gain
from tfeff.trials.results import TrialObjective


def findings(*overrides, error=0.0):
    """Returns what is known after a search that chose the first network."""
    study = study_of(*overrides)
    name = study.shortlist[0]
    object.__setattr__(study, "bounds", Bounds(Limits(latency="20ms"), lambda measure: 1.0))
    errors = {"latency": error} if error else {}
    costs, nothing = {"latency": 0.019}, Verification(None, Loss(0.0, -0.01, 0.01, 100))
    delivered = Delivered(name, Path("best"), Path("best/saved_model"), costs, errors, None, nothing, 1.0)
    ranking = SimpleNamespace(sentence="It is the best.", chosen=name, order=study.shortlist[:3])
    return SimpleNamespace(
        study=study,
        delivered=delivered,
        ranking=ranking,
        fates={},
        complete=True,
        pace=1.0,
        prospects=None,
        no_forecast="",
        labels=None,
        moments=Moments(60.0, 90.0, 120.0),
        candidates={key: study.candidate(key) for key in study.shortlist[:1]},
        table={name: {(0, 0): 0.9, (2, 0): 0.91}},
        failed=(),
        to_label=None,
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


def test_a_choice_without_comparison_is_stated():
    found = findings()
    found.table, found.complete, found.pace = {found.delivered.name: {}}, False, 0.2
    found.fates = {"one": Fate("time", "no time")}
    assert "lack of time" not in answer(found)
    assert "The time was over" not in answer(found)
    object.__setattr__(found.delivered, "pace", 0.5)
    label = found.study.networks[found.delivered.name].label
    assert f"For lack of time, {label} was trained for 50 % of the epochs that suit the images." in answer(found)
    assert "compared" not in answer(found)


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
    evaluate(found, trained=(0.9, 0.85, 0.94), exported=(0.9, 0.85, 0.94), split=split)
    interval = "(95 % interval 85.0 % to 94.0 %)"
    assert f"On the {words} images: accuracy 90.0 % {interval} as exported (saved_model) and as trained." in answer(
        found
    )


def evaluate(found, trained, exported, split="test"):
    """Sets accuracies of the choice, (value, low, high)."""
    evaluator = SimpleNamespace(
        result=lambda report: {"accuracy": report["of"][0], "accuracy_interval": report["of"][1:]}
    )
    evaluation = SimpleNamespace(evaluator=evaluator, report={"of": trained}, split=split)
    object.__setattr__(found.delivered, "evaluation", evaluation)
    object.__setattr__(found.delivered.verified, "report", {"of": exported})


def test_both_accuracies_are_stated_if_the_export_changes_it():
    found = findings("budget.format=litert", "budget.precision=int8")
    evaluate(found, trained=(0.948, 0.9, 0.973), exported=(0.901, 0.84, 0.94))
    words = "On the test images: accuracy 90.1 % (95 % interval 84.0 % to 94.0 %) as exported (litert, int8), "
    assert f"{words}94.8 % (95 % interval 90.0 % to 97.3 %) as trained." in answer(found)
    assert evaluated(found) == [
        {"network as": "exported (litert, int8)", "accuracy": 0.901, "95 % from": 0.84, "to": 0.94},
        {"network as": "trained", "accuracy": 0.948, "95 % from": 0.9, "to": 0.973},
    ]


@pytest.mark.parametrize(
    ("loss", "margin", "stated"),
    [
        (Loss(0.04, 0.02, 0.06, 500), "none", True),
        (Loss(0.04, 0.02, 0.06, 500), "0.05", False),
        (Loss(0.04, -0.01, 0.09, 500), "none", False),
        (Loss(0.009, 0.002, 0.016, 500), "none", False),
    ],
)
def test_a_loss_by_the_export_is_stated_if_it_is_certain_and_large(loss, margin, stated):
    found = findings(f"objective.margin={margin}")
    object.__setattr__(found.delivered.verified, "loss", loss)
    assert ("The export costs 4.0 points (95 % interval 2.0 to 6.0, on 500 training" in answer(found)) is stated


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (
            ("beaten", "failed", "measured"),
            "no other network that was expected to be better could be delivered in time",
        ),
        (("exported", "beaten"), "1 other network was trained, too, and not better when exported"),
        (("exported", "exported"), "2 other networks were trained, too, and not better when exported"),
    ],
)
def test_what_was_done_about_a_loss_by_the_export_is_stated(stages, words):
    found = findings()
    object.__setattr__(found.delivered.verified, "loss", Loss(0.04, 0.02, 0.06, 500))
    found.fates = {str(number): Fate(stage, "") for number, stage in enumerate(stages)}
    assert f"on 500 training images), probably more on new ones; {words}." in answer(found)


def test_networks_that_are_compared_by_another_metric_do_not_give_way_because_of_their_export():
    found = findings("objective.margin=0.5")
    object.__setattr__(found.study, "objective", TrialObjective("validation_loss"))
    object.__setattr__(found.delivered.verified, "loss", Loss(0.04, 0.02, 0.06, 500))
    words = "no other network was tried, because they are compared by -(validation loss)."
    assert f"probably more on new ones; {words}" in answer(found)


def test_a_network_in_place_of_one_that_loses_accuracy_by_the_export():
    found = findings()
    name, best, _ = found.ranking.order
    found.ranking.chosen = best
    found.fates = {best: Fate("exported", "when it is exported, it loses 4.0 points"), name: Fate("chosen", "")}
    first, other = (found.study.networks[each].label for each in (best, name))
    assert f"{other} is delivered instead ({first}: when it is exported, it loses 4.0 points)." in answer(found)


@pytest.mark.parametrize(
    ("moments", "pace", "words"),
    [
        ((60, 90, 120), 1.0, " minutes of 2."),
        ((150, 160, 160), 1.0, ": they were over before the training of the choice."),
        ((60, 110, 160), 1.0, ": what came after the export took longer than expected."),
        ((60, 150, 150), 0.2, ": the training of the choice could not be shortened further."),
        ((60, 150, 150), 0.8, ": training, evaluation and export of the choice took longer than expected."),
    ],
)
def test_the_time_is_stated_and_why_it_was_too_long(moments, pace, words):
    found = findings("budget.minutes=2")
    found.moments = Moments(*moments)
    object.__setattr__(found.delivered, "pace", pace)
    assert f"The search took {moments[-1] / 60:.1f} minutes of 2" in answer(found)
    assert words in answer(found)


@pytest.mark.parametrize(
    ("labels", "prospects", "words"),
    [
        (True, False, "the examination of labels"),
        (False, True, "the forecast of more images and compute"),
        (True, True, "the examination of labels and the forecast of more images and compute"),
    ],
)
def test_what_took_too_long_after_the_export_is_named(labels, prospects, words):
    found = findings("budget.minutes=2")
    found.moments = Moments(60.0, 110.0, 160.0)
    found.labels = Labels(600, 0, 600, 0.0, -0.01, 0.01) if labels else None
    found.prospects = forecast() if prospects else None
    assert answer(found).endswith(f"minutes of 2: {words} took longer than expected.")


def test_another_training_of_a_choice_explains_the_time():
    found = findings("budget.minutes=1")
    found.moments = Moments(50.0, 120.0, 120.0)
    found.ranking.chosen = "another"  # which missed the budget before any training on all images
    assert "more than one choice" not in answer(found)
    object.__setattr__(found.delivered, "others", 1)
    assert answer(found).endswith("The search took 2.0 minutes of 1: more than one choice was trained.")


def test_images_that_are_held_out_from_the_choice_are_stated():
    assert "Trained on all training images and exported" in answer(findings())
    words = "Trained on 80 % of the training images (validated on the others, on which the networks were compared, too)"
    assert words in answer(findings("experiment.data.validation_fraction=0.2"))


GAINS = {
    (): Gain(0.83, 0.0, 0.0, 0.0),
    ("images", 2.0): Gain(0.861, 0.031, 0.008, 0.052),
    ("images", 4.0): Gain(0.88, 0.05, 0.01, 0.08),
    ("epochs", 2.0): Gain(0.8296, -0.0004, -0.012, 0.011),
}


def forecast(measured=0.83):
    """What is known about images and epochs, not about multiply-adds."""
    return SimpleNamespace(
        varied=["epochs"],
        expected=lambda **factors: GAINS[next(iter(factors.items()), ())],
        check=Check(Forecast(0.824, 0.79, 0.853), measured),
    )


def test_gains_are_stated_with_their_intervals_and_the_check():
    found = findings()
    found.prospects = forecast()
    assert (
        "Twice the images would add 3.1 points of mean accuracy on the folds (95 % interval 0.8 to 5.2), twice the "
        "epochs 0.0 (-1.2 to 1.1). As a check, the trainings on at most half of the images alone forecast 82.4 % "
        "(79.0 % to 85.3 %) with all of them; 83.0 % was measured, inside the interval."
    ) in answer(found)
    found.prospects = forecast(measured=0.78)
    assert "; 78.0 % was measured, outside the interval. So do not rely on the gain from more images." in answer(found)


def test_the_table_of_gains_begins_with_what_was_measured():
    found = findings()
    assert growth(found) == []
    found.prospects = forecast()
    first, second, *_, last = growth(found)
    assert first == {"with": "as it is", "accuracy": 0.83, "points gained": None, "95 % from": None, "to": None}
    assert second["with"] == "twice the images"
    gained = [second[key] for key in ("accuracy", "points gained", "95 % from", "to")]
    assert gained == pytest.approx([0.861, 3.1, 0.8, 5.2])
    assert last["with"] == "twice the epochs"


def test_why_there_is_no_forecast_is_stated():
    found = findings()
    assert "forecast" not in answer(found)
    found.no_forecast = "no time was left; a forecast requires about 9 minutes or more (budget.minutes=9)"
    assert f"There is no forecast of what more images or compute would bring: {found.no_forecast}." in answer(found)


def test_images_to_label_next_are_stated():
    found = findings()
    found.to_label = ToLabel("photos", 2000, 100, Path("best/analysis/label_next.csv"))
    assert (
        "Labels of 100 of the 2,000 images of photos would teach it most (uncertain ones that differ from each other): "
        "best/analysis/label_next.csv lists them."
    ) in answer(found)
