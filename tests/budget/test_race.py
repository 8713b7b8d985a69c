"""The race over folds: which candidates stay in it, and for how long."""

import pytest

from tfeff.budget import race
from tfeff.config import Experiment, Optimizer, Training


def test_stages_grow_and_end_with_all_folds():
    blocks = [(fold, 0) for fold in range(5)]
    found = race.stages(blocks)
    assert [len(each) for each in found] == [1, 3, 5]
    assert found[-1] == blocks
    assert race.stages(blocks[:2]) == [blocks[:1], blocks[:2]]


def test_times_of_networks_that_were_not_trained_follow_their_multiply_adds():
    timing = race.Timing({"a": 1.0, "b": 3.0}, 5.0, {"a": 100, "b": 300, "c": 50})
    assert timing.of("a", 10) == 15.0
    assert timing.of("c", 10) == pytest.approx(10.0)
    assert race.Timing({}, 0.0, {"a": 1}).of("a", 10) is None
    inheriting = race.Timing({"a": 1.0, "b": 3.0}, 5.0, {"a": 100, "b": 300, "c": 50}, {"c": 40.0})
    assert (inheriting.of("a", 10), inheriting.of("c", 10)) == (15.0, pytest.approx(50.0))


def test_the_first_epoch_is_no_measure_of_the_others():
    trainings = [("a", 30.0, [12.0, 2.0, 2.0, 4.0], 4), ("a", 50.0, [2.0] * 10, 10), ("b", 8.0, [6.0], 1)]
    timing = race.Timing.of_trainings(trainings, {"a": 100, "b": 300}, {"a": 20.0, "b": 1.0})
    assert timing.each == {"a": 2.0, "b": 6.0}
    assert timing.start == pytest.approx((2.0 + 10.0 + 1.0) / 3)
    assert timing.of("a", 4) == pytest.approx(13.0 / 3 + 20.0 + 8.0)


def test_stored_features_are_computed_once():
    """Two passes take almost all of the time of ten epochs."""
    stored = race.Timing.of_trainings([("a", 30.0, [18.0, *[0.25] * 8], 2)], {"a": 100, "b": 300}, {"a": 4.0})
    assert stored.each == {"a": 10.0}
    assert stored.start == 6.0
    assert stored.of("b", 2) == pytest.approx(6.0 + 60.0)


@pytest.mark.parametrize(
    ("training", "optimizer", "passes"),
    [
        ({}, {}, 27),
        ({}, {"frozen": ("stem*",)}, 27),
        ({}, {"frozen": ("stem*", "stage*")}, 9),
        ({}, {"frozen": ("stem*", "stage*"), "unfreeze": ("3=stage7*",)}, 27),
        ({"feature_variants": 2}, {"frozen": ("stem*", "stage*")}, 2),
    ],
)
def test_passes_depend_on_what_is_trained(training, optimizer, passes):
    experiment = Experiment(training=Training(epochs=9, **training), optimizer=Optimizer(**optimizer))
    assert race.passes(experiment) == passes
    assert race.passes(experiment, 3) == (passes if training else passes / 3)


def test_trainings_are_shortened_to_the_time_left():
    assert race.pace(60.0, 20.0, 100.0) == pytest.approx(0.5)
    assert race.pace(100.0, 20.0, 100.0) == 1.0
    assert race.pace(-5.0, 20.0, 100.0) == race.SHORT
    assert race.pace(5.0, 0.0, 0.0) == 1.0  # nothing is known


def test_the_hopeless_are_dropped_with_a_reason():
    found = race.dropped({"good": 0.9, "fair": 0.05, "poor": 0.012}, 0.01, "3 folds")
    assert found == {"poor": "chance of being within 1 point of the best: 1.2 % after 3 folds"}


def test_the_time_of_earlier_calls_counts():
    saved = []
    watch = race.Stopwatch(100.0, saved.append)
    assert 100 <= watch.seconds < 101
    watch.save()
    assert 100 <= saved[-1] < 101


def test_the_time_is_stored_now_and_then(monkeypatch):
    clock, saved = [0.0], []
    monkeypatch.setattr(race.time, "monotonic", lambda: clock[0])
    watch = race.Stopwatch(100.0, saved.append)
    for clock[0] in (1.0, 9.0, 11.0, 12.0, 30.0):
        watch.tick()
    assert saved == [111.0, 130.0]
