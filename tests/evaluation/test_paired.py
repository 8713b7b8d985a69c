import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from tfeff.evaluation import (
    bootstrap_mean,
    holm,
    paired_accuracy,
    percentile_interval,
    predictions_matrix,
    principal_components,
    standard_error,
    wilson_interval,
)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (5, 0), (1, 1), (12, 3), (40, 41), (700, 600)])
def test_p_value_is_the_mid_p_value_of_the_binomial_test(only_first, only_second):
    first = [True] * only_first + [False] * only_second + [True] * 7
    second = [False] * only_first + [True] * only_second + [True] * 7
    result = paired_accuracy(first, second)
    discordant = only_first + only_second
    counts = np.arange(discordant + 1)
    chances, distance = stats.binom.pmf(counts, discordant, 0.5), np.abs(2 * counts - discordant)
    further, equal = (chances[at].sum() for at in (distance > distance[only_first], distance == distance[only_first]))
    expected = 1.0 if only_first == only_second else further + equal / 2
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
    low, high = percentile_interval(bootstrap_mean(first.astype(float) - second, resamples=4000), 4000)
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.0015)


def test_a_difference_is_significant_if_its_interval_does_not_contain_zero():
    n, contradictions = 500, 0
    for only_first, only_second in itertools.product(range(1, 60), repeat=2):
        first = np.arange(n) < only_first
        result = paired_accuracy(first, (np.arange(n) >= only_first) & (np.arange(n) < only_first + only_second))
        contradictions += (result.p_value < 0.05) != (result.low > 0 or result.high < 0)
    assert contradictions < 0.01 * 59**2  # by the exact p-value, they were 1.8 %


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


@pytest.mark.parametrize(
    ("hits", "examples", "low", "high"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_equal_the_published_table(hits, examples, low, high):
    assert wilson_interval(hits / examples, examples) == pytest.approx((low, high), abs=5e-5)


def test_the_limits_solve_the_score_equation():
    p, n, z = 0.37, 83, 1.6448536269514722
    for end in wilson_interval(p, n, confidence=0.9):
        assert abs(p - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n))


def test_intervals_are_symmetric_and_stay_in_the_unit_interval():
    low, high = wilson_interval(0.2, 50)
    assert wilson_interval(0.8, 50) == pytest.approx((1 - high, 1 - low))
    assert wilson_interval(0.0, 5)[0] == 0.0
    assert wilson_interval(1.0, 5)[1] == 1.0


def test_standard_error_equals_the_standard_deviation_of_repeated_tests():
    accuracies = np.random.default_rng(0).binomial(200, 0.85, 100_000) / 200
    assert standard_error(0.85, 200) == pytest.approx(accuracies.std(), rel=0.007)


LABELS = [0, 1, 2, 1, 0]
PREDICTED = [[0, 1, 1, 1, 1], [0, 2, 0, 1, 0], [0, 1, 0, 1, 2]]


def matrix():
    return predictions_matrix(LABELS, np.eye(3)[np.array(PREDICTED)])


def test_who_errs_where():
    result = matrix()
    assert result.predicted.tolist() == PREDICTED
    assert result.misses.tolist() == [0, 1, 3, 0, 2]
    assert result.missed_by_all.tolist() == [2]
    assert result.missed_by_any.tolist() == [2, 4, 1]
    assert [result.missed_only_by(i).tolist() for i in range(3)] == [[], [1], []]
    assert result.best_possible == 0.8


def test_examples_that_the_same_models_miss_are_adjacent():
    rng = np.random.default_rng(0)
    result = predictions_matrix(np.zeros(200, int), rng.random((3, 200, 2)))
    patterns = ["".join(map(str, column)) for column in result.correct[:, result.missed_by_any].T.astype(int)]
    assert len(result.missed_by_any) == (result.misses > 0).sum()
    changes = 1 + sum(a != b for a, b in itertools.pairwise(patterns))
    assert changes == len(set(patterns))
    misses = result.misses[result.missed_by_any]
    assert (np.diff(misses) <= 0).all()


def test_agreement_is_the_share_of_equal_predictions():
    assert np.allclose(matrix().agreement(), [[1, 0.4, 0.6], [0.4, 1, 0.6], [0.6, 0.6, 1]])


def test_agrees_with_scikit_learn():
    vectors = load_digits().data[:300]
    result = principal_components(vectors, 3)
    reference = PCA(3, svd_solver="full").fit(vectors)
    np.testing.assert_allclose(np.abs(result.coordinates), np.abs(reference.transform(vectors)), atol=1e-8)
    np.testing.assert_allclose(result.explained, reference.explained_variance_ratio_)


@pytest.mark.parametrize("vectors", [np.ones((4, 3)), np.ones((1, 5)), np.arange(6.0).reshape(6, 1)])
def test_fewer_directions_than_components(vectors):
    result = principal_components(vectors, 2)
    assert result.coordinates.shape == (len(vectors), 2)
    assert np.isfinite(result.coordinates).all()
    assert result.explained[1] == 0
    assert not result.coordinates[:, 1].any()
