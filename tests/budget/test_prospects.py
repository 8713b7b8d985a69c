"""What is examined after the choice has been trained."""

from dataclasses import replace

import pytest

from tests.budget.test_competition import competition
from tfeff.budget import prospects
from tfeff.errors import UserError


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
    assert prospects.prospects(found, "a") is None
    assert found.said == ["no forecast: task.plain_epochs is 10; it should be at most training.epochs = 9"]
