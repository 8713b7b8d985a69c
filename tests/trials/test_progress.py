"""The line that shows the progress of a stage."""

import io
import math
import re

import pytest
from rich.console import Console

from tfeff import config
from tfeff.trials import progress
from tfeff.trials.allocation import Full, Halving
from tfeff.trials.intervals import interval, summary
from tfeff.trials.progress import Rate, TrialProgress, core_seconds, remaining_jobs
from tfeff.trials.results import Job
from tfeff.trials.trial import Candidate

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
        shown = TrialProgress(Console(file=file, width=200))
        shown.begin("members", CANDIDATES, BLOCKS, allocation, 2, results)
        plan = allocation.plan(list(CANDIDATES), BLOCKS, results)
        for now in (1000.0, 1000.0 + wait):  # noqa: B007 (the clock reads it)
            shown.show(plan, 2, seconds, lambda: rate_trainings or {})
        return file.getvalue().splitlines()[-1]

    return show


def test_the_time_left_follows_from_the_speed_of_finished_trials(line):
    assert line({}, {}) == "members: 0/8 trials, 2 running"
    done = {Job("a", 0, 0, EPOCHS): 0.5, Job("b", 0, 0, EPOCHS): 0.6}
    seconds = {Job("a", 0, 0, EPOCHS): 10.0, Job("b", 0, 0, EPOCHS): 30.0}
    # Three more trials of 10 and of 30 seconds, by two processes.
    assert line(done, seconds).startswith("members: 2/8 trials, 2 running, 0:01:00 left, best so far")
    assert line(done, seconds, wait=25.0).startswith("members: 2/8 trials, 2 running, 0:00:35 left, ")
    # The learning rate of "b" takes two and a half trainings of 30 seconds.
    assert line(done, seconds, {"b": 2.5}).startswith("members: 2/8 trials, 2 running, 0:01:38 left, ")


def test_on_a_narrow_terminal_the_end_of_the_line_is_cut():
    file = io.StringIO()
    shown = TrialProgress(Console(file=file, force_terminal=True, color_system=None, width=50))
    done = {Job("a", 0, 0, EPOCHS): 0.5}
    with shown.shown():
        shown.begin("members", CANDIDATES, BLOCKS, FULL, 2, done)
        shown.show(FULL.plan(list(CANDIDATES), BLOCKS, done), 2, {}, dict)
    last = re.split(r"[\r\n]+", re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", file.getvalue()).strip())[-1]
    assert last.startswith("members ")
    assert "1/8 trials, 2 running, best so far A" in last
    assert last.endswith("…")
    assert len(last) <= 50


def test_forecasts_take_a_small_share_of_the_time(monkeypatch):
    now, forecasts = 0.0, []

    def forecast(*_):
        nonlocal now
        now += 1.0
        forecasts.append(now)
        return []

    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    monkeypatch.setattr(progress, "remaining_jobs", forecast)
    names = {f"n{number}": Candidate(f"n{number}", "", EXPERIMENT, 100) for number in range(300)}
    file = io.StringIO()
    shown = TrialProgress(Console(file=file, force_terminal=True, width=200))
    with shown.shown():
        shown.begin("search", names, [(0, 0)], FULL, 2, {})
        for name in names:
            plan = FULL.plan(list(names), [(0, 0)], {})
            shown.show(plan, 2, {}, dict)
            shown.finish(Job(name, 0, 0, EPOCHS), 0.5)
            now += 1.0
    assert len(forecasts) == 6  # one in fifty seconds
    assert "299/299 trials" in file.getvalue()


def test_trials_of_other_stages_do_not_count(line):
    done = {Job("a", 0, 0, EPOCHS): 0.5, Job("a", 5, 0, EPOCHS): 0.9, Job("z", 0, 0, EPOCHS): 0.9}
    shown = line(done, {})
    assert shown.startswith("members: 1/8 trials")
    assert "best so far A: 0.500" in shown


def test_trials_of_another_length_count_only_if_the_allocation_has_this_length(line):
    done = {Job("a", 0, 0, EPOCHS): 0.5, Job("a", 0, 0, 2): 0.9, Job("b", 0, 0, 2 * EPOCHS): 0.9}
    for allocation, counted in ((FULL, "1/8"), (Halving(EPOCHS, 2, 2), "2/12")):
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


NAMES = [f"n{number}" for number in range(9)]
FOLDS = [(0, 0), (1, 0), (2, 0)]


def test_a_full_grid_is_forecast_completely():
    remaining = remaining_jobs(Full(4), NAMES, FOLDS, {})
    assert {(job.candidate, job.block) for job in remaining} == {(name, block) for name in NAMES for block in FOLDS}
    done = {Job("n0", 0, 0, 4): 0.5, Job("n1", 0, 0, 4): None}
    assert len(remaining_jobs(Full(4), NAMES, FOLDS, done)) == 25


def test_halving_is_forecast_to_its_last_rung():
    remaining = remaining_jobs(Halving(9), NAMES, FOLDS, {})
    counts = {rung: sum(job.epochs == rung for job in remaining) for rung in (1, 3, 9)}
    assert counts == {1: 27, 3: 9, 9: 3}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_trial_without_a_finite_value_is_forecast_as_failed(value):
    trial = Job("n0", 0, 0, 1)
    expected = remaining_jobs(Halving(9), NAMES, FOLDS, {trial: None})
    assert remaining_jobs(Halving(9), NAMES, FOLDS, {trial: value}) == expected


def test_rates_are_recovered_from_measurements():
    true = Rate(start=5.0, per_image=2e-5, per_mac=1e-10)
    timings = [(macs, 5.0, 2e-5 + 1e-10 * macs) for macs in (10**6, 2 * 10**6, 5 * 10**6)]
    found = Rate.fit(timings)
    assert found.per_mac == pytest.approx(true.per_mac)
    assert found.per_image == pytest.approx(true.per_image)
    assert found.seconds(10**6, 1000) == pytest.approx(true.seconds(10**6, 1000))
    assert (
        min(Rate.fit([(1, 1.0, 0.5), (2, 1.0, 0.1)]).per_mac, Rate.fit([(1, 1.0, 0.1), (2, 1.0, 5.0)]).per_image) >= 0
    )


def test_core_seconds_add_up():
    rate = Rate(start=1.0, per_image=0.0, per_mac=1e-9)
    # 2 trials of 10 epochs with 100 training images, and 300 validation images every 5 epochs
    found = core_seconds(rate, Full(10), {"a": 10**6}, [(0, 0), (1, 0)], (100, 300), 5)
    assert found == pytest.approx(2 * (1.0 + 1e-3 * (1000 + 2 * 300 / 3)))
