import itertools
import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from tests.trials.tables import random_values, table_of
from tfeff.trials.intervals import paired_difference
from tfeff.trials.proportions import variances
from tfeff.trials.two_way import dunnett_quantile, fit_two_way, tukey_quantile

RNG = np.random.default_rng


def fitted_by_design_matrix(values, missing):
    """Adjusted means, residual variance, its degrees and the covariance of the means, from dummy variables."""
    c, k = values.shape
    cells = [cell for cell in itertools.product(range(c), range(k)) if cell not in missing]
    design = np.zeros((len(cells), c + k))
    for row, (i, j) in enumerate(cells):
        design[row, i] = design[row, c + j] = 1.0
    y = np.array([values[cell] for cell in cells])
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ solution
    degrees = len(cells) - rank
    to_means = np.hstack([np.eye(c), np.full((c, k), 1.0 / k)])
    covariance = to_means @ np.linalg.pinv(design.T @ design) @ to_means.T
    return to_means @ solution, residual @ residual / degrees, degrees, covariance


@pytest.mark.parametrize(
    ("candidates", "blocks", "missing"),
    [
        (5, 3, ()),
        (2, 2, ()),
        (5, 3, [(0, 0)]),
        (6, 4, [(0, 0), (0, 1), (3, 2), (5, 3)]),
        (3, 5, [(2, j) for j in range(4)]),
    ],
)
def test_matches_least_squares_with_dummy_variables(candidates, blocks, missing):
    values = random_values(1, candidates, blocks)
    means, variance, degrees, covariance = fitted_by_design_matrix(values, missing)
    layout = fit_two_way(table_of(values, missing))
    assert list(layout.means.values()) == pytest.approx(means)
    assert layout.degrees == degrees
    assert layout.variance == pytest.approx(variance)
    for i, j in itertools.permutations(range(candidates), 2):
        estimate = layout.difference(f"c{i:02}", f"c{j:02}")
        error = math.sqrt(variance * (covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]))
        half_width = stats.t.ppf(0.975, degrees) * error
        assert estimate.mean == pytest.approx(means[i] - means[j])
        assert estimate.standard_error == pytest.approx(error)
        assert (estimate.low, estimate.high) == pytest.approx((estimate.mean - half_width, estimate.mean + half_width))
        assert estimate.n == sum((i, fold) not in missing and (j, fold) not in missing for fold in range(blocks))


def test_the_largest_connected_part_is_ranked_first():
    values = np.array([[0.5, 0.6, 0.0, 0.0], [0.4, 0.5, 0.0, 0.0], [0.0, 0.0, 0.9, 0.0], [0.0, 0.0, 0.0, 0.8]])
    missing = [(i, j) for i in range(4) for j in range(4) if values[i, j] == 0.0]
    layout = fit_two_way(table_of(values, missing))
    assert layout.ranking == ("c00", "c01", "c02", "c03")
    assert list(layout.means.values()) == pytest.approx([0.55, 0.45, 0.9, 0.8])
    assert layout.connected("c00", "c01")
    assert not layout.connected("c00", "c02")


def test_a_small_layout_computed_by_hand():
    # Means 4, 6, 8; blocks 5, 7; residuals ±1, ∓1, 0: sum of squares 4 with 2 degrees of freedom.
    layout = fit_two_way(table_of(np.array([[4.0, 4.0], [4.0, 8.0], [7.0, 9.0]])))
    assert layout.means == pytest.approx({"c00": 4.0, "c01": 6.0, "c02": 8.0})
    assert (layout.degrees, layout.variance) == (2, pytest.approx(2.0))
    assert layout.difference("c02", "c00").standard_error == pytest.approx(math.sqrt(2.0 * 2.0 / 2))


def test_two_complete_candidates_match_the_paired_difference():
    table = table_of(random_values(2, 2, 4))
    assert asdict(fit_two_way(table).difference("c00", "c01")) == pytest.approx(
        asdict(paired_difference(table["c00"], table["c01"]))
    )


def test_adjusted_means_correct_for_a_missing_hard_fold():
    # c00 failed on the hard fold; on the others it is between c01 and c02.
    easy_and_hard = np.array([[0.80, 0.80, 0.50], [0.79, 0.79, 0.49], [0.81, 0.81, 0.51]])
    layout = fit_two_way(table_of(easy_and_hard, [(0, 2)]))
    assert layout.ranking == ("c02", "c00", "c01")
    assert layout.means["c00"] == pytest.approx(0.70)


def test_candidates_without_a_chain_of_common_folds_have_no_interval():
    table = {
        "a": {(0, 0): 0.5, (1, 0): 0.6},
        "b": {(0, 0): 0.4, (1, 0): 0.52},
        "c": {(2, 0): 0.9, (3, 0): 0.8},
        "d": {(2, 0): 0.9, (3, 0): 0.81},
        "e": {(0, 0): None},
    }
    layout = fit_two_way(table)
    assert layout.candidates == ("a", "b", "c", "d")
    assert layout.degrees == 2
    assert layout.difference("a", "b").low is not None
    assert layout.difference("a", "c").low is None
    assert not layout.differences_from("c")["a"].separable
    # The other part affects only the degrees of freedom.
    alone = fit_two_way({name: table[name] for name in "ab"}).difference("a", "b")
    assert layout.difference("a", "b").mean == pytest.approx(alone.mean)


def test_one_fold_gives_no_intervals():
    layout = fit_two_way(table_of(random_values(0, 4, 1)))
    assert (layout.degrees, layout.variance) == (0, None)
    assert all(
        estimate.low is None and not estimate.separable
        for estimate in layout.differences_from(layout.ranking[0]).values()
    )
    with pytest.raises(ValueError, match="no value"):
        fit_two_way({"a": {(0, 0): None}})


def test_an_exactly_additive_table_has_zero_variance():
    layout = fit_two_way(table_of(np.array([[0.7], [0.6], [0.6]]) + np.array([0.0, 0.03, 0.1]), [(1, 2)]))
    assert layout.variance == 0.0
    assert layout.difference("c00", "c01").separable
    assert not layout.difference("c01", "c02").separable
    assert layout.ranking == ("c00", "c01", "c02")


@pytest.mark.slow
@pytest.mark.parametrize("missing", [(), [(0, 0), (1, 2)]])
def test_intervals_cover_the_true_difference_in_95_percent_of_cases(missing):
    rng = RNG(3)
    true = np.array([[0.70], [0.68], [0.71], [0.65]])
    hits = []
    for _ in range(2000):
        values = true + rng.normal(0.0, 0.05, 3) + rng.normal(0.0, 0.01, (4, 3))
        estimate = fit_two_way(table_of(values, missing)).difference("c00", "c01")
        hits.append(estimate.low <= 0.02 <= estimate.high)
    assert 0.935 <= np.mean(hits) <= 0.965


def test_pooled_intervals_are_narrower_than_paired_ones():
    widths = []
    for seed in range(200):
        table = table_of(random_values(seed, 20, 3))
        own, shared = paired_difference(table["c00"], table["c01"]), fit_two_way(table).difference("c00", "c01")
        widths.append(((own.high - own.low), (shared.high - shared.low)))
    own, shared = np.mean(widths, axis=0)
    # Expected ratio: t quantiles with 2 and 38 degrees of freedom, times the mean of chi / sqrt(degrees) of each.
    chi = stats.chi(2).mean() / math.sqrt(2) / (stats.chi(38).mean() / math.sqrt(38))
    assert own / shared == pytest.approx(stats.t.ppf(0.975, 2) / stats.t.ppf(0.975, 38) * chi, rel=0.1)


@pytest.mark.parametrize(("candidates", "blocks"), [(20, 3), (4, 2), (6, 5)])
def test_all_pairs_of_equal_candidates_are_not_separable_in_95_percent_of_searches(candidates, blocks):
    # The best of them has the largest differences. Vectorized over many tables.
    rng = RNG(7)
    values = rng.normal(size=(20_000, candidates, blocks))
    residual = (
        values - values.mean(1, keepdims=True) - values.mean(2, keepdims=True) + values.mean((1, 2), keepdims=True)
    )
    degrees = (candidates - 1) * (blocks - 1)
    error = np.sqrt(2.0 / blocks * (residual**2).sum((1, 2)) / degrees)
    means = values.mean(2)
    out = (means.max(1) - means.min(1)) / error > tukey_quantile(candidates, degrees)
    assert out.mean() == pytest.approx(0.05, abs=0.006)
    # The code under test agrees on the first tables.
    for table, expected in zip(values[:20], out[:20], strict=True):
        layout = fit_two_way(table_of(table))
        assert any(each.separable for each in layout.differences_from(layout.ranking[0]).values()) == expected


@pytest.mark.slow
@pytest.mark.parametrize("missing", [(), [(1, 0), (2, 0), (0, 3)]])
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_intervals_from_the_best_hold_together_although_the_data_select_it(missing, scale):
    rng = RNG(8)
    true = 0.7 + scale * np.array([0.02, 0.0, -0.002, -0.01, -0.04])
    hold = []
    for _ in range(800):
        values = true[:, None] + rng.normal(0.0, 0.05, 4) + rng.normal(0.0, 0.01, (5, 4))
        layout = fit_two_way(table_of(values, missing))
        best = layout.ranking[0]
        hold.append(
            all(
                estimate.low <= true[int(best[1:])] - true[int(name[1:])] <= estimate.high
                for name, estimate in layout.differences_from(best).items()
            )
        )
    assert 0.93 <= np.mean(hold) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("missing", [(), [(1, 0), (2, 0), (0, 3)]])
@pytest.mark.parametrize("others", [(-0.03, -0.03, -0.03, -0.03), (-0.002, -0.01, -0.02, -0.03)])
def test_upper_bounds_of_losses_hold_together_in_at_least_95_percent_of_searches(missing, others):
    rng = RNG(12)
    true = 0.7 + np.array([0.0, *others])
    hold = []
    for _ in range(800):
        values = true[:, None] + rng.normal(0.0, 0.05, 4) + rng.normal(0.0, 0.01, (5, 4))
        losses = fit_two_way(table_of(values, missing)).losses()
        hold.append(all(true.max() - true[i] <= loss for i, loss in enumerate(losses.values())))
    assert np.mean(hold) >= 0.935


def test_losses_of_a_balanced_table_match_hsus_formula():
    values = random_values(3, 5, 4)
    layout = fit_two_way(table_of(values))
    means = values.mean(1)
    residuals = values - values.mean(0) - means[:, None] + values.mean()
    # Dunnett 1955, table 1a: one-sided 5 % point for 4 comparisons and 12 degrees of freedom.
    half = 2.41 * np.sqrt((residuals**2).sum() / 12 * 2 / 4)
    others = [np.delete(means, i).max() for i in range(5)]
    hsu = [max(0.0, other - mean + half) for other, mean in zip(others, means, strict=True)]
    second, best = means.argsort()[-2:]
    tests = [stats.ttest_rel(values[second if i == best else best], row) for i, row in enumerate(values)]
    paired = [test.confidence_interval(0.9).high for test in tests]
    expected = np.maximum(hsu, paired)
    assert list(layout.losses().values()) == pytest.approx(expected, abs=0.005 * half)
    assert (expected == hsu).any()
    assert (expected > hsu).any()


def test_an_unstable_candidate_is_not_within_a_margin_by_the_variance_of_the_others():
    values = 0.8 + RNG(0).normal(0, 0.001, (20, 3))
    values[0] += 0.003
    values[1] = [0.80, 0.83, 0.77]
    losses = fit_two_way(table_of(values)).losses()
    assert losses["c01"] > 0.04 > 0.02 > losses["c02"]


def test_losses_are_unknown_without_a_chain_of_common_folds():
    table = {"a": {(0, 0): 0.5, (1, 0): 0.6}, "b": {(0, 0): 0.4, (1, 0): 0.52}}
    apart = table | {"c": {(2, 0): 0.9, (3, 0): 0.8}, "d": {(2, 0): 0.9, (3, 0): 0.81}}
    assert set(fit_two_way(apart).losses().values()) == {None}
    assert None not in fit_two_way(table).losses().values()
    assert fit_two_way({"a": table["a"]}).losses() == {"a": None}  # no degrees of freedom


def test_two_candidates_need_no_adjustment():
    layout = fit_two_way(table_of(random_values(2, 2, 4)))
    best, other = layout.ranking
    assert asdict(layout.differences_from(best)[other]) == pytest.approx(asdict(layout.difference(best, other)))


def test_a_missing_cell_widens_the_interval_of_its_candidate():
    values = random_values(4, 5, 3)
    layout = fit_two_way(table_of(values, [(1, 2)]))
    best = "c00"
    estimate = layout.differences_from(best)
    assert estimate["c01"].standard_error > estimate["c02"].standard_error
    quantile = stats.studentized_range.ppf(0.95, 5, layout.degrees) / math.sqrt(2)
    for difference in estimate.values():
        assert (difference.high - difference.mean) / difference.standard_error == pytest.approx(quantile, rel=1e-4)


def test_correlations_are_never_negative_whatever_cells_are_missing():
    rng = RNG(9)
    for _ in range(200):
        values = rng.normal(size=(6, 4))
        missing = [tuple(cell) for cell in np.argwhere(rng.random((6, 4)) < 0.5)]
        if len(missing) == 24:
            continue
        layout = fit_two_way(table_of(values, missing))
        squares = np.array([layout.squares(i) for i in range(len(layout.candidates))])
        for i, own in enumerate(squares):
            same = layout.part == layout.part[i]
            shared = (own + own[:, None] - squares) / 2.0
            assert shared[np.ix_(same, same)].min() > -1e-9


@pytest.mark.parametrize("bounded", [False, True])
def test_losses_match_a_computation_with_all_correlations(bounded):
    rng = RNG(13)
    for _ in range(60):
        count, blocks = rng.integers(2, 8), rng.integers(2, 5)
        values = random_values(rng.integers(99), count, blocks, noise=0.03)
        missing = [tuple(cell) for cell in np.argwhere(rng.random(values.shape) < rng.choice([0.0, 0.1, 0.3]))]
        if len(missing) == values.size:
            continue
        layout = fit_two_way(table_of(values, missing), bounded=bounded)
        losses = layout.losses()
        if layout.degrees and not layout.part.any():
            assert list(losses.values()) == pytest.approx(losses_by_correlations(layout), abs=1e-9)


def losses_by_correlations(layout):
    """The bounds of `TwoWay.losses` from the covariances of all candidates' effects, NaN if unknown."""
    weights = layout.filled / layout.spread[:, None]
    information = np.diag(weights.sum(axis=1)) - weights / weights.sum(axis=0) @ weights.T
    covariance = np.linalg.pinv(information, hermitian=True)
    means, counts = np.array(list(layout.means.values())), layout.filled.sum(axis=1)
    bounds = []
    for control, mean in enumerate(means):
        others = np.delete(np.arange(len(means)), control)
        contrasts = np.eye(len(means))[others] - np.eye(len(means))[control]
        shared = contrasts @ covariance @ contrasts.T
        deviations = np.sqrt(np.diag(shared))
        least = max(0.0, (shared / np.outer(deviations, deviations)).min())
        quantile = dunnett_quantile(len(others), layout.degrees, math.floor(100 * least + 1e-9) / 100, 0.95, 1)
        squares = np.insert(deviations**2, control, 0.0)
        row = mean - means + quantile * np.sqrt(layout.variance * squares)
        if layout.bounded:
            low = np.clip(mean - row, 0.0, 1.0)
            wider = np.maximum(0.0, low * (1.0 - low) - layout.spread) / counts
            row = np.minimum(1.0, mean - means + quantile * np.sqrt(layout.variance * (squares + wider)))
        row[control] = 0.0
        if (row >= 0.0).all():
            bounds.append(row)
    found, order = np.max(bounds, axis=0), [layout.candidates.index(name) for name in layout.ranking]
    for i, row in enumerate(layout.values):
        paired = layout.values[order[1] if i == order[0] else order[0]] - row
        paired = paired[~np.isnan(paired)]
        if len(paired) < 2:
            found[i] = np.nan
        else:
            half = stats.t.ppf(0.95, len(paired) - 1) * paired.std(ddof=1) / math.sqrt(len(paired))
            found[i] = max(found[i], paired.mean() + half)
    return [None if np.isnan(each) else each for each in found]


def test_quantiles_match_dunnetts_table():
    # Dunnett 1964, two-sided, 95 %, 1 to 9 treatments.
    assert [round(dunnett_quantile(p, 10, 0.5), 2) for p in range(1, 10)] == [
        2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24,
    ]  # fmt: skip
    assert [round(dunnett_quantile(p, 20, 0.5), 2) for p in range(1, 10)] == [
        2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95,
    ]  # fmt: skip


def test_a_correlation_of_zero_may_be_rounded_below_it():
    assert dunnett_quantile(3, 3, -1e-16, sides=1) == dunnett_quantile(3, 3, 0.0, sides=1)


def test_one_sided_quantiles_match_dunnetts_table():
    # Dunnett 1955, table 1a, 95 %, 1 to 9 treatments.
    assert [round(dunnett_quantile(p, 20, 0.5, sides=1), 2) for p in range(1, 10)] == [
        1.72, 2.03, 2.19, 2.30, 2.39, 2.46, 2.51, 2.56, 2.60,
    ]  # fmt: skip


def test_quantiles_match_scipys_probability():
    groups = np.random.default_rng(5).normal(size=(5, 4))
    test = stats.dunnett(*groups[1:], control=groups[0], rng=np.random.default_rng(0))
    greatest = np.abs(test.statistic).max()
    assert dunnett_quantile(4, 15, 0.5, 1.0 - test.pvalue.min()) == pytest.approx(greatest, abs=2e-3)


@pytest.mark.parametrize("degrees", [1, 2, 5, 40])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_quantiles_fall_with_correlation_and_stay_below_bonferroni(degrees, confidence):
    single = dunnett_quantile(1, degrees, 0.5, confidence)
    assert single == pytest.approx(stats.t.ppf(0.5 + confidence / 2, degrees))
    quantiles = [dunnett_quantile(6, degrees, correlation, confidence) for correlation in (1.0, 0.5, 0.2, 0.0)]
    bonferroni = stats.t.ppf(1.0 - (1.0 - confidence) / 12, degrees)
    assert single < quantiles[0] < quantiles[1] < quantiles[2] < quantiles[3] < bonferroni


@pytest.mark.parametrize(("candidates", "degrees"), [(3, 1), (3, 2), (10, 18), (60, 59)])
def test_quantiles_of_all_pairs_match_scipys_studentized_range(candidates, degrees):
    expected = stats.studentized_range.ppf(0.95, candidates, degrees)
    assert math.sqrt(2) * tukey_quantile(candidates, degrees) == pytest.approx(expected, rel=1e-4)
    assert tukey_quantile(2, degrees) == pytest.approx(stats.t.ppf(0.975, degrees))


def weighted_by_hand(values, missing, weights):
    """Residual variance and variances of differences, from dummy variables and weights."""
    c, k = values.shape
    cells = [cell for cell in itertools.product(range(c), range(k)) if cell not in missing]
    design = np.zeros((len(cells), c + k))
    for row, (i, j) in enumerate(cells):
        design[row, i] = design[row, c + j] = 1.0
    root = np.sqrt([weights[i] for i, _ in cells])
    y, scaled = root * np.array([values[cell] for cell in cells]), root[:, None] * design
    solution, _, rank, _ = np.linalg.lstsq(scaled, y, rcond=None)
    covariance = np.linalg.pinv(scaled.T @ scaled)
    return solution, float(np.sum((y - scaled @ solution) ** 2) / (len(cells) - rank)), covariance


@pytest.mark.parametrize("missing", [(), [(0, 0), (3, 2), (4, 1)]])
def test_accuracies_are_weighted_by_their_variances(missing):
    rng = RNG(1)
    values = rng.binomial(200, np.array([[0.55], [0.8], [0.9], [0.97], [1.0]]) * np.ones(4)) / 200
    layout = fit_two_way(table_of(values, missing), bounded=True)
    present = np.where([[(i, j) in missing for j in range(4)] for i in range(5)], np.nan, values)
    weights = 1.0 / variances(present)
    solution, variance, covariance = weighted_by_hand(values, missing, weights)
    assert layout.variance == pytest.approx(variance)
    for i, j in itertools.permutations(range(5), 2):
        found = layout.difference(f"c{i:02}", f"c{j:02}")
        error = math.sqrt(variance * (covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]))
        assert found.mean == pytest.approx(solution[i] - solution[j])
        assert found.standard_error == pytest.approx(error)
        assert -1 <= found.low <= found.mean <= found.high <= 1


def test_accuracies_of_two_candidates_have_the_paired_interval():
    table = table_of(np.array([[0.90, 0.92, 0.95], [0.80, 0.87, 0.91]]))
    expected = asdict(paired_difference(table["c00"], table["c01"]))
    assert asdict(fit_two_way(table, bounded=True).difference("c00", "c01")) == pytest.approx(expected)


def test_differences_of_accuracies_stay_in_their_range():
    table = table_of(np.array([[0.1, 0.9], [0.9, 0.2]]))
    wide = fit_two_way(table).difference("c00", "c01")
    found = fit_two_way(table, bounded=True).difference("c00", "c01")
    assert wide.low < -1 < 1 < wide.high
    assert (found.low, found.high) == (-1.0, 1.0)
    beyond = {name: {block: 100 * value for block, value in row.items()} for name, row in table.items()}
    assert fit_two_way(beyond, bounded=True).difference("c00", "c01").high > 100  # percent: not in [0, 1]


def test_accuracies_that_never_vary_separate_nothing():
    layout = fit_two_way(table_of(np.array([[1.0, 1.0, 1.0], [0.98, 0.98, 0.98]])), bounded=True)
    assert not layout.difference("c00", "c01").separable
