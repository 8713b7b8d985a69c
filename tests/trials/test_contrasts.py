"""Declared comparisons with a control, against SciPy's distributions and simulations."""

import numpy as np
import pytest
from scipy import stats

from tests.thoroughness import THOROUGH
from tfeff.trials.contrasts import POWER, contrasts
from tfeff.trials.two_way import dunnett_quantile, fit_two_way

ARMS = ("control", "a", "b", "c")


def table(values: np.ndarray) -> dict[str, dict[tuple[int, int], float]]:
    """Values [arms, folds] as a table."""
    return {
        arm: {(fold, 0): float(value) for fold, value in enumerate(row)} for arm, row in zip(ARMS, values, strict=True)
    }


def experiments(count: int, folds: int, means: tuple[float, ...], deviation: float = 0.01) -> np.ndarray:
    """Returns simulated accuracies [count, arms, folds], with effects of the folds."""
    rng = np.random.default_rng(3)
    effects = rng.normal(0.5, 0.05, (count, 1, folds))
    return effects + np.array(means)[:, None] + rng.normal(0.0, deviation, (count, len(means), folds))


def test_intervals_and_bounds_are_those_of_the_two_way_layout():
    (values,) = experiments(1, 5, (0.02, 0.0, 0.01, 0.0))
    found = contrasts(table(values), "control", ["a", "b", "c"])
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    variance, degrees = (residuals**2).sum() / 12, 12
    assert found.degrees == degrees
    assert found.deviation == pytest.approx(np.sqrt(variance))
    # P(all three t < q) and P(all three |t| < q), equally correlated by 1/2.
    shape = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    joint = stats.multivariate_t(shape=shape, df=degrees, seed=0)
    error = np.sqrt(2 * variance / 5)
    for index, name in enumerate("abc", 1):
        difference, bound = found.differences[name], found.bounds[name]
        assert difference.mean == pytest.approx(values[0].mean() - values[index].mean())
        one_sided, two_sided = (difference.mean - bound) / error, (difference.high - difference.mean) / error
        assert joint.cdf(np.full(3, one_sided)) == pytest.approx(0.95, abs=2e-3)
        inside = joint.cdf(np.full(3, two_sided), lower_limit=np.full(3, -two_sided))
        assert inside == pytest.approx(0.95, abs=2e-3)


def test_all_bounds_hold_together_with_the_stated_confidence():
    means = (0.0, 0.0, 0.0, 0.0)
    simulated = experiments(2000 if THOROUGH else 400, 4, means)
    held = [max(contrasts(table(each), "control", ["a", "b", "c"]).bounds.values()) <= 0 for each in simulated]
    assert np.mean(held) == pytest.approx(0.95, abs=0.016 if THOROUGH else 0.035)


def test_the_detectable_difference_is_detected_with_the_stated_power():
    planned = contrasts(table(experiments(1, 4, (0.0,) * 4)[0]), "control", ["a", "b", "c"])
    advantage = planned.detectable(6) / planned.deviation * 0.01  # for the true deviation
    simulated = experiments(2000 if THOROUGH else 400, 6, (advantage, 0.0, 0.0, 0.0))
    bounds = [contrasts(table(each), "control", ["a", "b", "c"]).bounds for each in simulated]
    assert np.mean([each["a"] > 0 for each in bounds]) == pytest.approx(POWER, abs=0.03 if THOROUGH else 0.07)
    assert planned.detectable(8) < planned.detectable(6) < planned.detectable(2)

    advantage = planned.detectable(6, everywhere=True) / planned.deviation * 0.01
    simulated = experiments(2000 if THOROUGH else 400, 6, (advantage, 0.0, 0.0, 0.0))
    bounds = [contrasts(table(each), "control", ["a", "b", "c"]).bounds.values() for each in simulated]
    assert np.mean([min(each) > 0 for each in bounds]) == pytest.approx(POWER, abs=0.03 if THOROUGH else 0.07)


def test_bounds_follow_the_correlation_of_candidates_with_fewer_values_than_the_control():
    (values,) = experiments(1, 8, (0.0,) * 4)
    rows = table(values)
    rows |= {name: {(fold, 0): rows[name][fold, 0] for fold in (2 * i, 2 * i + 1)} for i, name in enumerate("abc")}
    found, layout = contrasts(rows, "control", ["a", "b", "c"]), fit_two_way(rows)
    one, two = (layout.difference("control", name).standard_error for name in "ab")
    correlation = (one**2 + two**2 - layout.difference("a", "b").standard_error ** 2) / (2 * one * two)
    assert correlation < 0.3
    quantile = (found.differences["a"].mean - found.bounds["a"]) / one
    expected = dunnett_quantile(3, layout.degrees, correlation, sides=1)
    assert quantile == pytest.approx(expected, rel=2e-3)
    assert dunnett_quantile(3, layout.degrees, 0.5, sides=1) < 0.99 * expected


def test_a_single_comparison_has_the_power_of_the_noncentral_t_distribution():
    found = contrasts(table(experiments(1, 4, (0.0,) * 4)[0]), "control", ["a"])
    shift = found.detectable() / found.deviation / np.sqrt(2 / 4)
    assert stats.nct.sf(stats.t.ppf(0.95, 9), 9, shift) == pytest.approx(POWER, abs=1e-6)


def test_a_candidate_that_failed_to_optimize_does_not_widen_the_other_intervals():
    (values,) = experiments(1, 6, (0.02, 0.0, 0.01, 0.0))
    values[3] -= np.array([0.0, 0.3, 0.1, 0.2, 0.0, 0.3])
    apart = contrasts(table(values), "control", ["a", "b", "c"], apart={"c"})
    without = contrasts(table(values), "control", ["a", "b", "c"])
    assert apart.differences["a"].standard_error < 0.3 * without.differences["a"].standard_error
    # Its own comparison: a paired t test at a third of the level, one-sided.
    test = stats.ttest_rel(values[0], values[3], alternative="greater")
    assert apart.bounds["c"] == pytest.approx(test.confidence_interval(1 - 0.05 / 3).low)
    assert apart.apart == ("c",)


def test_a_control_that_failed_to_optimize_is_compared_by_paired_differences():
    (values,) = experiments(1, 6, (0.02, 0.0, 0.01, 0.0))
    found = contrasts(table(values), "control", ["a", "b", "c"], apart={"control"})
    test = stats.ttest_rel(values[0], values[1], alternative="greater")
    assert found.bounds["a"] == pytest.approx(test.confidence_interval(1 - 0.05 / 3).low)
    assert set(found.apart) == {"a", "b", "c"}


def test_one_fold_gives_differences_without_bounds():
    found = contrasts(table(experiments(1, 1, (0.1, 0.0, 0.0, 0.0))[0]), "control", ["a", "b", "c"])
    assert set(found.bounds.values()) == {None}
    assert found.detectable() is None
    assert found.differences["a"].mean == pytest.approx(0.1, abs=0.05)


def test_values_are_required():
    with pytest.raises(ValueError, match="no value"):
        contrasts({"control": {(0, 0): 0.5}, "a": {}}, "control", ["a"])
