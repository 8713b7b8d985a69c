"""What a probe may discard."""

import numpy as np
import pytest

from tfeff import config
from tfeff.budget.probing import Probe, clearly_worse, paired_difference, run, trial_of
from tfeff.budget.probing import probe as probed
from tfeff.execution.executor import Outcome
from tfeff.trials.trial import Candidate


def probe(right: int, total: int) -> Probe:
    return Probe(tuple(index < right for index in range(total)))


def test_only_what_is_certainly_worse_is_discarded():
    probes = {"best": probe(95, 100), "close": probe(90, 100), "bad": probe(60, 100)}
    found = clearly_worse(probes)
    assert set(found) == {"bad"}
    difference, half = found["bad"]
    # Of 102 images, with half of one more in each outcome: 35.5 right for the best alone, 0.5 for the other alone.
    assert difference == pytest.approx(35 / 102)
    error = np.sqrt(36 / 102 - (35 / 102) ** 2) / np.sqrt(102)
    assert half == pytest.approx(2.2414 * error, rel=1e-4)  # the normal quantile of 1 - 0.025 / 2


def test_few_images_discard_nothing():
    others = {f"other {right}": probe(right, 5) for right in range(1, 5)}
    assert clearly_worse({"best": probe(5, 5), **others}) == {}
    assert clearly_worse({}) == {}


def test_images_are_compared_in_pairs():
    """Half of the images are right for both; 20 more for the better one, and the other is right for none of these."""
    better = Probe(tuple([True] * 70 + [False] * 30))
    worse = Probe(tuple([True] * 50 + [False] * 50))
    assert set(clearly_worse({"better": better, "worse": worse})) == {"worse"}


def test_images_of_a_group_count_as_one():
    """Ten images of each of a few photographs say little about others."""
    better, worse = [True] * 80 + [False] * 20, [True] * 60 + [False] * 40
    groups = [index // 10 for index in range(100)]
    alone = {"better": Probe(better), "worse": Probe(worse)}
    grouped = {"better": Probe(better, groups), "worse": Probe(worse, groups)}
    assert set(clearly_worse(alone)) == {"worse"}
    assert clearly_worse(grouped) == {}
    ones = np.arange(100)
    plain = paired_difference(np.array(better), np.array(worse), 0.975)
    assert paired_difference(np.array(better), np.array(worse), 0.975, ones) == pytest.approx(plain, rel=0.05)
    assert paired_difference(np.array(better), np.array(worse), 0.975, 0 * ones)[1] == np.inf


class Store(dict):
    """Facts in memory."""

    fact = dict.get
    write_fact = dict.__setitem__


def test_failed_probes_are_not_repeated():
    calls, store, done = [], Store(), {}

    class Executor:
        slots = 1

        def submit(self, name, function, trial):
            calls.append(name)

        def wait(self, timeout):
            return [Outcome("bad", error="out of memory")]

    def found():
        return run({"bad": None}, store, Executor(), lambda name: True, done.__setitem__, 3, lambda: None, print)

    assert found() == found() == {"bad": "out of memory"}
    assert (calls, done) == (["bad"], {})


def test_lost_probes_are_repeated_with_more_attempts():
    calls, store, outcomes, done = [], Store(), [], {}

    class Executor:
        slots = 1

        def submit(self, name, function, trial):
            calls.append(name)

        def wait(self, timeout):
            return [outcomes.pop(0)]

    def found(attempts):
        return run({"a": None}, store, Executor(), lambda name: True, done.__setitem__, attempts, lambda: None, print)[
            "a"
        ]

    outcomes += [Outcome("a", error="process was killed by SIGKILL", retryable=True)] * 2
    assert found(2) == found(2)
    assert len(calls) == 2
    assert "with a higher --config.trials.attempts" in found(2)
    outcomes.append(Outcome("a", {"correct": [True], "groups": None}))
    assert found(3) == found(2) == done["a"] == Probe([True])
    assert len(calls) == 3


def test_a_batch_may_be_larger_than_the_images_of_a_probe():
    """They are half of the images; trainings on five folds have four fifths."""
    experiment = config.Experiment(
        model=config.architecture("resnet", width=8, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source="embedded:digits", channels=1),
        training=config.Training(batch_size=64, precision="float32"),
    )
    folds = config.Folds(kind="classic", examples=100)
    found = probed(trial_of(Candidate("network", "network", experiment, 1), folds))
    assert len(found["correct"]) == 50
    assert (found["start"] > found["image"] > 0, found["loading"] >= 0) == (True, True)
