"""The chance of being within a margin of the best: exact cases, brute force and calibration."""

import numpy as np
import pytest
from scipy import special, stats

from tests.trials.tables import table_of
from tfeff.trials.chance import Prior, chance_within


def brute_force(values, margin, prior, rng, draws=60_000):
    """Returns the same posterior by random draws: complete tables, one grid point per true mean, no shortcuts."""
    c, k = values.shape
    means = values.mean(1)
    residuals = values - values.mean(0) - means[:, None] + values.mean()
    degrees = (c - 1) * (k - 1)
    squares = (residuals**2).sum() + prior.degrees * prior.variance
    hits, sets = np.zeros(c), 60
    for variance in squares / rng.chisquare(degrees + prior.degrees, sets):
        error = np.sqrt(variance / k)
        grid = np.linspace(means.min() - 6 * error, means.max() + 6 * error, 1500)
        likelihood = stats.norm.pdf(means[:, None], grid, error)
        weight = np.full(grid.size, 1 / grid.size)
        for _ in range(max(1, c // 3)):
            posterior = likelihood * weight / (likelihood * weight).sum(1, keepdims=True)
            weight = posterior.mean(0)
        posterior = likelihood * weight
        posterior /= posterior.sum(1, keepdims=True)
        drawn = np.stack([rng.choice(grid, draws // sets, p=row) for row in posterior], axis=1)
        hits += (drawn >= drawn.max(1, keepdims=True) - margin).mean(0)
    return hits / sets


@pytest.mark.parametrize(("candidates", "folds"), [(2, 3), (6, 3), (12, 2), (5, 1)])
def test_chances_match_brute_force(candidates, folds):
    rng = np.random.default_rng(candidates)
    values = (
        rng.normal(0.8, 0.02, (candidates, 1)) + rng.normal(0, 0.03, folds) + rng.normal(0, 0.01, (candidates, folds))
    )
    prior = Prior(0.01**2, 6)
    expected = brute_force(values, 0.01, prior, rng)
    found = np.array(list(chance_within(table_of(values), 0.01, prior=prior).values()))
    # The uniform start of the prior has other ends there; the rest is the error of 60 random variances.
    assert np.abs(found - expected).max() < 0.06
    assert np.argmax(found) == values.mean(1).argmax()


def test_a_clear_difference_in_closed_form():
    # The difference of means is about normal with variance 2 s²: the prior is nearly flat around each of them.
    s = 0.001
    table = table_of(np.array([[0.90], [0.88]]))
    for margin in (0.019, 0.020, 0.021):
        chance = chance_within(table, margin, prior=Prior(s**2, np.inf))["c01"]
        assert chance == pytest.approx(special.ndtr((margin - 0.02) / (np.sqrt(2) * s)), abs=0.1)


def test_chances_are_calibrated():
    rng, predicted, true = np.random.default_rng(1), [], []
    for _ in range(60):
        means = rng.normal(0.8, 0.03, 12)
        values = means[:, None] + rng.normal(0, 0.05, 3) + rng.normal(0, 0.015, (12, 3))
        predicted += chance_within(table_of(values), 0.01).values()
        true += list(means >= means.max() - 0.01)
    predicted, true = np.array(predicted), np.array(true)
    assert true[predicted < 0.05].mean() < 0.05
    assert abs(predicted.mean() - true.mean()) < 0.06
    assert true[predicted > 0.9].mean() > 0.7


def test_without_a_prior_a_single_fold_or_candidate_excludes_nothing():
    single = {"a": {(0, 0): -0.5, (1, 0): -0.6}}
    no_fold_in_common = {"a": {(0, 0): -0.5}, "b": {(1, 0): -9.0}}
    for table in (table_of(np.array([[1.0], [0.6]])), single, no_fold_in_common):
        assert set(chance_within(table, 0.01).values()) == {1.0}


def test_of_single_folds_of_accuracies_a_prior_tells_the_variance():
    table = table_of(np.array([[1.0], [0.97], [0.96], [0.6]]))
    many, few = (chance_within(table, 0.01, bounded=True, prior=Prior(1 / n, np.inf)) for n in (2000, 50))
    assert many["c00"] > 0.99 > 0.05 > many["c01"]
    assert few["c03"] < 0.001 < 0.05 < few["c01"]


def test_a_prior_worth_much_overrules_the_table():
    values = np.array([[0.80, 0.81, 0.82], [0.79, 0.80, 0.81], [0.70, 0.71, 0.72]])  # exactly additive
    own = chance_within(table_of(values), 0.005)
    assert [own[name] for name in ("c00", "c01", "c02")] == [1.0, 0.0, 0.0]
    assert chance_within(table_of(values), 0.005, prior=Prior(0.02**2, 1000))["c01"] > 0.2


@pytest.mark.parametrize("bounded", [False, True])
def test_chances_are_reproducible_and_do_not_depend_on_the_order(bounded):
    rng = np.random.default_rng(3)
    table = table_of(rng.normal(0.7, 0.02, (8, 3)), [(1, 0), (2, 2)])
    found = chance_within(table, 0.01, bounded=bounded)
    assert found == chance_within(table, 0.01, bounded=bounded)
    turned = chance_within(dict(reversed(table.items())), 0.01, bounded=bounded)
    assert [turned[name] for name in found] == pytest.approx(list(found.values()), abs=0.03)
    wide = chance_within(table, 0.02, bounded=bounded)
    assert all(wide[name] >= found[name] - 1e-9 for name in found)
    assert all(0.0 <= value <= 1.0 for value in found.values())


def test_a_candidate_with_fewer_folds_has_a_less_certain_chance():
    rng = np.random.default_rng(4)
    values = np.full((8, 4), 0.8) + rng.normal(0, 0.004, (8, 4))
    values[6:] = 0.785 + rng.normal(0, 0.0001, 4)
    found = chance_within(table_of(values, [(7, 1), (7, 2), (7, 3)]), 0.005)
    assert found["c06"] < 0.05 < found["c07"]


def test_an_outlier_does_not_blur_the_others():
    rng = np.random.default_rng(5)
    values = np.array([0.80, 0.80, 0.79, 0.70])[:, None] + rng.normal(0, 0.002, (4, 3))
    alone, with_outlier = -values, np.concatenate([-values, np.full((1, 3), -1e9)])
    expected = chance_within(table_of(alone), 0.005, prior=Prior(0.002**2, 1e9))
    found = chance_within(table_of(with_outlier), 0.005, prior=Prior(0.002**2, 1e9))
    assert [found[name] for name in expected] == pytest.approx(list(expected.values()), abs=0.02)
    assert found["c04"] == 0.0


def test_parts_without_common_folds_are_not_compared():
    table = {"a": {(0, 0): 0.9}, "b": {(0, 0): 0.5}, "c": {(1, 0): 0.4}}
    found = chance_within(table, 0.01, prior=Prior(0.01**2, 100))
    assert (found["a"], found["b"], found["c"]) == (1.0, pytest.approx(0.0, abs=0.01), 1.0)
