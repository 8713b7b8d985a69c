"""What trainings cost, in predictions of their images, and how long that takes."""

import pytest

from tfeff.budget import durations
from tfeff.config import Experiment, Optimizer, Training
from tfeff.trials.trial import Candidate


def test_times_of_networks_that_were_not_trained_follow_their_multiply_adds():
    timing = durations.Timing({"a": 1.0, "b": 3.0}, 5.0, {"a": 100, "b": 300, "c": 50})
    assert timing.seconds("a", 10) == 15.0
    assert timing.seconds("c", 10) == pytest.approx(10.0)
    assert durations.Timing({}, 0.0, {"a": 1}).seconds("a", 10) == 0
    inheriting = durations.Timing({"a": 1.0, "b": 3.0}, 5.0, {"a": 100, "b": 300, "c": 50}, {"c": 40.0})
    assert (inheriting.seconds("a", 10), inheriting.seconds("c", 10)) == (15.0, pytest.approx(50.0))


def test_the_first_epoch_is_no_measure_of_the_others():
    trainings = [
        durations.Trained("a", 30.0, [12.0, 2.0, 2.0, 4.0], 4),
        durations.Trained("a", 50.0, [2.0] * 10, 10),
        durations.Trained("b", 8.0, [6.0], 1),
    ]
    timing = durations.Timing.of_trainings(trainings, {"a": 100, "b": 300}, {"a": 20.0, "b": 1.0})
    assert timing.per_pass == {"a": 2.0, "b": 6.0}
    assert timing.start == pytest.approx((2.0 + 10.0 + 1.0) / 3)
    assert timing.seconds("a", 4) == pytest.approx(13.0 / 3 + 20.0 + 8.0)


def test_stored_features_are_computed_once():
    """Two passes take almost all of the time of ten epochs."""
    stored = durations.Timing.of_trainings(
        [durations.Trained("a", 30.0, [18.0, *[0.25] * 8], 2, stored=True)], {"a": 100, "b": 300}, {"a": 4.0}
    )
    assert stored.per_pass == {"a": 10.0}
    assert stored.start == 6.0
    assert stored.seconds("b", 2) == pytest.approx(6.0 + 60.0)


@pytest.mark.parametrize(
    ("training", "optimizer", "passes"),
    [
        ({}, {}, 27),
        ({}, {"frozen": ("stem*",)}, 27),
        ({}, {"frozen": ("stem*", "stage*")}, 9),
        ({}, {"frozen": ("stem*", "stage*"), "unfreeze": ("3=stage7*",)}, 27),
        ({"feature_variants": 2}, {"frozen": ("stem*", "stage*")}, 2),
        ({"feature_variants": 2}, {"frozen": ("stem*", "stage[1-5]*")}, 27),
    ],
)
def test_passes_depend_on_what_is_trained(training, optimizer, passes):
    experiment = Experiment(optimizer=Optimizer(**optimizer), training=Training(epochs=9, **training))
    candidate = Candidate("network", "network", experiment, 1)
    assert durations.passes(candidate) == passes
    assert durations.passes(candidate, 3) == (passes if durations.stores_features(candidate) else passes / 3)
