"""Intervals of means in [0, 1]: their range, their dispersion and their coverage."""

import numpy as np
import pytest
from scipy import stats

from tests.trials.tables import table_of
from tfeff.evaluation.paired import wilson_interval
from tfeff.trials.intervals import grouped_summaries, summaries, summary
from tfeff.trials.proportions import MOST, dispersion, is_proportion, stands_apart, variances


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        *((name, True) for name in ("validation_map_at_r", "validation_called_background", "validation_mean_iou")),
        *((name, False) for name in ("validation_similarity_threshold", "top1_error", "recall_loss", "seconds")),
    ],
)
def test_metrics_in_0_to_1_are_known_by_their_names(metric, expected):
    assert is_proportion(metric) == expected


@pytest.mark.parametrize(
    "values", [[0.1, 0.9, 0.2], [0.0, 1.0], [0.99, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0], [0.5, 0.5, 0.5], [1e-9, 1.0]]
)
def test_intervals_stay_in_their_range_and_contain_the_mean(values):
    found = summary(values, bounded=True)
    assert 0.0 <= found.low <= found.mean <= found.high <= 1.0
    assert found.high - found.low > 0.004
    mirrored = summary([1.0 - value for value in values], bounded=True)
    assert (1.0 - mirrored.high, 1.0 - mirrored.low) == pytest.approx((found.low, found.high))


def test_a_large_spread_over_three_folds_gives_no_absurd_interval():
    values = [0.05, 0.10, 0.89]
    plain, found = summary(values), summary(values, bounded=True)
    assert plain.low < 0.0 < 1.0 < plain.high
    assert 0.0 < found.low < 0.1 < 0.8 < found.high < 1.0


def test_the_interval_inverts_the_score_test():
    values = np.array([0.80, 0.84, 0.91, 0.86])
    mean, t = values.mean(), stats.t.ppf(0.975, 3)
    phi = values.var(ddof=1) / (mean * (1 - mean))
    found = summary(values, bounded=True)
    for end in (found.low, found.high):
        assert abs(mean - end) == pytest.approx(t * np.sqrt(phi * end * (1 - end) / 4))


def test_zeros_and_ones_have_the_interval_of_single_draws():
    # Values of 0 and 1 with the largest dispersion are coin flips: Wilson's interval, but for the quantile.
    level = 2 * stats.norm.cdf(stats.t.ppf(0.975, 2)) - 1
    found = summary([1.0, 1.0, 1.0], bounded=True)
    assert (found.low, found.high) == pytest.approx(wilson_interval(1.0, 3, level))


def test_the_dispersion_is_that_of_pearsons_statistic():
    counts = np.array([[40, 44, 47, 45], [30, 33, 31, 38]])
    pearson = sum(stats.chi2_contingency([row, 50 - row], correction=False).statistic for row in counts)
    found = dispersion(counts / 50)
    assert found.value == pytest.approx(pearson / 50 / (2 * 3))  # of a proportion: 1 / images if it is binomial
    assert 3 <= found.degrees <= 6


def test_degrees_of_freedom_follow_how_much_folds_are_shared():
    rng = np.random.default_rng(0)
    own = 0.7 + 0.02 * rng.normal(size=(20, 3))
    shared = 0.7 + 0.02 * rng.normal(size=3) + 0.0002 * rng.normal(size=(20, 3))
    assert dispersion(own).degrees > 20
    assert dispersion(shared).degrees == pytest.approx(2, abs=0.1)
    assert dispersion(own[:1]).degrees == 2
    assert dispersion(own[:, :1]) is None
    assert summaries(table_of(own[:, :1]), bounded=True)["c00"].low is None


def test_candidates_whose_values_are_all_one_use_the_dispersion_of_the_others():
    values = np.array([[1.0, 1.0, 1.0], [0.94, 0.98, 0.96], [0.96, 0.92, 0.97]])
    found = summaries(table_of(values), bounded=True)
    alone = summary(values[0], bounded=True)
    assert alone.low < 0.5 < 0.9 < found["c00"].low < found["c00"].high == 1.0
    groups = {"c00": "short", "c01": "long", "c02": "long"}
    assert grouped_summaries(table_of(values), groups, bounded=True)["c00"] == alone


def test_a_candidate_that_fails_on_a_fold_has_a_dispersion_of_its_own():
    rng = np.random.default_rng(0)
    values = rng.binomial(300, 0.9, (8, 3)) / 300
    values[3] = 0.91, 0.35, 0.88
    assert stands_apart(values).tolist() == [i == 3 for i in range(8)]
    found = summaries(table_of(values), bounded=True)
    assert found["c03"] == summary(values[3], bounded=True)
    others = summaries(table_of(np.delete(values, 3, axis=0)), bounded=True)
    assert (found["c00"].low, found["c07"].high) == (others["c00"].low, others["c06"].high)
    ratio = dispersion(values[[3]]).value / dispersion(np.delete(values, 3, axis=0)).value
    p = values[3].mean()
    assert variances(values)[3] == pytest.approx(ratio * p * (1 - p), rel=0.01)


def test_one_of_equal_candidates_rarely_stands_apart():
    rng = np.random.default_rng(1)
    found = [stands_apart(rng.binomial(200, 0.8, (10, 3)) / 200).any() for _ in range(600)]
    assert 0.02 < np.mean(found) < 0.08


def test_variances_of_means_of_one_are_not_zero():
    values = np.array([[1.0, 1.0, 1.0], [0.94, 0.98, 0.96]])
    high, low = variances(values)
    assert 0.0 < high < low
    n = 3 / dispersion(values).value
    assert high == pytest.approx((n + 1) / (n + 2) * (1 / (n + 2)))  # Laplace's rule of succession
    assert variances(values[:, :1], known=1 / 100)[0] == pytest.approx(101 / 102 / 102)
    assert dispersion(np.ones((2, 3))).value == MOST


def test_values_beyond_the_range_are_not_treated_as_proportions():
    percent = [71.0, 74.0, 69.0]
    assert summary(percent, bounded=True) == summary(percent)


@pytest.mark.parametrize(("base", "images", "candidates"), [(0.9, 100, 1), (0.9, 100, 8), (0.97, 300, 8)])
def test_intervals_cover_the_true_mean_of_accuracies(base, images, candidates):
    rng, hits = np.random.default_rng(5), []
    for _ in range(500):
        values = rng.binomial(images, base, (candidates, 3)) / images
        hits += [each.low <= base <= each.high for each in summaries(table_of(values), bounded=True).values()]
    assert 0.93 <= np.mean(hits) <= 0.985
