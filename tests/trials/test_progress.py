"""The line that shows the progress of a stage."""

import io

import pytest
from rich.console import Console

from tfeff import config
from tfeff.trials import progress
from tfeff.trials.allocation import Full, Halving, Racing
from tfeff.trials.intervals import summary
from tfeff.trials.progress import Progress
from tfeff.trials.results import Job
from tfeff.trials.trial import Candidate
from tfeff.trials.wording import interval

EPOCHS = 4
FULL = Full(EPOCHS)
EXPERIMENT = config.Experiment(training=config.Training(epochs=EPOCHS))
CANDIDATES = {name: Candidate(name, name.upper(), EXPERIMENT, macs) for name, macs in (("a", 100), ("b", 300))}
BLOCKS = [(fold, seed) for seed in (0, 1) for fold in (0, 1)]


@pytest.fixture
def line(monkeypatch):
    """`line(results, seconds, rate_trainings)` is the line of a stage with two processes."""
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)

    def show(results, seconds, rate_trainings=None, wait=0.0, allocation=FULL):
        now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: now)
        file = io.StringIO()
        shown = Progress(Console(file=file, width=200))
        shown.begin("members", CANDIDATES, BLOCKS, allocation, processes=2)
        plan = allocation.plan(list(CANDIDATES), BLOCKS, results)
        for now in (1000.0, 1000.0 + wait):  # noqa: B007 (the clock reads it)
            shown.show(plan, results, 2, seconds, rate_trainings or {})
        return file.getvalue().splitlines()[-1]

    return show


def test_the_time_left_follows_from_the_speed_of_finished_trials(line):
    assert line({}, {}) == "members: 0/8 trials, 2 running"
    done = {Job("a", 0, 0, EPOCHS): 0.5, Job("b", 0, 0, EPOCHS): 0.6}
    seconds = {Job("a", 0, 0, EPOCHS): 10.0, Job("b", 0, 0, EPOCHS): 30.0}
    # Three more trials of 10 and of 30 seconds, by two processes.
    assert line(done, seconds).endswith(", 0:01:00 left")
    assert line(done, seconds, wait=25.0).endswith(", 0:00:35 left")
    # The learning rate of "b" takes two and a half trainings of 30 seconds.
    assert line(done, seconds, {"b": 2.5}).endswith(", 0:01:38 left")


def test_trials_of_other_stages_do_not_count(line):
    done = {Job("a", 0, 0, EPOCHS): 0.5, Job("a", 5, 0, EPOCHS): 0.9, Job("z", 0, 0, EPOCHS): 0.9}
    shown = line(done, {})
    assert shown.startswith("members: 1/8 trials")
    assert "best so far A: 0.500" in shown


def test_trials_of_another_length_count_only_if_the_allocation_has_this_length(line):
    done = {Job("a", 0, 0, EPOCHS): 0.5, Job("a", 0, 0, 2): 0.9, Job("b", 0, 0, 2 * EPOCHS): 0.9}
    for allocation, counted in ((FULL, "1/8"), (Racing(EPOCHS), "1/8"), (Halving(EPOCHS, 2, 2), "2/12")):
        shown = line(done, {}, allocation=allocation)
        assert shown.startswith(f"members: {counted} trials")
        assert "best so far A: 0.500" in shown


def test_a_failed_trial_of_the_next_rung_does_not_hide_the_best(line):
    done = {Job("a", 0, 0, 2): 0.5, Job("b", 0, 0, 2): 0.4, Job("a", 0, 0, EPOCHS): None}
    assert "best so far A: 0.500 after 2 epochs" in line(done, {}, allocation=Halving(EPOCHS, 2, 2))


def test_the_interval_of_the_best_is_over_folds(line):
    values = {(0, 0): 0.5, (0, 1): 0.52, (1, 0): 0.6, (1, 1): 0.62}
    shown = line({Job("b", *block, EPOCHS): value for block, value in values.items()}, {})
    assert f"best so far B: 0.560{interval(summary([0.51, 0.61]))} after {EPOCHS} epochs" in shown
