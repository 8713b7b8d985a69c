import math

import numpy as np
import pytest

from tfeff.evaluation import standard_error, wilson_interval


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
