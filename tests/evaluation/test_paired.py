import itertools
import math

import numpy as np
import pytest
from scipy import stats

from tfeff.evaluation import bootstrap_mean, holm, paired_accuracy, percentile_interval


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (5, 0), (1, 1), (12, 3), (40, 41), (700, 600)])
def test_p_value_is_that_of_the_binomial_test(only_first, only_second):
    first = [True] * only_first + [False] * only_second + [True] * 7
    second = [False] * only_first + [True] * only_second + [True] * 7
    result = paired_accuracy(first, second)
    discordant = only_first + only_second
    expected = stats.binomtest(only_first, discordant).pvalue if discordant else 1.0
    assert result.p_value == pytest.approx(expected, rel=1e-9)
    assert (result.only_first, result.only_second, result.examples) == (only_first, only_second, discordant + 7)
    assert result.difference == pytest.approx(np.mean(first) - np.mean(second))


def test_exchanging_the_classifiers_changes_the_signs():
    rng = np.random.default_rng(0)
    first, second = rng.random(50) < 0.8, rng.random(50) < 0.6
    there, back = paired_accuracy(first, second), paired_accuracy(second, first)
    assert back.difference == -there.difference
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert back.p_value == there.p_value


@pytest.mark.parametrize(("only_first", "only_second"), [(0.05, 0.05), (0.1, 0.02), (0.3, 0.1), (0.01, 0.0)])
def test_interval_covers_the_true_difference(only_first, only_second):
    n, covered = 60, 0.0
    for i, j in itertools.product(range(n + 1), repeat=2):
        if i + j > n:
            continue
        probability = stats.multinomial.pmf(
            (i, j, n - i - j), n, (only_first, only_second, 1 - only_first - only_second)
        )
        if probability < 1e-9:
            continue
        result = paired_accuracy([True] * i + [False] * (n - i), [False] * i + [True] * j + [False] * (n - i - j))
        covered += probability * (result.low <= only_first - only_second <= result.high)
    assert covered > 0.935


def test_interval_agrees_with_the_paired_bootstrap_on_many_examples():
    rng = np.random.default_rng(1)
    first = rng.random(4000) < 0.9
    second = np.where(rng.random(4000) < 0.9, first, rng.random(4000) < 0.7)
    result = paired_accuracy(first, second)
    low, high = percentile_interval(bootstrap_mean(first.astype(float) - second, resamples=4000))
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.0015)


def test_equal_classifiers_have_an_interval_around_zero():
    result = paired_accuracy([True, False] * 10, [True, False] * 10)
    assert result.p_value == 1
    assert result.low == -result.high < 0


def test_holm_rejects_what_the_step_down_procedure_rejects():
    rng = np.random.default_rng(2)
    for _ in range(200):
        values = rng.beta(0.3, 2, size=rng.integers(1, 8)).tolist()
        rejected = set()
        for rank, index in enumerate(np.argsort(values)):
            if values[index] > 0.05 / (len(values) - rank):
                break
            rejected.add(int(index))
        assert {i for i, value in enumerate(holm(values)) if value <= 0.05} == rejected
    assert holm([]) == []
    assert math.isclose(holm([0.02])[0], 0.02)
