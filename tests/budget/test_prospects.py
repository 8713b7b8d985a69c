"""What is examined after the choice has been trained."""

from dataclasses import replace

import numpy as np
import pytest

from tests.budget.test_competition import competition
from tfeff import config
from tfeff.budget import prospects
from tfeff.budget.prospects import Prospects
from tfeff.errors import UserError
from tfeff.trials import growth


@pytest.mark.parametrize(("seconds", "affordable"), [(45.0, True), (55.0, False)])
def test_no_time_is_kept_for_a_final_training_that_is_over(seconds, affordable):
    found = competition({"a": (0.9, 0.9), "b": (0.8, 0.8)}, minutes=1)
    found.compete()
    found.clock.seconds = seconds
    assert prospects._affordable(found, "a further training", "a", [(2.0, 1)]) == affordable  # it takes ten seconds
    assert found.said == ([] if affordable else ["skipped, because the time is over: a further training"])
    assert prospects._affordable(found, "a stored training", "a", [(1.0, 0)])


def test_each_choice_has_its_own_decisions():
    found = competition({"a": (0.9, 0.9), "b": (0.9, 0.9)}, minutes=1)
    found.compete()
    found.clock.seconds = 45.0
    found.candidates["b"] = replace(found.candidates["b"], macs=10**6)
    found.runner.seconds = {job: seconds for job, seconds in found.runner.seconds.items() if job.candidate == "a"}
    assert prospects._affordable(found, "a further training", "a", [(2.0, 1)])
    assert not prospects._affordable(found, "a further training", "b", [(2.0, 1)])


def test_a_forecast_that_cannot_be_configured_costs_no_answer():
    def on_part(*_):
        raise UserError("task.plain_epochs is 10; it should be at most training.epochs = 9")

    found = competition({"a": (0.9, 0.9)})
    found.compete()
    found.study.on_part = on_part
    assert prospects.prospects(found, "a") == "task.plain_epochs is 10; it should be at most training.epochs = 9"


FOLDS = np.array([0.2, 0.25, 0.3])
"""Odds of an error on each fold, of the choice with all 100 images."""
IMAGES, MACS, EPOCHS = -0.4, -0.2, -0.1


def accuracies(images=1.0, macs=1.0, epochs=1.0):
    return tuple(1 / (1 + FOLDS * images**IMAGES * macs**MACS * epochs**EPOCHS))


def growing(minutes=None):
    """Returns a finished competition of two networks, one with half of the other's multiply-adds."""
    values = {"a": accuracies(), "b": accuracies(macs=0.5)}
    variants = {"a-25": accuracies(images=0.25), "a-50": accuracies(images=0.5), "a-longer": accuracies(epochs=2.0)}
    found = competition(values, minutes=minutes)
    found.candidates["b"] = replace(found.candidates["b"], macs=500)
    found.compete()
    found.runner.values = values | variants
    whole = found.candidates["a"]

    def on_part(name, share, precision):
        count = round(100 * share)
        experiment = config.override(whole.experiment, ["data.folds=2", f"data.fold_train_examples={count}"])
        return replace(whole, name=f"{name}-{count}", experiment=experiment)

    found.study.on_part = on_part
    found.study.longer = lambda name, factor, precision: replace(whole, name=f"{name}-longer")
    return found


def test_a_power_law_is_found_from_the_measured_mean_on():
    found = growing()
    expected = prospects.prospects(found, "a")
    assert isinstance(expected, Prospects)
    assert expected.mean == pytest.approx(np.mean(accuracies()))
    assert expected.mean == found.ranking().summaries["a"].mean
    assert set(expected.varied) == {"macs", "epochs"}
    assert sorted({images for images, _ in expected.trainings}) == [25, 50, 100]
    for variable in ("images", "macs", "epochs"):
        gain, true = expected.expected(**{variable: 2.0}), np.mean(accuracies(**{variable: 2.0})) - expected.mean
        assert gain.gain == pytest.approx(true, abs=0.005)
        assert gain.low < true < gain.high
    assert expected.check.measured == pytest.approx(expected.mean)
    assert expected.check.forecast.accuracy == pytest.approx(expected.mean, abs=0.01)
    assert expected.check.inside


def test_as_it_is_nothing_is_gained():
    expected = prospects.prospects(growing(), "a").expected()
    assert (expected.accuracy, expected.gain) == (pytest.approx(np.mean(accuracies())), 0.0)


def test_what_is_expected_follows_from_the_exponents():
    rows = [growth.Training(images, 1e8, 0, 0.2, 100) for images in (25, 50, 100)]
    fitted = growth.fit(rows)
    found = Prospects(fitted, [], 0.9, ["macs"], prospects.checked(rows[:2], 100, {0: 0.8}))
    exponents = {name: mean for name, (mean, _) in fitted.exponents.items()}
    odds = 0.1 / 0.9 * 4 ** exponents["images"] * 2 ** exponents["macs"]
    assert found.expected(images=4.0, macs=2.0).accuracy == pytest.approx(1 / (1 + odds))


def test_a_check_holds_all_trainings_on_all_images_back():
    rows = [
        growth.Training(images, 1e8, fold, 0.2 * (images / 100) ** -0.4, 1000) for images in (25, 50) for fold in (0, 2)
    ]
    check = prospects.checked(rows, 100, {0: 0.79, 1: 0.1, 2: 0.81})
    assert check.measured == pytest.approx(0.8)  # on the folds of the parts
    assert check.inside
    surprise = prospects.checked(rows, 100, {0: 0.5, 2: 0.52})
    assert surprise.forecast == check.forecast
    assert not surprise.inside


def test_without_time_a_forecast_says_how_many_minutes_it_takes():
    found = growing(minutes=2)
    found.clock.seconds = 100.0  # three trainings on a quarter and three on half of the images take 22.5 seconds
    why = prospects.prospects(found, "a")
    assert why == "no time was left; a forecast requires about 3 minutes or more (budget.minutes=3)"
    found.clock.seconds = 115.0
    assert prospects.prospects(found, "a") == why


def test_shortened_trainings_are_not_extrapolated():
    found = growing(minutes=2)
    found.clock.seconds = 60.0
    found.time.pace = 0.2
    why = prospects.prospects(found, "a")
    # Two networks on three folds and the choice take 10 seconds each, if they are whole, and the parts 22.5.
    minutes = "about 3 minutes or more (budget.minutes=3)"
    assert why == f"the trainings on folds were shortened; a forecast requires whole ones, and {minutes}"


def test_a_metric_without_bounds_is_not_forecast():
    found = competition({"a": (-0.9, -0.8)}, metric="validation_loss")
    found.compete()
    assert prospects.prospects(found, "a") == "-(validation loss) is not in [0, 1]"
