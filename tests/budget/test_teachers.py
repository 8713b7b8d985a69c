"""Which network teaches the choice: the best one that was seen, if there is time for it."""

from types import SimpleNamespace

import pytest

from tests.budget.test_competition import competition
from tfeff.budget.durations import Timing
from tfeff.budget.probing import Probe
from tfeff.budget.teachers import MEAN, PROBE, SIZE, Teacher, teacher
from tfeff.budget.timekeeping import DELIVERY_SECONDS


def search(values, macs, probes=None, minutes=None):
    """Returns a finished search.

    Args:
        values: network -> values on the folds; empty: it was not trained.
        macs: network -> multiply-adds, also of networks beyond the budget.
        probes: network -> number of the 100 held-out images that its probe gets right.
    """
    found = competition(values, minutes)
    for name in [name for name, row in values.items() if not row]:
        found.drop(name, "time", "no time")
    found.compete()
    for name, cost in macs.items():
        known = vars(found.study.networks.get(name, SimpleNamespace(start=SimpleNamespace(kind="imagenet"))))
        found.study.networks[name] = SimpleNamespace(**{"inherits": False} | known, cost=SimpleNamespace(macs=cost))
    found.time.probes = {
        name: Probe([True] * right + [False] * (100 - right)) for name, right in (probes or {}).items()
    }
    return found


MACS = {"choice": 100, "other": 90, "large": 200, "largest": 1000}
"""The last two are beyond the budget."""


@pytest.mark.parametrize(
    ("values", "probes", "expected"),
    [
        ({"choice": (0.9, 0.92), "other": (0.93, 0.92)}, {}, Teacher("other", MEAN)),
        ({"choice": (0.9, 0.92), "other": (0.89, 0.92)}, {}, Teacher("largest", SIZE)),
        ({"choice": (0.9, 0.92), "other": ()}, {"choice": 60, "other": 90}, Teacher("other", PROBE)),
        (
            {"choice": (0.9, 0.92), "other": ()},
            {"choice": 89, "other": 90},
            Teacher("largest", SIZE),
        ),  # one image is no proof
        ({"choice": (0.9, 0.92), "other": ()}, {"other": 90}, Teacher("largest", SIZE)),
        # A probe says nothing about a network that was trained.
        ({"choice": (0.9, 0.92), "other": (0.89, 0.91)}, {"choice": 60, "other": 90}, Teacher("largest", SIZE)),
    ],
)
def test_the_best_network_that_was_seen_teaches(values, probes, expected):
    assert teacher(search(values, MACS, probes), "choice") == expected


def test_means_are_compared_on_the_same_folds():
    """The second fold is easy: there, the choice is better, although its mean over both folds is lower."""
    values = {"choice": (0.7, 0.9), "other": (None, 0.88)}
    assert teacher(search(values, MACS), "choice") == Teacher("largest", SIZE)


def test_a_network_whose_training_failed_does_not_teach():
    found = search({"choice": (0.9, 0.92), "other": (0.93, 0.92)}, MACS)
    found.drop("other", "failed", "trained on all images: the loss is not finite")
    assert teacher(found, "choice") == Teacher("largest", SIZE)


def test_only_unscaled_networks_with_trained_weights_teach_for_their_size():
    found = search({"choice": (0.9, 0.92)}, MACS)
    found.study.networks["largest"].inherits = True
    assert teacher(found, "choice") == Teacher("large", SIZE)
    scratch = search({"choice": (0.9, 0.92)}, MACS | {"largest": 50})
    scratch.study.networks["large"].start = SimpleNamespace(kind="scratch")
    assert teacher(scratch, "choice") is None


@pytest.mark.parametrize(
    ("left", "expected"),
    [(2000.1, Teacher("best", MEAN)), (1999.9, Teacher("other", MEAN)), (179.9, None)],
)
def test_the_teacher_takes_at_most_half_of_the_time_that_is_left(left, expected):
    values = {"choice": (0.9, 0.9), "other": (0.95, 0.95), "best": (0.96, 0.96)}
    found = search(values, MACS | {"best": 1000}, minutes=100)
    found.time.timing = lambda: Timing({"choice": 100.0}, 0.0, {"choice": 100, "other": 90}, {})
    found.study.final_passes = lambda name, pace=1.0, taught=False: 1.0  # 100 s for 100 multiply-adds
    found.clock.seconds = 6000 - DELIVERY_SECONDS - left
    assert teacher(found, "choice") == expected


def test_a_teacher_stays_the_same_when_a_search_resumes():
    found = search({"choice": (0.9, 0.92), "other": ()}, MACS)
    assert teacher(found, "choice") == Teacher("largest", SIZE)
    found.time.probes = {"choice": Probe([False] * 100), "other": Probe([True] * 100)}
    assert teacher(found, "choice") == Teacher("largest", SIZE)
    del found.study.networks["largest"]
    assert teacher(found, "choice") == Teacher("other", PROBE)  # of other networks
