"""Searches in which trainings fail, or networks turn out slower than estimated."""

import io
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.budget.test_search import START
from tests.thoroughness import only_thorough
from tfeff import config, training
from tfeff.budget import probing, search
from tfeff.budget.competition import Competition
from tfeff.budget.delivery import NotDeliveredError
from tfeff.budget.limits import Bounds
from tfeff.budget.probing import Probe
from tfeff.budget.search import open_store, run, watch
from tfeff.budget.study import Estimates, prepare
from tfeff.budget.teachers import Teacher
from tfeff.budget.timekeeping import DELIVERY_SECONDS, IMAGES_TO_INHERIT, MACS_PER_SECOND
from tfeff.budget.verification import Loss, Verification
from tfeff.config import (
    BudgetSearch,
    Candidates,
    Data,
    Experiment,
    Folds,
    Limits,
    Objective,
    Optimizer,
    Training,
    architecture,
)
from tfeff.errors import DivergedError, Interrupted, UserError
from tfeff.execution.local import LocalProcesses
from tfeff.trials.allocation import JobPlan
from tfeff.trials.progress import Rate
from tfeff.trials.results import Job, TrialObjective
from tfeff.trials.trial import Candidate

ESTIMATED = {1.0: 0.009, 0.8: 0.007, 0.65: 0.005, 0.5: 0.003}
"""Width -> seconds."""
MEASURED = ESTIMATED | {0.8: 0.0085}
TRAINED = Path("exported"), None, Verification(None, Loss(0.0, -0.01, 0.01, 100))


class Runner:
    """A runner that looks trainings up: network -> value on each fold, None if the training fails."""

    def __init__(self, values, said, clock):
        self.values, self.results, self.seconds, self.rows, self.ended = values, {}, {}, {}, set()
        self.progress = SimpleNamespace(say=said.append, console=Console(file=io.StringIO()))
        self.clock, self.on_check = clock, self.check

    def run(self, group, lengths, stage, blocks):
        for each in group:
            for job in self.ended:  # all that is stored, also of other folds
                if job.candidate == each.name:
                    self.results[job] = self.values[each.name][job.fold]
            for fold, seed in blocks:
                job = Job(each.name, fold, seed, each.experiment.training.epochs)
                self.results[job] = self.values[each.name][fold]
                if job not in self.ended:
                    self.end(job)
                    self.clock.seconds += 10.0
        return JobPlan((), {}, True)

    def end(self, job):
        self.ended.add(job)
        self.seconds[job], self.rows[job] = 10.0, [{"seconds": 5.0}, {"seconds": 5.0}]

    def check(self):
        pass


class Store:
    """Facts in memory."""

    def __init__(self):
        self.facts = {}

    def cached(self, name, compute):
        if name not in self.facts:
            self.facts[name] = compute()
        return self.facts[name]

    def fact(self, name):
        return self.facts.get(name)

    def write_fact(self, name, value):
        self.facts[name] = value


def competition(values, minutes=None, seconds=0.0, metric="validation_accuracy", latencies=None, slots=1, margin=None):
    """Returns a competition of networks whose values on the folds are known.

    Args:
        latencies: network -> measured latency; at most 10 ms are allowed.
    """
    folds, said = max(map(len, values.values())), []
    settings = BudgetSearch(
        budget=Limits(minutes=minutes, latency=None if latencies is None else "10ms"),
        folds=Folds(kind="independent", count=folds, examples=100),
        objective=Objective(margin=margin),
    )
    experiment = Experiment(training=Training(epochs=2), optimizer=Optimizer(frozen=("stage*",)))
    candidates = {name: Candidate(name, name.upper(), experiment, 1000) for name in values}
    study = SimpleNamespace(
        settings=settings,
        detects=False,
        may_shorten=False,
        fates={},
        shortlist=list(values),
        unscaled=lambda names: None,
        candidate=lambda name, precision, pace: candidates[name],
        objective=TrialObjective(metric),
        bounds=Bounds(settings.budget, None),
        costs={name: {"macs": 1000.0} for name in values},
        networks={
            name: SimpleNamespace(id=name, start=SimpleNamespace(kind="imagenet"), inherits=False) for name in values
        },
        examples=(100, 50),
        found={},
        whole=SimpleNamespace(count=0),
        num_classes=2,
        validation_trials=1000.0,
        final_passes=lambda name, pace=1.0, taught=False: (8 if taught else 2) * pace * IMAGES,
    )
    clock = SimpleNamespace(seconds=seconds, save=lambda: None)
    runner = Runner(values, said, clock)

    def measured(networks, num_classes):
        for each in networks:
            found.exports.append(each.id)
            clock.seconds += 3.0
            yield {"latency": latencies[each.id]}

    measures = SimpleNamespace(networks=measured)
    executor = SimpleNamespace(slots=slots, local_slots=slots)
    found = Competition(study, Store(), executor, runner, "float32", measures, clock)
    found.said, found.exports, found.clock = said, [], clock
    return found


IMAGES = 1.0
"""Training images of the choice relative to those of a fold."""


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ({"a": (0.90, 0.89, 0.91), "b": (0.92, 0.91, None)}, ("b", "a")),
        ({"a": (0.90, None, 0.91), "b": (0.92, 0.91, None)}, ("b", "a")),
    ],
)
def test_a_network_whose_training_failed_on_a_fold_is_ranked(values, order):
    found = competition(values)
    found.compete()
    assert found.ranking().order == order
    assert (found.complete, found.fates) == (True, {})


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_unit_of_an_unbounded_metric_does_not_matter(scale):
    rows = {"a": (-5.0, -5.2, -5.1), "b": (-5.1, -5.0, -5.2), "c": (-9.0, -9.1, -9.2)}
    values = {name: tuple(scale * value for value in row) for name, row in rows.items()}
    found = competition(values, metric="validation_loss")
    found.compete()
    assert stages(found) == {"c": "race"}
    # The second fold minus the first one, without its mean: -0.4 / 3, 0.5 / 3, -0.1 / 3; two degrees of freedom.
    deviation = scale * math.sqrt((0.4**2 + 0.5**2 + 0.1**2) / 9 / 2 / 2)
    assert f"chance of being within {deviation:.3g} of the best" in found.fates["c"].reason
    assert found.ranking().chosen == "a"
    tolerant = competition(values, metric="validation_loss", margin=5.0 * scale)
    tolerant.compete()
    assert tolerant.fates == {}


def stages(found):
    return {name: fate.stage for name, fate in found.fates.items()}


def test_stored_trainings_take_no_time():
    found = competition({"a": (0.9, 0.91), "new": (0.9, 0.9), "b": (0.89, 0.9)}, minutes=1, seconds=1000.0)
    for name in "ab":
        for fold in range(2):
            found.runner.end(Job(name, fold, 0, 2))
    found.compete()
    assert stages(found) == {"new": "time"}
    assert "0 folds; raise budget.minutes" in found.fates["new"].reason
    assert (found.ranking().chosen, found.complete) == ("a", True)


@pytest.mark.parametrize("stored", [3, 4, 5])
def test_stored_trainings_of_a_worse_network_do_not_count_if_there_is_no_time_for_the_better_one(stored):
    found = competition(
        {"a": (0.9, 0.895, 0.905, 0.9, 0.9), "b": (0.92, 0.905, 0.922, 0.915, 0.915)}, minutes=1, seconds=1000.0
    )
    for name, folds in (("a", stored), ("b", 3)):
        for fold in range(folds):
            found.runner.end(Job(name, fold, 0, 2))
    found.compete()
    ranking = found.ranking()
    assert (found.fates, found.complete, ranking.order) == ({}, False, ("b", "a"))
    assert ranking.sentence.endswith("significantly above the other candidate, A (3 folds); B is chosen.")


def test_a_search_that_is_resumed_after_its_last_training_drops_the_same_networks():
    values = {"a": (0.9, 0.89, 0.91), "b": (0.9, 0.89, 0.91)}
    found, again = (competition(values, minutes=1.5) for _ in range(2))
    found.compete()
    again.time._store.facts = found.time._store.facts
    for job in found.runner.ended:
        again.runner.end(job)
    again.compete()
    assert found.fates["b"].reason.startswith("no time after 1 fold;")
    assert (again.fates, again.ranking().sentence) == (found.fates, found.ranking().sentence)


@pytest.mark.parametrize("latencies", [None, {"a": 0.02, "b": 0.001, "c": 0.001}])
def test_stored_trainings_on_later_folds_change_no_decision(latencies):
    values = {"a": (0.9, 0.7, 0.7), "b": (0.7, 0.9, 0.9), "c": (0.6, 0.9, 0.9)}
    found, again = (competition(values, latencies=latencies) for _ in range(2))
    for name in values:
        for fold in range(3):
            again.runner.end(Job(name, fold, 0, 2))
    for each in (found, again):
        each.compete()
    assert again.fates == found.fates
    assert stages(found) == ({"b": "race", "c": "race"} if latencies is None else {"a": "measured", "c": "race"})


@pytest.mark.parametrize("slots", [1, 2])
def test_networks_are_trained_until_one_can_be_chosen(slots):
    values = {"a": (None, None), "b": (None, None), "c": (0.9, 0.9), "d": (0.9, 0.9)}
    found = competition(values, minutes=1, seconds=1000.0, slots=slots)
    found.compete()
    assert {name: stage for name, stage in stages(found).items() if name in "cd"} == (
        {"d": "time"} if slots == 1 else {}
    )
    assert found.ranking().chosen == "c"


def test_a_network_that_was_refused_beside_the_first_one_is_trained_if_that_fails():
    found = competition({"a": (None, None), "b": (0.9, 0.9)}, minutes=1, seconds=1000.0, slots=2)
    found.candidates["b"] = replace(found.candidates["b"], macs=2000)
    found.time.rate = Rate(start=0.0, per_image=0.0, per_mac=1e-3)
    found.compete()
    assert found.ranking().chosen == "b"


def test_trainings_of_another_length_are_not_reused():
    found = competition({"a": (0.9, 0.9)})
    for pace, said in ((0.5, 0), (0.5, 0), (0.25, 0), (1.0, 1)):
        found.time.pace = pace
        found._say_reuse()
        assert len(found.said) == said
        if pace == 0.25:
            found.runner.end(Job("a at this pace", 0, 0, 2))
    assert (
        "trainings have 100 % of the epochs that suit the images; those of another budget.minutes had 25 %"
        in found.said[0]
    )


def test_time_is_kept_for_a_training_on_all_images(monkeypatch):
    values = dict.fromkeys("abcdefgh", (0.9, 0.9))
    few = competition(values, minutes=5)
    few.compete()
    monkeypatch.setattr("tests.budget.test_competition.IMAGES", 15.0)  # of 150 s, after at most 75 s
    many = competition(values, minutes=5)
    many.compete()
    assert few.clock.seconds == 160  # two folds of all
    assert many.clock.seconds <= 300 - 1.5 * 150 + 10


def test_trainings_begin_only_if_the_longest_one_fits():
    found = competition({"a": (0.9,) * 5, "b": (0.9,) * 5}, minutes=1, slots=4)
    found.runner.end(Job("b", 0, 0, 2))
    blocks = [(fold, 0) for fold in range(5)]
    assert found._affordable(["a"], blocks, 20.0, first=False)
    assert not found._affordable(["a"], blocks, 19.0, first=False)  # four at once, then the fifth
    assert found._affordable(["a"], blocks[:2], 10.0, first=False)
    assert not found._affordable(["a"], blocks[:2], 9.0, first=False)


def test_steps_tell_how_long_a_training_takes_until_one_is_finished(monkeypatch):
    timed = []

    def measured(candidates, folds, executor, divisor, check):
        timed.extend(each.label for each in candidates)
        return Rate(start=8.0, per_image=0.01, per_mac=1e-5)

    monkeypatch.setattr("tfeff.budget.competition.measured_rate", measured)
    found = competition(dict.fromkeys("abcd", (0.9, 0.9)), minutes=5, slots=2)
    found.screened, found.study.networks["c"].start.kind = {"b": 0.95, "c": 0.9, "d": 0.7}, "scratch"
    found._forecast()
    assert timed == ["B", "A"]  # the most promising of those that start from trained weights
    assert found.time.expected(["a"]) == pytest.approx([8.0 + 2 * 100 * (0.01 + 1000 * 1e-5)])
    assert found.time.affordable_paces("abcd") == (1.0, 1.0)
    again = competition(dict.fromkeys("abcd", (0.9, 0.9)), minutes=5, slots=2)
    again.time._store.facts = found.time._store.facts
    again._forecast()
    assert (len(timed), again.time.expected(["a"])) == (2, found.time.expected(["a"]))
    found.runner.end(Job("b", 0, 0, 2))
    assert found.time.expected(["a"]) == [10.0]


def test_trainings_are_shortened_if_there_is_no_time_for_some_of_the_most_promising(monkeypatch):
    found = competition(dict.fromkeys("abcdefg", (0.9, 0.9)), minutes=1, slots=4)
    found.time.rate = Rate(start=0.0, per_image=0.1, per_mac=0.0)  # 20 s for each; the final training is alone: 10 s
    found.candidates["g"] = replace(found.candidates["g"], macs=10**9)
    whole, trials = 1.5 * 10, 60 - 30 - 1.5 * 10  # 30 s to deliver
    assert found.time.affordable_paces("abcdefg") == pytest.approx((trials / 20, 1.0))
    again = competition(dict.fromkeys("abcdefg", (0.9, 0.9)), minutes=1, slots=4, seconds=16.0)
    again.time.rate = found.time.rate
    final = 60 - 30 - 16 - 0.2 * 20  # after short trainings
    assert again.time.affordable_paces("abcdefg") == pytest.approx((0.2, final / whole))


def test_the_choice_is_trained_for_as_many_epochs_as_there_is_time_for():
    """All epochs take two passes of 50 s; of their expected time, a fifth more is kept."""
    for seconds, pace in ((400.0, 1.0), (480.0, 90 / (1.2 * 100)), (570.0, 0.3)):
        found = competition(dict.fromkeys("ab", (0.9, 0.9)), minutes=10, seconds=seconds)
        found.time.rate, found.time.pace = Rate(start=0.0, per_image=0.5, per_mac=0.0), 0.3
        found.time.final_pace = 1.0
        assert found.time.pace_of_choice("a", taught=False) == pytest.approx(pace)
        found.clock.seconds = 0.0  # a search that is resumed trains it as before
        assert found.time.pace_of_choice("a", taught=False) == pytest.approx(pace)
    whole = competition({"a": (0.9, 0.9)}, minutes=10, seconds=570.0)
    whole.time.rate = found.time.rate
    assert whole.time.pace_of_choice("a", taught=False) == 1.0  # as on the folds


def test_trainings_on_folds_that_cannot_be_shortened_do_not_prevent_a_shortened_final_one(monkeypatch):
    """Stored features take two passes of 5 s whatever the epochs; then, all layers are trained in passes of 50 s."""
    monkeypatch.setattr("tfeff.budget.durations.passes", lambda candidate, epochs=None: 2.0)
    monkeypatch.setattr("tfeff.budget.durations.stores_features", lambda candidate: True)
    found = competition(dict.fromkeys("abcd", (0.9, 0.9)), minutes=3)
    found.study.final_passes = lambda name, pace, taught=False: 20 * pace
    found.time.rate = Rate(start=0.0, per_image=0.05, per_mac=0.0)
    final = (180 - 30 - 4 * 10) / (1.5 * 100)
    assert found.time.affordable_paces("abcd") == pytest.approx((1.0, final))
    found._set_pace(1.0, final)
    assert found.time.affordable("abcd", 1.0, final, tolerant=False) == list("abcd")  # 10 s and 110 s
    found.clock.seconds = 40.0
    assert found.time.pace_of_choice("a", taught=False) == pytest.approx(min(1.0, 110 / (1.2 * 100)))
    found.clock.seconds = 150.0
    assert found.time.pace_of_choice("b", taught=False) == pytest.approx(final)


def test_time_is_kept_for_the_final_trainings_of_the_most_promising_networks():
    """Full ones of the promising candidates, shortened ones of the others."""
    found = competition(dict.fromkeys("ab", (0.9, 0.9)), minutes=10)
    found.time.rate = Rate(start=0.0, per_image=0.0, per_mac=1e-4)
    found._set_pace(0.2, 1.0)
    found.candidates["b"] = replace(found.candidates["b"], macs=3000)
    found.time.promising = ["a"]
    assert found.time.deadline(1.0, "ab") == pytest.approx(600 - 30 - 1.5 * 20)  # b: 0.2 * 60
    assert found.time.deadline(1.0, "b") == pytest.approx(600 - 30 - 1.5 * 12)


def timed(found, macs, inherits, images=0.01):
    """Sets what networks cost, and probes of those whose inheritance is given: its seconds, or 0.0."""
    probes = {}
    for name, each in macs.items():
        candidate = found.candidates[name]
        stored = replace(candidate.experiment, training=Training(epochs=2, feature_variants=2))
        found.candidates[name] = replace(candidate, macs=each, experiment=stored)
        found.study.networks[name].inherits = inherits.get(name, 1.0) > 0
        if name in inherits:
            probes[name] = Probe([True] * 9, None, 4.0, inherits[name], images * each)
    found.time.probes = probes
    found._forecast()


def test_probes_tell_how_long_trainings_of_classifiers_take():
    found = competition(dict.fromkeys("abcd", (0.9, 0.9)), minutes=5)
    timed(found, {"a": 10, "b": 20, "c": 30, "d": 40}, {"a": 0.0, "b": 0.0, "c": 50.0})
    # Two epochs of 100 images; "d" inherits like "c".
    assert found.time.expected("abcd") == pytest.approx([4 + 20, 4 + 40, 4 + 50 + 60, 4 + 50 + 80])
    found.runner.end(Job("c", 0, 0, 2))  # 10 s, two epochs of 5 s
    assert found.time.expected("abc") == pytest.approx([2 * 5 / 3, 2 * 10 / 3, 50 + 10])


def test_inheritance_takes_as_long_as_that_of_others_or_as_the_features_of_some_images():
    found, macs = competition(dict.fromkeys("abcd", (0.9, 0.9)), minutes=5), {"a": 10, "b": 20, "c": 30, "d": 40}
    timed(found, macs, {"a": 0.0, "d": 0.0})
    assert list(found.time.loading().values()) == pytest.approx(
        [0, 0.2 * IMAGES_TO_INHERIT, 0.3 * IMAGES_TO_INHERIT, 0]
    )
    assert found.time.loads_before("a", 0.0)
    assert not found.time.loads_before("c", 899.0)
    assert found.time.loads_before("c", 901.0)
    timed(found, macs, {"a": 0.0, "b": 70.0, "d": 0.0})
    assert found.time.loading() == {"a": 0, "b": 70, "c": 70, "d": 0}
    unknown = competition({"a": (0.9, 0.9)})
    unknown.study.networks["a"].inherits = True
    assert unknown.time.loading() == {"a": 0}


@pytest.mark.parametrize(
    ("minutes", "left"),
    [
        (10, ["a", "b", "c", "d"]),
        (4, ["a", "b", "c"]),  # 30 s to deliver; a training and one and a half for the choice: 60, 110, 205, 305 s
        (1.6, ["a", "b"]),  # up to twice as long as the quickest one
        (1, ["a", "b"]),
    ],
)
def test_networks_that_cannot_be_trained_in_time_do_not_compete(minutes, left):
    found = competition(dict.fromkeys("abcd", (0.9, 0.9)), minutes=minutes)
    timed(found, {"a": 10, "b": 20, "c": 30, "d": 40}, dict(zip("abcd", (0.0, 0.0, 18.0, 38.0), strict=True)))
    found._drop_those_without_time()
    assert found.alive == left
    assert set(stages(found).values()) <= {"time"}
    assert len(found.said) == (len(left) < 4)
    found.clock.seconds = 1000.0  # a resumed search decides in the same way
    again = competition(dict.fromkeys("abcd", (0.9, 0.9)), minutes=minutes)
    again.time._store.facts = found.time._store.facts
    again._drop_those_without_time()
    assert again.alive == left


def test_networks_whose_trainings_are_stored_compete_however_late_it_is():
    found = competition(dict.fromkeys("ab", (0.9, 0.9)), minutes=1, seconds=1000.0)
    timed(found, {"a": 10, "b": 20}, {"a": 0.0, "b": 0.0})
    found.runner.end(Job("b", 0, 0, 2))
    found._drop_those_without_time()
    assert found.alive == ["b"]


def test_all_compete_if_it_is_not_known_how_long_they_take():
    found = competition(dict.fromkeys("ab", (0.9, 0.9)), minutes=1, seconds=1000.0)
    found._drop_those_without_time()
    assert found.alive == ["a", "b"]


def test_shortened_trainings_are_followed_by_a_shortened_final_one():
    """Two passes of 50 s; a tenth of both is 10 + 1.5 * 10 s."""
    found = competition(dict.fromkeys("ab", (0.9, 0.9)), minutes=1)
    found.time.rate = Rate(start=0.0, per_image=0.5, per_mac=0.0)
    assert found.time.affordable("ab", 1.0, 1.0, tolerant=False) == []
    assert found.time.affordable("ab", 0.1, 0.1, tolerant=False) == ["a", "b"]
    found.time.pace = 0.1  # for which the candidates have their epochs
    assert found.time.affordable("ab", 0.01, 0.01, tolerant=False) == ["a", "b"]
    assert found.time.affordable("ab", 0.1, 0.1, tolerant=False) == []


@pytest.mark.parametrize(
    ("budget", "split", "kept"),
    [
        (Limits(minutes=10, latency="10ms"), "test", (1500 + 300) * 0.02),
        (Limits(minutes=10, latency="10ms"), "train", 300 * 0.02),
        (Limits(minutes=10, macs="1G"), "validation", (1500 + 300) * 4e8 / MACS_PER_SECOND),
        (Limits(minutes=10, latency="10ms", latencies="phone.json"), "test", (1500 + 300) * 4e8 / MACS_PER_SECOND),
    ],
)
def test_time_is_kept_for_the_predictions_of_the_slowest_exported_network(budget, split, kept):
    found = competition({"fast": (0.9, 0.9), "slow": (0.9, 0.9)}, minutes=10)
    study = found.study
    study.settings = replace(study.settings, budget=budget)
    study.found, study.whole.count = {split: SimpleNamespace(images=1500)}, 300
    study.costs = {"fast": {"macs": 1e8, "latency": 0.01}, "slow": {"macs": 4e8, "latency": 0.02}}
    if budget.latency is None:
        study.costs = {name: {"macs": costs["macs"]} for name, costs in study.costs.items()}
    assert found.time.deadline(1.0, "") == pytest.approx(600 - DELIVERY_SECONDS - kept)


def test_time_is_kept_for_the_teacher_and_for_what_it_teaches():
    found = competition({"a": (0.9, 0.9)}, minutes=10)
    found.time.rate = Rate(start=0.0, per_image=0.1, per_mac=0.0)  # 10 s a pass: 20 s, for the choice 80 + 2 * 20 s
    plain = found.time.deadline(1.0, "a")
    found.study.settings = replace(found.study.settings, distill=True)
    assert (plain, found.time.deadline(1.0, "a")) == (600 - 30 - 1.5 * 20, 600 - 30 - 1.5 * 120)


def test_without_finished_trainings_or_steps_nothing_is_shortened(monkeypatch):
    def measured(candidates, folds, executor, divisor, check):
        raise UserError("out of memory")

    monkeypatch.setattr("tfeff.budget.competition.measured_rate", measured)
    found = competition(dict.fromkeys("ab", (0.9, 0.9)), minutes=1)
    found._forecast()
    assert (found.time.rate, found.time.affordable_paces("ab")) == (None, (1.0, 1.0))


def test_short_trainings_begin_with_the_leader():
    found = competition(dict.fromkeys("abcd", (0.9, 0.9)))
    for name, macs, inherits in (("a", 500, True), ("b", 900, False), ("c", 800, False), ("d", 1000, False)):
        found.candidates[name] = replace(found.candidates[name], macs=macs)
        found.study.networks[name].inherits = inherits
    assert found._by_effort() == ["c", "b", "d", "a"]
    found.leader = "d"
    assert found._by_effort() == ["d", "c", "b", "a"]


def detectors(names, minutes, passes, epochs=20):
    """Returns a competition of detectors whose trainings can be shortened.

    Args:
        passes: number of passes of the final training.
        epochs: number of epochs of a full-length training.
    """
    found = competition(dict.fromkeys(names, (0.9, 0.9)), minutes=minutes)

    def candidate(name, precision, pace):
        own = round(epochs * pace)
        experiment = Experiment(training=Training(epochs=own), optimizer=Optimizer(frozen=("stage*",)))
        found.runner.values[f"{name}-e{own}"] = (0.9, 0.9)
        return Candidate(f"{name}-e{own}", name.upper(), experiment, 1000)

    found.study.detects = found.study.may_shorten = True
    found.study.candidate = candidate
    found.study.final_passes = lambda name, pace, taught=False: passes * pace
    found._forecast = lambda: None
    found._set_pace(1.0)
    return found


def of_sizes(found, macs, unscaled):
    """Gives the detectors of a competition other multiply-adds; `unscaled` are those without scaling, by size."""
    plain = found.study.candidate
    found.study.candidate = lambda name, precision, pace: replace(plain(name, precision, pace), macs=macs[name])
    found.study.unscaled = lambda names: next((each for each in unscaled if each in names), None)
    found._set_pace(1.0)


@pytest.mark.parametrize(
    ("minutes", "alone"),
    [(4.3, None), (4.2, "plain"), (2.95, "plain"), (2.0, "wide"), (1.0, "narrow"), (0.1, "narrow")],
)
def test_without_time_to_compare_detectors_the_largest_that_can_be_trained_long_enough_is(minutes, alone):
    """A pass takes 10, 5 or 1 s. A short training has four; 60 % of the final one are 12, and delivery takes 30 s.

    With a fifth more for the final training, the largest fits into 2.9 minutes; with half as much more, after short
    trainings of it and of the quickest, into 4.23.
    """
    found = detectors(["narrow", "wide", "plain"], minutes=minutes, passes=20)
    of_sizes(found, {"narrow": 100, "wide": 500, "plain": 1000}, ["plain"])
    found.time.rate = Rate(start=0.0, per_image=0.0, per_mac=0.1 / 1000)
    found.study.shortlist = ["narrow", "wide", "plain"]
    found.screen()
    assert found.alone == alone
    found.compete()
    if alone is None:
        assert found.runner.ended
        return
    assert not found.runner.ended
    assert found.ranking().preferred == (alone,)
    assert stages(found) == dict.fromkeys({"narrow", "wide", "plain"} - {alone}, "time")
    assert "with budget.minutes=5 or more" in " ".join(found.said)
    assert found.time.pace_of_choice(alone, taught=False) >= 0.2


def test_a_detector_that_is_trained_alone_meets_the_budget_when_it_is_exported():
    found = competition(dict.fromkeys("abc", (0.9, 0.9)), 1.0, latencies={"a": 0.02, "b": 0.009, "c": 0.001})
    found._forecast, found.study.detects, found.clock.seconds = (lambda: None), True, 59.0
    found.screen()
    assert (found.alone, found.exports, stages(found)) == ("b", ["a", "b"], {"a": "measured", "c": "time"})
    assert found.reserves() == ["c"]
    late = competition(dict.fromkeys("ab", (0.9, 0.9)), 1.0, latencies={"a": 0.02, "b": 0.011})
    late._forecast, late.study.detects, late.clock.seconds = (lambda: None), True, 59.0
    with pytest.raises(UserError, match=r"none of 2 candidates meets it .* B, has a latency of 11 ms"):
        late.screen()


def test_finished_trainings_of_detectors_are_compared_however_late_it_is():
    found = detectors("ab", minutes=1.0, passes=20)
    found.clock.seconds = 30.0
    found.runner.end(Job("a-e4", 0, 0, 4))
    found.runner.end(Job("b-e4", 0, 0, 4))
    found.screen()
    assert found.alone is None
    one = detectors("ab", minutes=1.0, passes=20)
    one.clock.seconds = 30.0
    one.runner.end(Job("a-e4", 0, 0, 4))
    one.screen()
    assert one.alone == "a"
    over = detectors("ab", minutes=1.0, passes=20)
    over.clock.seconds, over.time.over = 70.0, True  # resumed, to end with the best so far
    over.runner.end(Job("a-e4", 0, 0, 4))
    over.screen()
    assert over.alone is None


def test_a_detector_that_was_trained_alone_is_not_replaced_by_a_worse_one():
    """Of the minutes of another call, most are over."""
    found = detectors(["narrow", "plain"], minutes=3.0, passes=20)
    of_sizes(found, {"narrow": 100, "plain": 1000}, ["plain"])
    found.time.rate = Rate(start=0.0, per_image=0.0, per_mac=0.1 / 1000)
    found.screen()
    assert found.alone == "plain"
    pace = found.time.pace_of_choice("plain", taught=False)
    found.time.trained_alone("plain", pace)
    again = detectors(["narrow", "plain"], minutes=4.0, passes=20)
    of_sizes(again, {"narrow": 100, "plain": 1000}, ["plain"])
    again.time.rate, again.clock.seconds = found.time.rate, 180.0
    again.time._store.facts = found.time._store.facts
    again.screen()
    assert again.alone == "plain"
    assert again.time.pace_of_choice("plain", taught=False) == pace


def test_the_largest_and_the_smallest_detector_are_timed(monkeypatch):
    """Also by a single process; both say which one can be trained in time."""
    timed = []

    def measured(candidates, folds, executor, divisor, check):
        timed.extend(each.label for each in candidates)
        return Rate(start=0.0, per_image=0.0, per_mac=0.1 / 1000)

    monkeypatch.setattr("tfeff.budget.competition.measured_rate", measured)
    found = detectors(["wide", "narrow", "plain"], minutes=1.0, passes=20)
    of_sizes(found, {"narrow": 100, "wide": 500, "plain": 1000}, ["plain"])
    Competition._forecast(found)
    assert timed == ["PLAIN", "NARROW"]


def test_without_any_times_the_smallest_detector_is_trained_first():
    found = detectors(["wide", "narrow", "plain"], minutes=1.0, passes=20)
    of_sizes(found, {"narrow": 100, "wide": 500, "plain": 1000}, ["plain"])
    found._lead()
    assert found.leader == "narrow"
    unlimited = detectors(["wide", "narrow", "plain"], minutes=None, passes=20)
    of_sizes(unlimited, {"narrow": 100, "wide": 500, "plain": 1000}, ["plain"])
    unlimited._lead()
    assert unlimited.leader == "plain"


@pytest.mark.parametrize(("minutes", "trained"), [(2.4, "ab"), (2.6, "abc"), (10.0, "abcd")])
def test_detectors_are_compared_as_long_as_the_final_training_has_enough_epochs(minutes, trained):
    """A short training takes 10 s, 60 % of the final one 60 s, for which 90 s are kept, and 30 s for delivery."""
    found = detectors("abcd", minutes=minutes, passes=40)
    found.time.rate = Rate(start=0.0, per_image=0.025, per_mac=0.0)
    found.screen()
    found.compete()
    assert "".join(sorted({job.candidate[0] for job in found.runner.ended})) == trained


def test_networks_without_a_short_training_compete_if_all_trainings_are_as_short():
    """There is time for three short trainings in their stage."""
    found = detectors("abcde", minutes=2.5, passes=20)
    found.screen()
    assert (found.candidates["a"].experiment.training.epochs, found.alive) == (4, list("abcde"))
    longer = detectors("abcde", minutes=2.5, passes=0)
    longer.screen()
    assert (longer.candidates["a"].experiment.training.epochs, longer.alive) == (9, list("abc"))


def test_trainings_are_as_short_if_they_have_the_same_number_of_epochs(monkeypatch):
    found = detectors("abcde", minutes=2.5, passes=13, epochs=13)
    monkeypatch.setattr(found.time, "affordable_paces", lambda names, stored: (0.23, 0.5))
    found.screen()
    assert (found.candidates["a"].experiment.training.epochs, found.alive) == (3, list("abcde"))


@pytest.mark.parametrize(("detects", "chosen"), [(True, "d"), (False, "a")])
def test_some_detectors_are_trained_before_the_share_of_the_first_stage_counts(detects, chosen):
    """Of a minute, 40 % are two trainings."""
    found = competition({"a": (0.9, 0.9), "b": (0.8, 0.8), "c": (0.8, 0.8), "d": (0.95, 0.95), "e": (1.0, 1.0)}, 1.5)
    found.study.detects = detects
    found.compete()
    assert (found.ranking().chosen, stages(found)["e"]) == (chosen, "time")
    assert f"{sum(stage == 'race' for stage in stages(found).values())} candidate" in found.ranking().sentence


def test_others_are_trained_on_the_first_fold_before_more_folds_of_a_single_detector():
    """Of the first four, "d" is far better than the others, and "f" than it; there is time for six trainings."""
    values = {"a": 0.8, "b": 0.8, "c": 0.8, "d": 0.95, "e": 0.8, "f": 0.99}
    found = competition({name: 5 * (value,) for name, value in values.items()}, minutes=2.1)
    found.study.detects = True
    found.compete()
    assert found.ranking().chosen == "f"
    assert {job.candidate for job in found.runner.ended if job.fold == 0} == set("abcdef")


def test_the_largest_of_classifiers_that_were_not_probed_comes_first():
    found = competition(dict.fromkeys("abc", (0.9, 0.9)), minutes=1, seconds=1000.0)
    found.candidates["b"] = replace(found.candidates["b"], macs=2000)
    found.compete()
    assert found.ranking().order == ("b",)


def test_finished_trainings_count_although_there_is_no_time_for_more_of_them():
    found, again = (competition(dict.fromkeys("abcd", (0.9, 0.9)), minutes=minutes) for minutes in (2, 1.5))
    for each in (found, again):
        each.study.may_shorten = True
        each.time.rate = Rate(start=0.0, per_image=0.25, per_mac=0.0)  # 25 s a pass
    assert found.time.affordable_paces("abcd")[0] < 1
    found.store.write_fact("pace", "1.0")
    assert found._stored_paces() is None
    found.runner.end(Job("a", 0, 0, 2))
    assert found._stored_paces() == (1.0, 1.0)
    assert again.time.affordable_paces("abcd", (1.0, 1.0))[0] == 1.0


def test_a_search_whose_minutes_are_over_when_it_resumes_ends_with_the_final_training_that_was_planned():
    over, late = (competition(dict.fromkeys("abcd", (0.9, 0.9)), minutes=2, seconds=each) for each in (120.0, 119.0))
    for each in (over, late):
        each.time.rate = Rate(start=0.0, per_image=0.25, per_mac=0.0)  # 25 s a pass
        each._set_pace(*each.time.affordable_paces("abcd", (0.5, 0.8)))
    assert (over.pace, over.time.final_pace) == (0.5, 0.8)
    assert over.time.pace_of_choice("a", taught=False) == 0.8
    assert (late.pace, late.time.final_pace) == (0.5, 0.2)
    assert late.time.pace_of_choice("a", taught=False) == 0.2


def test_a_network_that_takes_long_remains_the_best_so_far_after_a_shortened_training(monkeypatch):
    """It alone was trained, for 10 of 20 epochs; the other one takes a tenth of the time."""
    found = detectors(["large", "small"], minutes=1, passes=20)
    found.study.detects, made = False, found.study.candidate
    macs = {"large": 10000, "small": 1000}
    found.study.candidate = lambda name, precision, pace: replace(made(name, precision, pace), macs=macs[name])
    monkeypatch.setattr(probing, "run", lambda *_: {})
    monkeypatch.setattr("tfeff.budget.competition.measured_rate", lambda *_: Rate(0.0, 0.0, 1e-5))
    found._set_pace(1.0)
    found.time.over, found.clock.seconds = True, 60.0
    found.store.write_fact("pace", "0.5")
    found.store.write_fact("final pace", "0.8")
    found.runner.end(Job("large-e10", 0, 0, 10))
    found.screen()
    assert (found.pace, found.time.final_pace, found.alive) == (0.5, 0.8, ["large"])
    found.compete()
    assert found.ranking().chosen == "large"
    assert found.runner.ended == {Job("large-e10", 0, 0, 10)}


def test_the_best_so_far_is_what_a_search_without_more_time_chooses():
    values = {"a": (0.80, 0.9, 0.9), "b": (0.82, 0.7, 0.7), "c": (0.81, 0.8, 0.8)}
    found = competition(values)
    assert found.best_so_far() == ""
    run = found.runner.run

    def interrupted(group, lengths, stage, blocks):
        if group[0].name == "c" or len(blocks) > 1:
            raise KeyboardInterrupt
        return run(group, lengths, stage, blocks)

    found.runner.run = interrupted
    with pytest.raises(KeyboardInterrupt):
        found.compete()
    assert found.best_so_far() == "B, mean validation accuracy 0.820 over 1 fold"
    resumed = competition(values, minutes=1, seconds=1000.0)
    for job in found.runner.ended:
        resumed.runner.end(job)
    resumed.compete()
    assert resumed.ranking().chosen == "b"
    found.compared = found.blocks
    for job in (Job("a", fold, 0, 2) for fold in range(3)):
        found.runner.results[job] = values["a"][job.fold]
    for job in (Job("b", fold, 0, 2) for fold in range(3)):
        found.runner.results[job] = values["b"][job.fold]
    assert re.fullmatch(
        r"A, mean validation accuracy 0\.867 \(95 % CI 0\.\d+ to 0\.\d+\) over 3 folds", found.best_so_far()
    )


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({}, ()),
        ({"experiment.data.unlabeled": "photos"}, ()),  # these are only listed, when the search is over
        ({"forecast": False}, ("end",)),
        ({"experiment.data.test_split": "val"}, ("choice", "delivery", "end")),
        ({"distill": True}, ("choice", "delivery", "end")),
        ({"distill": True, "experiment.data.unlabeled": "photos"}, ("choice", "delivery", "end")),
    ],
)
def test_moments_are_those_of_the_first_search_with_the_same_settings(changes, again):
    first = competition({"a": (0.9, 0.9)}, minutes=10)
    other = competition({"a": (0.9, 0.9)}, minutes=10, seconds=100.0)
    other.study.settings = config.override(other.study.settings, changes)
    other.time._store.facts = first.time._store.facts
    names = "choice", "delivery", "end"
    assert [first.time.moment(name) for name in names] == [0.0, 0.0, 0.0]
    assert {name for name in names if other.time.moment(name) == 100.0} == set(again)


def test_a_search_that_is_stopped_in_the_training_of_the_choice_is_continued_by_the_same_command_alone():
    stop = Interrupted(2, "stopped")
    found = competition({"a": (0.9, 0.9)}, minutes=10)
    assert search._stopped(found, stop) is stop  # nothing is trained
    found.compete()
    found.clock.seconds = 100.0
    stopped = search._stopped(found, stop)
    assert (stopped.minutes, stopped.signal_number) == (1.66, 2)
    assert stopped.best.startswith("A, mean validation accuracy 0.900")
    found.time.moment("choice")
    assert search._stopped(found, stop) is stop
    again = competition({"a": (0.9, 0.9)}, minutes=10)
    again.time._store.facts = found.time._store.facts
    again.compete()
    assert search._stopped(again, stop) is stop  # stopped once more, before it comes there again


def test_beside_the_first_training_run_others_that_take_hardly_longer():
    found = competition(dict.fromkeys("abc", (0.9, 0.9)), minutes=1, seconds=1000.0, slots=2)
    found.candidates["b"], found.candidates["c"] = (
        replace(found.candidates[name], macs=macs) for name, macs in (("b", 1200), ("c", 1300))
    )
    found.time.rate = Rate(start=0.0, per_image=0.0, per_mac=1e-3)
    block = [(0, 0)]
    assert found._affordable(["a"], block, 0.0, first=True)
    assert found._affordable(["a", "b"], block, 0.0, first=True)
    assert not found._affordable(["a", "c"], block, 0.0, first=True)
    assert not found._affordable(["a", "b"], block, 0.0, first=False)


def test_a_resumed_search_keeps_its_deadlines():
    values = {"a": (0.9, 0.9), "b": (0.9, 0.9), "c": (0.9, 0.9)}
    found, again = (competition(values, minutes=1.5) for _ in range(2))  # half a minute to deliver
    found._until("0", 0.5)
    again.time._store.facts = found.time._store.facts
    again.clock.seconds = 20.0
    assert again._until("0", 0.5) == 30.0


def test_networks_that_were_worse_only_than_too_slow_ones_come_back():
    found = competition(
        {"slow": (0.95, 0.95), "good": (0.9, 0.9), "poor": (0.5, 0.5), "probed": (0.91, 0.91)},
        latencies={"slow": 0.011, "good": 0.009, "poor": 0.001, "probed": 0.009},
    )
    found.time.probes = {"slow": Probe([True] * 90 + [False] * 10), "probed": Probe([True] * 50 + [False] * 50)}
    found.drop("probed", "probe", "worse than slow")
    found.compete()
    assert stages(found) == {"slow": "measured", "poor": "race"}
    assert found.ranking().order == ("probed", "good")
    assert found.exports == ["slow", "good", "probed"]
    assert found.reserves() == ["poor"]


def test_reserves_are_compared_on_the_same_folds():
    """The first fold is easy: a network that was trained on it alone is not better for that."""
    values = {"best": (0.95, 0.75), "good": (0.92, 0.72), "poor": (0.88,)}
    found = competition(values)
    for name, row in values.items():
        found.runner.results |= {Job(name, fold, 0, 2): value for fold, value in enumerate(row)}
        if name != "best":
            found.drop(name, "race", "worse than the best")
    assert found.reserves() == ["good", "poor"]


def test_it_is_an_error_only_if_no_network_is_fast_enough():
    found = competition({"slow": (0.95, 0.95), "poor": (0.5, 0.5)}, latencies={"slow": 0.012, "poor": 0.011})
    with pytest.raises(UserError, match=r"none of 2 candidates meets it .* POOR, has a latency of 11 ms"):
        found.compete()


def test_without_time_for_more_trainings_nothing_is_measured():
    values = dict.fromkeys("abcd", (0.9, 0.9))
    found = competition(values, minutes=1, latencies=dict.fromkeys(values, 0.009))
    found.clock.seconds = 40.0
    found.compete()
    assert found.exports == []
    assert found.fits("a")
    assert found.exports == ["a"]
    late = competition(values, latencies=dict.fromkeys(values, 0.011))
    assert not late.fits("a")
    assert stages(late) == {"a": "measured"}


def test_nothing_is_measured_for_a_latency_on_another_device():
    values = dict.fromkeys("ab", (0.9, 0.9))
    found = competition(values, latencies=dict.fromkeys(values, 0.009))
    found.study.settings = replace(found.study.settings, budget=Limits(latency="10ms", latencies="phone.json"))
    found.compete()
    assert found.fits("a")
    assert found.exports == []


def test_failed_probes_are_reported(monkeypatch):
    found = competition({"a": (0.9, 0.9), "b": (0.9, 0.9), "new": (0.8, 0.8)})
    for name, each in found.study.networks.items():
        each.start = SimpleNamespace(kind="scratch" if name == "new" else "imagenet")
    failures = dict.fromkeys("ab", "out of memory")
    monkeypatch.setattr(probing, "run", lambda *_: failures)
    found.screen()
    assert stages(found) == dict.fromkeys("ab", "failed")
    assert found.said == [
        "A: its probe failed: out of memory",
        "B: its probe failed: out of memory",
        "every probe failed: only networks that start from random weights are left",
    ]


@pytest.mark.parametrize(("margin", "left"), [(None, ["best"]), (0.01, ["best"]), (0.2, ["best", "cheap"])])
def test_a_margin_also_spares_networks_whose_probe_is_worse(monkeypatch, margin, left):
    found = competition({"best": (0.9, 0.9), "cheap": (0.8, 0.8)}, margin=margin)
    probes = {"best": Probe([True] * 1000), "cheap": Probe([True] * 900 + [False] * 100)}
    monkeypatch.setattr(probing, "run", lambda *_: probes)
    found.screen()
    assert found.alive == left


def delivered(found, monkeypatch, latencies, deliver=lambda *_: TRAINED):
    """Returns what is delivered if the choice has these latencies when it is exported."""
    monkeypatch.setattr(search, "deliver", deliver)
    found.measures.known = lambda name: None
    found.measures.exported = lambda path, name: {"latency": latencies[name.partition(",")[0]]}
    found.study.errors = {name: {} for name in latencies}
    return search._deliver(found, found.ranking(), Path("best"))


def test_the_best_network_gives_way_to_a_cheaper_one_because_of_the_margin(monkeypatch):
    values = {"best": (0.91, 0.92, 0.9), "cheap": (0.9, 0.905, 0.895), "other": (0.89, 0.9, 0.885)}
    found = competition(values, margin=0.1)
    found.study.costs["cheap"] = {"macs": 500.0}
    found.compete()
    assert delivered(found, monkeypatch, dict.fromkeys(values, 0.001)).name == "cheap"
    assert {name: fate.reason for name, fate in found.fates.items()} == {
        "best": "a cheaper network loses less than objective.margin",
        "cheap": "the choice",
        "other": "not the best by its mean over the folds",
    }


def test_a_network_that_was_dropped_is_delivered_if_those_that_were_left_miss_the_budget(monkeypatch):
    values = {"good": (0.9, 0.9), "poor": (0.5, 0.5)}
    found = competition(values, latencies=dict.fromkeys(values, 0.009))
    found.compete()
    assert stages(found) == {"poor": "race"}
    reason = found.fates["poor"].reason
    chosen = delivered(found, monkeypatch, {"good": 0.011, "poor": 0.009})
    assert (chosen.name, chosen.dropped) == ("poor", reason)
    assert stages(found) == {"good": "measured", "poor": "chosen"}
    again = competition(values, latencies=dict.fromkeys(values, 0.009))
    again.compete()
    assert delivered(again, monkeypatch, dict.fromkeys(values, 0.009)).dropped is None


def test_a_choice_whose_training_diverges_gives_way_to_the_next_one(monkeypatch):
    values = {"best": (0.91, 0.92), "next": (0.9, 0.905)}
    found = competition(values)
    found.compete()

    def deliver(study, name, *_):
        if name == "best":
            raise NotDeliveredError("the loss is not finite")
        return TRAINED

    chosen = delivered(found, monkeypatch, dict.fromkeys(values, 0.001), deliver)
    assert (chosen.name, stages(found)) == ("next", {"best": "failed", "next": "chosen"})
    assert found.fates["best"].reason == "trained on all images: the loss is not finite"
    assert "BEST: the loss is not finite" in found.said


def exported_with(losses, tried):
    """Returns a `deliver` that notes what it is called with; networks lose this much by their export."""

    def deliver(study, name, *_):
        tried.append(name)
        loss = losses.get(name, 0.0)
        return Path("exported"), None, Verification(None, Loss(loss, loss - 0.01, loss + 0.01, 500))

    return deliver


VALUES = {"best": (0.92, 0.94, 0.93), "next": (0.9, 0.92, 0.91), "third": (0.895, 0.905, 0.9)}


@pytest.mark.parametrize(
    ("losses", "margin", "tried", "delivered_one"),
    [
        ({"best": 0.005}, None, ["best"], "best"),  # less than a point
        ({"best": 0.015}, None, ["best"], "best"),  # no other is expected to be better
        ({"best": 0.05}, None, ["best", "next"], "next"),
        ({"best": 0.05, "next": 0.04, "third": 0.02}, None, ["best", "next", "third", "best"], "best"),
        ({"best": 0.05, "next": 0.025, "third": 0.01}, None, ["best", "next", "third"], "third"),
        ({"best": 0.05, "next": 0.02, "third": 0.05}, None, ["best", "next", "third", "next"], "next"),
        ({"best": 0.05}, 0.06, ["best"], "best"),
    ],
)
def test_a_choice_that_loses_accuracy_by_the_export_gives_way_to_one_that_may_be_better(
    monkeypatch, losses, margin, tried, delivered_one
):
    found, called = competition(VALUES, margin=margin), []
    found.compete()
    chosen = delivered(found, monkeypatch, dict.fromkeys(VALUES, 0.001), exported_with(losses, called))
    assert (chosen.name, called) == (delivered_one, tried)
    assert chosen.others == len(set(tried)) - 1
    assert found.fates[delivered_one].stage == "chosen"
    assert (chosen.dropped is not None) is (delivered_one == "third")  # in the race
    for name in set(called) - {delivered_one}:
        assert found.fates[name].stage == "exported"
        assert found.fates[name].reason.startswith(f"when it is exported, it loses {100 * losses[name]:.1f} points")


def test_a_network_that_was_dropped_and_loses_accuracy_by_the_export_is_delivered_as_one_that_was_dropped(monkeypatch):
    values, called = {"good": (0.9, 0.9), "poor": (0.5, 0.5), "worst": (0.4, 0.4)}, []
    found = competition(values, latencies=dict.fromkeys(values, 0.009))
    found.compete()
    reason = found.fates["poor"].reason
    latencies = {"good": 0.011, "poor": 0.009, "worst": 0.009}
    chosen = delivered(found, monkeypatch, latencies, exported_with({"poor": 0.05}, called))
    assert (chosen.name, chosen.dropped, called) == ("poor", reason, ["good", "poor"])
    assert stages(found) == {"good": "measured", "poor": "chosen", "worst": "race"}


@pytest.mark.parametrize("metric", ["validation_loss", "validation_top5_accuracy"])
def test_a_loss_of_accuracy_does_not_decide_among_networks_that_another_metric_compares(monkeypatch, metric):
    found, called = competition(VALUES, metric=metric), []
    found.compete()
    chosen = delivered(found, monkeypatch, dict.fromkeys(VALUES, 0.001), exported_with({"best": 0.05}, called))
    assert (chosen.name, called) == ("best", ["best"])


def test_only_networks_that_were_trained_on_all_images_count_as_others(monkeypatch):
    values = {"slow": (0.92, 0.92), "diverging": (0.91, 0.91), "good": (0.905, 0.905)}
    found = competition(values, latencies=dict.fromkeys(values, 0.009))
    found.compete()
    found.measured, found.measures.networks = (
        {},
        lambda networks, classes: iter([{"latency": 0.011 if networks[0].id == "slow" else 0.009}]),
    )

    def deliver(study, name, *_):
        if name == "diverging":
            raise NotDeliveredError("the loss is not finite")
        return TRAINED

    chosen = delivered(found, monkeypatch, dict.fromkeys(values, 0.009), deliver)
    assert stages(found) == {"slow": "measured", "diverging": "failed", "good": "chosen"}
    assert (chosen.name, chosen.others) == ("good", 1)


def test_without_time_a_choice_that_loses_accuracy_by_the_export_stays(monkeypatch):
    called = []
    found = competition(VALUES, minutes=10)
    found.compete()
    found.clock.seconds = 1000.0
    chosen = delivered(found, monkeypatch, dict.fromkeys(VALUES, 0.001), exported_with({"best": 0.5}, called))
    assert (chosen.name, called) == ("best", ["best"])


def test_after_the_choice_the_next_cheapest_that_loses_less_than_the_margin_is_delivered(monkeypatch):
    values = {"best": (0.91, 0.92, 0.9), "cheap": (0.9, 0.905, 0.895), "middle": (0.9, 0.905, 0.895)}
    found = competition(values, margin=0.1)
    found.study.costs |= {"cheap": {"macs": 500.0}, "middle": {"macs": 600.0}}
    found.compete()

    def deliver(study, name, *_):
        if name == "cheap":
            raise NotDeliveredError("the loss is not finite")
        return TRAINED

    assert delivered(found, monkeypatch, dict.fromkeys(values, 0.001), deliver).name == "middle"


def test_a_teacher_that_diverges_leaves_the_choice_without_one(monkeypatch):
    found = competition({"a": (0.9, 0.9)})
    found.study.settings = replace(found.study.settings, distill=True)
    found.study.networks["large"] = SimpleNamespace(label="LARGE")
    found.compete()
    monkeypatch.setattr(search, "teacher", lambda *_: Teacher("large", "the most multiply-adds"))

    def teach(*_):
        raise DivergedError("the loss is not finite")

    monkeypatch.setattr(search, "teach", teach)
    taught = []
    chosen = delivered(found, monkeypatch, {"a": 0.001}, lambda *given: (taught.append(given[-1]), TRAINED)[1])
    assert (chosen.teacher, taught) == (None, [None])
    assert "no teacher: the loss is not finite" in found.said


def test_the_costs_of_a_choice_are_those_of_its_own_training(monkeypatch):
    """A detector that is trained longer, or by a teacher, suppresses other boxes."""
    kept = {}
    monkeypatch.setattr(search, "deliver", lambda *_: TRAINED)
    for pace, latency in ((0.5, 0.001), (1.0, 0.002), (0.5, 0.001)):
        found = competition({"a": (0.9, 0.9)})
        found.compete()
        found.measures.known = kept.get
        found.measures.exported = lambda path, name: kept.setdefault(name, {"latency": 0.001 * (1 + len(kept))})
        found.study.errors = {"a": {}}
        monkeypatch.setattr(found.time, "pace_of_choice", lambda name, taught, pace=pace: pace)
        assert search._deliver(found, found.ranking(), Path("best")).costs["latency"] == latency
        assert found.measured["a"]["latency"] == latency


def test_the_bars_of_the_final_training_are_on_the_console_of_the_search():
    """Two consoles would erase each other's lines."""
    found = competition({"a": (0.9, 0.9)})
    assert search._reporter(found).console is found.runner.progress.console


class Device:
    """A device with latencies by width, on which the first exported models take longer.

    Args:
        late: how many of them.
    """

    def __init__(self, late=0):
        self.late, self.exports, self.kept = late, 0, {}

    def estimated(self, networks, num_classes):
        estimates = [{"latency": ESTIMATED[network.width]} for network in networks]
        return Estimates(estimates, [{"latency": 0.1} for _ in networks])

    def networks(self, networks, num_classes):
        for network in networks:
            yield {"latency": MEASURED[network.width]}

    def exported(self, path, name):
        assert path.is_dir()
        self.exports += 1
        self.kept[name] = {"latency": 0.0081 if self.exports <= self.late else 0.004}
        return self.kept[name]

    def known(self, name):
        return self.kept.get(name)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A run to start from, on other images."""
    directory = tmp_path_factory.mktemp("start")
    (directory / "config.py").write_text(START)
    settings = config.replaced(config.load(directory / "config.py", Experiment), {"training.epochs": 1})
    return training.train(settings, directory / "run").path


def searched(start, directory, device):
    settings = BudgetSearch(
        experiment=Experiment(
            model=architecture("resnet", width=8, stage_blocks=(1, 1), resolution=8),
            data=Data(source="embedded:digits", channels=1, validation_fraction=0.0, train_examples=None),
            training=Training(epochs=1, batch_size=32, precision="float32"),
        ),
        budget=Limits(latency="8ms", minutes=10),
        candidates=Candidates(
            starts=(str(start),), widths=tuple(ESTIMATED), depths=(1.0,), resolutions=(1.0,), scratch=False
        ),
        folds=Folds(kind="independent", count=2, examples=100),
        objective=Objective(margin=1.0),  # so that no candidate is dropped before it is trained on all folds
        forecast=False,
    )
    directory.mkdir()
    with open_store(directory, settings) as store, LocalProcesses(1, directory / "log") as executor:
        study = prepare(settings, device)
        return run(study, directory, store, executor, Console(file=io.StringIO()), device, watch(store))


@only_thorough
def test_a_choice_that_misses_the_budget_when_it_is_exported_gives_way_to_the_next_one(start, tmp_path):
    device = Device(late=1)
    found = searched(start, tmp_path / "search", device)
    stages = {found.study.networks[name].width: fate for name, fate in found.fates.items()}
    assert stages[1.0].stage == "budget"
    assert stages[0.8].stage == "measured"
    assert stages[0.8].reason == "exported and measured: a latency of 8.5 ms, above 8 ms"
    last = {stages[width].stage for width in (0.65, 0.5)}
    assert last == {"measured", "chosen"}
    missed = next(fate for fate in (stages[0.65], stages[0.5]) if fate.stage == "measured")
    assert missed.reason == "trained, exported and measured: a latency of 8.1 ms, above 8 ms"
    assert device.exports == 2
    assert found.delivered.costs["latency"] == 0.004
    assert (found.delivered.exported / "saved_model.pb").is_file()
    with pytest.raises(UserError, match="no candidate meets it when it is exported"):
        searched(start, tmp_path / "hopeless", Device(late=9))
