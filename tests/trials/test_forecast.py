import math

import pytest

from tfeff.trials.allocation import Full, Halving, Racing
from tfeff.trials.forecast import Rate, core_seconds, remaining_jobs
from tfeff.trials.results import Job

NAMES = [f"n{number}" for number in range(9)]
BLOCKS = [(0, 0), (1, 0), (2, 0)]


def test_a_full_grid_is_forecast_completely():
    remaining = remaining_jobs(Full(4), NAMES, BLOCKS, {})
    assert {(job.candidate, job.block) for job in remaining} == {(name, block) for name in NAMES for block in BLOCKS}
    done = {Job("n0", 0, 0, 4): 0.5, Job("n1", 0, 0, 4): None}
    assert len(remaining_jobs(Full(4), NAMES, BLOCKS, done)) == 25


def test_halving_is_forecast_to_its_last_rung():
    remaining = remaining_jobs(Halving(9), NAMES, BLOCKS, {})
    counts = {rung: sum(job.epochs == rung for job in remaining) for rung in (1, 3, 9)}
    assert counts == {1: 27, 3: 9, 9: 3}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_trial_without_a_finite_value_is_forecast_as_failed(value):
    trial = Job("n0", 0, 0, 1)
    expected = remaining_jobs(Halving(9), NAMES, BLOCKS, {trial: None})
    assert remaining_jobs(Halving(9), NAMES, BLOCKS, {trial: value}) == expected


def test_a_race_is_forecast_between_its_bounds():
    remaining = remaining_jobs(Racing(3), NAMES, BLOCKS, {})
    assert 2 * len(NAMES) + 1 <= len(remaining) <= len(BLOCKS) * len(NAMES)


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
