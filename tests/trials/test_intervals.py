import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from tfeff.trials.intervals import paired_difference, summary


def test_summary_matches_scipys_one_sample_t_interval():
    values = [0.71, 0.74, 0.69, 0.72]
    estimate = summary(values)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert (estimate.n, estimate.mean) == (4, pytest.approx(np.mean(values)))
    assert estimate.deviation == pytest.approx(np.std(values, ddof=1))
    assert estimate.standard_error == pytest.approx(stats.sem(values))
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.8)
    assert (summary(values, 0.8).low, summary(values, 0.8).high) == pytest.approx((low, high))


def test_summary_of_one_value_has_no_spread_and_is_json():
    estimate = summary([0.7])
    assert asdict(estimate) == dict.fromkeys(asdict(estimate)) | {"n": 1, "mean": 0.7}
    assert json.loads(json.dumps(asdict(estimate), allow_nan=False))["low"] is None


def test_summary_ignores_failed_trials():
    assert summary([0.7, None, 0.8, float("nan"), math.inf]) == summary([0.7, 0.8])
    with pytest.raises(ValueError, match="at least one finite value"):
        summary([None, float("nan")])


def test_intervals_cover_the_true_mean_in_95_percent_of_cases():
    samples = np.random.default_rng(0).normal(0.7, 0.03, (2000, 3))
    covered = [estimate.low <= 0.7 <= estimate.high for estimate in map(summary, samples)]
    assert 0.94 <= np.mean(covered) <= 0.96


def test_paired_difference_matches_scipys_paired_t_test_over_common_blocks():
    first = {(0, 0): 0.7, (1, 0): 0.75, (2, 0): 0.71, (3, 0): 0.2, (4, 0): None}
    second = {(2, 0): 0.70, (0, 0): 0.66, (1, 0): 0.72, (3, 0): None, (4, 0): 0.3}
    estimate = paired_difference(first, second)
    test = stats.ttest_rel([0.7, 0.75, 0.71], [0.66, 0.72, 0.70])
    assert (estimate.n, estimate.degrees, estimate.mean) == (3, 2, pytest.approx(0.08 / 3))
    assert (estimate.low, estimate.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert estimate.mean / estimate.standard_error == pytest.approx(test.statistic)
    assert estimate.separable == (test.pvalue < 0.05)


def test_one_common_block_gives_a_difference_without_an_interval():
    estimate = paired_difference({(0, 0): 0.7, (1, 0): 0.8}, {(1, 0): 0.5, (2, 0): 0.6})
    assert (estimate.n, estimate.mean, estimate.low, estimate.separable) == (1, pytest.approx(0.3), None, False)
    with pytest.raises(ValueError, match="no block in common"):
        paired_difference({(0, 0): 0.7}, {(1, 0): 0.5})
