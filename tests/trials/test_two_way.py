import itertools
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from tfeff.errors import UserError
from tfeff.scaling.statistics import dunnett_quantile, paired, pooled, rank, summary

RNG = np.random.default_rng


def table_of(values, missing=()):
    """Rows of an array as candidates c00, c01, ... and its columns as folds."""
    return {
        f"c{i:02}": {(fold, 0): None if (i, fold) in missing else float(value) for fold, value in enumerate(row)}
        for i, row in enumerate(values)
    }


def layout_values(seed, candidates, blocks, noise=0.01):
    rng = RNG(seed)
    effects = rng.normal(0.7, 0.02, (candidates, 1)) + rng.normal(0.0, 0.03, blocks)
    return effects + rng.normal(0.0, noise, (candidates, blocks))


def fitted_by_design_matrix(values, missing):
    """Adjusted means, residual variance, its degrees and the covariance of the means, from dummy variables."""
    c, k = values.shape
    cells = [cell for cell in itertools.product(range(c), range(k)) if cell not in missing]
    design = np.zeros((len(cells), c + k))
    for row, (i, j) in enumerate(cells):
        design[row, i] = design[row, c + j] = 1.0
    y = np.array([values[cell] for cell in cells])
    solution, _, rank_, _ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ solution
    degrees = len(cells) - rank_
    to_means = np.hstack([np.eye(c), np.full((c, k), 1.0 / k)])
    covariance = to_means @ np.linalg.pinv(design.T @ design) @ to_means.T
    return to_means @ solution, residual @ residual / degrees, degrees, covariance


class TestSummary:
    def test_equals_the_one_sample_t_interval(self):
        values = [0.71, 0.74, 0.69, 0.72]
        of = summary(values)
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (of.low, of.high) == pytest.approx((low, high))
        assert (of.n, of.mean) == (4, pytest.approx(np.mean(values)))
        assert of.deviation == pytest.approx(np.std(values, ddof=1))
        assert of.standard_error == pytest.approx(stats.sem(values))
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.8)
        assert (summary(values, 0.8).low, summary(values, 0.8).high) == pytest.approx((low, high))

    def test_of_one_value_knows_no_spread_and_fits_into_json(self):
        of = summary([0.7])
        assert (of.n, of.mean, of.deviation, of.standard_error, of.low, of.high) == (1, 0.7, None, None, None, None)
        assert json.loads(json.dumps(asdict(of), allow_nan=False))["low"] is None

    def test_failed_trials_do_not_count(self):
        assert summary([0.7, None, 0.8, float("nan"), math.inf]) == summary([0.7, 0.8])
        with pytest.raises(ValueError, match="at least one"):
            summary([None, float("nan")])

    def test_intervals_cover_the_true_mean_in_95_of_100_cases(self):
        samples = RNG(0).normal(0.7, 0.03, (2000, 3))
        covered = [of.low <= 0.7 <= of.high for of in map(summary, samples)]
        assert 0.94 <= np.mean(covered) <= 0.96


class TestPaired:
    def test_equals_the_paired_t_test_over_common_blocks(self):
        first = {(0, 0): 0.7, (1, 0): 0.75, (2, 0): 0.71, (3, 0): 0.2, (4, 0): None}
        second = {(2, 0): 0.70, (0, 0): 0.66, (1, 0): 0.72, (3, 0): None, (4, 0): 0.3}
        of = paired(first, second)
        test = stats.ttest_rel([0.7, 0.75, 0.71], [0.66, 0.72, 0.70])
        assert (of.n, of.degrees, of.mean) == (3, 2, pytest.approx(0.08 / 3))
        assert (of.low, of.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert of.mean / of.standard_error == pytest.approx(test.statistic)
        assert of.separated == (test.pvalue < 0.05)

    def test_one_common_block_gives_a_difference_without_interval(self):
        of = paired({(0, 0): 0.7, (1, 0): 0.8}, {(1, 0): 0.5, (2, 0): 0.6})
        assert (of.n, of.mean, of.low, of.separated) == (1, pytest.approx(0.3), None, False)
        with pytest.raises(ValueError, match="no block"):
            paired({(0, 0): 0.7}, {(1, 0): 0.5})


class TestPooled:
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
    def test_equals_least_squares_on_dummy_variables(self, candidates, blocks, missing):
        values = layout_values(1, candidates, blocks)
        means, variance, degrees, covariance = fitted_by_design_matrix(values, missing)
        layout = pooled(table_of(values, missing))
        assert list(layout.means.values()) == pytest.approx(means)
        assert layout.degrees == degrees
        assert layout.variance == pytest.approx(variance)
        for i, j in itertools.permutations(range(candidates), 2):
            of = layout.difference(f"c{i:02}", f"c{j:02}")
            error = math.sqrt(variance * (covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]))
            half_width = stats.t.ppf(0.975, degrees) * error
            assert of.mean == pytest.approx(means[i] - means[j])
            assert of.standard_error == pytest.approx(error)
            assert (of.low, of.high) == pytest.approx((of.mean - half_width, of.mean + half_width))
            assert of.n == sum((i, fold) not in missing and (j, fold) not in missing for fold in range(blocks))

    def test_by_hand(self):
        # Means 4, 6, 8; blocks 5, 7; residuals ±1, ∓1, 0: sum of squares 4 with 2 degrees of freedom.
        layout = pooled(table_of(np.array([[4.0, 4.0], [4.0, 8.0], [7.0, 9.0]])))
        assert layout.means == pytest.approx({"c00": 4.0, "c01": 6.0, "c02": 8.0})
        assert (layout.degrees, layout.variance) == (2, pytest.approx(2.0))
        assert layout.difference("c02", "c00").standard_error == pytest.approx(math.sqrt(2.0 * 2.0 / 2))

    def test_of_two_complete_candidates_equals_their_own_comparison(self):
        table = table_of(layout_values(2, 2, 4))
        assert asdict(pooled(table).difference("c00", "c01")) == pytest.approx(
            asdict(paired(table["c00"], table["c01"]))
        )

    def test_a_failed_fold_does_not_flatter(self):
        # c00 lacks the hard fold, where it would have been as much better as elsewhere.
        easy_and_hard = np.array([[0.80, 0.80, 0.50], [0.79, 0.79, 0.49], [0.81, 0.81, 0.51]])
        layout = pooled(table_of(easy_and_hard, [(0, 2)]))
        assert layout.ranking == ("c02", "c00", "c01")
        assert layout.means["c00"] == pytest.approx(0.70)

    def test_parts_without_a_common_fold_are_not_compared(self):
        table = {
            "a": {(0, 0): 0.5, (1, 0): 0.6},
            "b": {(0, 0): 0.4, (1, 0): 0.52},
            "c": {(2, 0): 0.9, (3, 0): 0.8},
            "d": {(2, 0): 0.9, (3, 0): 0.81},
            "e": {(0, 0): None},
        }
        layout = pooled(table)
        assert layout.candidates == ("a", "b", "c", "d")
        assert layout.degrees == 2
        assert layout.difference("a", "b").low is not None
        assert layout.difference("a", "c").low is None
        assert not layout.against("c")["a"].separated
        # As if the other part were not there, but for the degrees of freedom.
        alone = pooled({name: table[name] for name in "ab"}).difference("a", "b")
        assert layout.difference("a", "b").mean == pytest.approx(alone.mean)

    def test_one_fold_has_no_intervals(self):
        layout = pooled(table_of(layout_values(0, 4, 1)))
        assert (layout.degrees, layout.variance) == (0, None)
        assert all(of.low is None and not of.separated for of in layout.against(layout.ranking[0]).values())
        with pytest.raises(ValueError, match="no value"):
            pooled({"a": {(0, 0): None}})

    def test_an_exactly_additive_table_has_no_residuals(self):
        layout = pooled(table_of(np.array([[0.7], [0.6], [0.6]]) + np.array([0.0, 0.03, 0.1]), [(1, 2)]))
        assert layout.variance == 0.0
        assert layout.difference("c00", "c01").separated
        assert not layout.difference("c01", "c02").separated
        assert layout.ranking == ("c00", "c01", "c02")

    @pytest.mark.parametrize("missing", [(), [(0, 0), (1, 2)]])
    def test_intervals_cover_a_difference_in_95_of_100_cases(self, missing):
        rng = RNG(3)
        true = np.array([[0.70], [0.68], [0.71], [0.65]])
        hits = []
        for _ in range(2000):
            values = true + rng.normal(0.0, 0.05, 3) + rng.normal(0.0, 0.01, (4, 3))
            of = pooled(table_of(values, missing)).difference("c00", "c01")
            hits.append(of.low <= 0.02 <= of.high)
        assert 0.935 <= np.mean(hits) <= 0.965

    def test_an_interval_is_narrower_than_that_of_the_pair_alone(self):
        widths = []
        for seed in range(200):
            table = table_of(layout_values(seed, 20, 3))
            own, shared = paired(table["c00"], table["c01"]), pooled(table).difference("c00", "c01")
            widths.append(((own.high - own.low), (shared.high - shared.low)))
        own, shared = np.mean(widths, axis=0)
        # Expected: ratio of the t quantiles with 2 and 38 degrees, times the mean of chi / sqrt(degrees) of each.
        chi = stats.chi(2).mean() / math.sqrt(2) / (stats.chi(38).mean() / math.sqrt(38))
        assert own / shared == pytest.approx(stats.t.ppf(0.975, 2) / stats.t.ppf(0.975, 38) * chi, rel=0.1)


class TestBest:
    def test_quantiles_of_dunnetts_table(self):
        # Dunnett 1964, two-sided, 95 %, 1 to 9 treatments.
        assert [round(dunnett_quantile(p, 10, 0.5), 2) for p in range(1, 10)] == [
            2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24,
        ]  # fmt: skip
        assert [round(dunnett_quantile(p, 20, 0.5), 2) for p in range(1, 10)] == [
            2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95,
        ]  # fmt: skip

    def test_quantile_gives_scipys_probability(self):
        groups = RNG(5).normal(size=(5, 4))
        test = stats.dunnett(*groups[1:], control=groups[0], rng=RNG(0))
        greatest = np.abs(test.statistic).max()
        assert dunnett_quantile(4, 15, 0.5, 1.0 - test.pvalue.min()) == pytest.approx(greatest, abs=2e-3)

    @pytest.mark.parametrize("degrees", [1, 2, 5, 40])
    @pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
    def test_independent_and_nearly_equal_statistics_are_the_extremes(self, degrees, confidence):
        single = dunnett_quantile(1, degrees, 0.5, confidence)
        assert single == pytest.approx(stats.t.ppf(0.5 + confidence / 2, degrees))
        quantiles = [dunnett_quantile(6, degrees, correlation, confidence) for correlation in (1.0, 0.5, 0.2, 0.0)]
        bonferroni = stats.t.ppf(1.0 - (1.0 - confidence) / 12, degrees)
        assert single < quantiles[0] < quantiles[1] < quantiles[2] < quantiles[3] < bonferroni

    @pytest.mark.parametrize(("candidates", "blocks"), [(20, 3), (4, 2), (6, 5)])
    def test_the_truly_best_of_equals_is_ruled_out_in_25_of_1000_searches(self, candidates, blocks):
        # Equals are the worst case; with the pooled statistics of many tables at once.
        rng = RNG(7)
        values = rng.normal(size=(20_000, candidates, blocks))
        residual = (
            values - values.mean(1, keepdims=True) - values.mean(2, keepdims=True) + values.mean((1, 2), keepdims=True)
        )
        degrees = (candidates - 1) * (blocks - 1)
        error = np.sqrt(2.0 / blocks * (residual**2).sum((1, 2)) / degrees)
        means = values.mean(2)
        distance = (means.max(1) - means[:, 0]) / error
        out = distance > dunnett_quantile(candidates - 1, degrees, 0.5)
        assert out.mean() == pytest.approx(0.025, abs=0.005)
        # The same by the code under test.
        for table, expected in zip(values[:20], out[:20], strict=True):
            layout = pooled(table_of(table))
            best = layout.ranking[0]
            assert (best != "c00" and layout.against(best)["c00"].separated) == expected

    @pytest.mark.parametrize("missing", [(), [(1, 0), (2, 0), (0, 3)]])
    def test_intervals_from_a_clearly_best_one_hold_together_in_95_of_100_searches(self, missing):
        rng = RNG(8)
        true = np.array([0.80, 0.700, 0.698, 0.69, 0.66])
        hold = []
        for _ in range(2000):
            values = true[:, None] + rng.normal(0.0, 0.05, 4) + rng.normal(0.0, 0.01, (5, 4))
            layout = pooled(table_of(values, missing))
            differences = layout.against(layout.ranking[0]).items()
            hold.append(all(of.low <= true[0] - true[int(name[1:])] <= of.high for name, of in differences))
        assert 0.94 <= np.mean(hold) <= 0.965

    def test_of_two_candidates_nothing_is_adjusted(self):
        layout = pooled(table_of(layout_values(2, 2, 4)))
        best, other = layout.ranking
        assert asdict(layout.against(best)[other]) == pytest.approx(asdict(layout.difference(best, other)))

    def test_a_missing_cell_widens_the_intervals_of_its_candidate(self):
        values = layout_values(4, 5, 3)
        layout = pooled(table_of(values, [(1, 2)]))
        best = "c00"
        of = layout.against(best)
        assert of["c01"].standard_error > of["c02"].standard_error
        # Never beyond Bonferroni, never below one comparison alone.
        for name, difference in of.items():
            quantile = (difference.high - difference.mean) / difference.standard_error
            assert stats.t.ppf(0.975, layout.degrees) < quantile < stats.t.ppf(1 - 0.025 / 4, layout.degrees), name

    def test_no_missing_cells_lead_to_negative_correlations(self):
        rng = RNG(9)
        for _ in range(200):
            values = rng.normal(size=(6, 4))
            missing = [tuple(cell) for cell in np.argwhere(rng.random((6, 4)) < 0.5)]
            if len(missing) == 24:
                continue
            layout = pooled(table_of(values, missing))
            g = layout.covariance
            for i in range(len(layout.candidates)):
                same = layout.part == layout.part[i]
                shared = g - g[:, [i]] - g[[i], :] + g[i, i]
                assert shared[np.ix_(same, same)].min() > -1e-9


class TestRanking:
    def ranked(self, means, costs, noise=0.001, folds=3, **keywords):
        values = np.array(means)[:, None] + np.linspace(0.0, 0.04, folds)
        values = values + noise * RNG(1).normal(size=values.shape)
        return rank(table_of(values), {f"c{i:02}": float(cost) for i, cost in enumerate(costs)}, **keywords)

    def test_the_cheapest_that_cannot_be_told_from_the_best_is_chosen(self):
        ranking = self.ranked([0.70, 0.7002, 0.7001, 0.65, 0.60], [5, 9, 7, 1, 2], noise=0.002)
        assert {ranking.best, *ranking.tied} == {"c00", "c01", "c02"}
        assert ranking.chosen == "c00"
        assert ranking.order[3:] == ("c03", "c04")
        assert not ranking.differences[ranking.tied[0]].separated
        assert ranking.differences["c03"].separated

    def test_costs_that_are_equal_leave_the_better_mean(self):
        ranking = self.ranked([0.700, 0.7001], [1, 1], noise=0.01)
        assert ranking.tied
        assert ranking.chosen == ranking.best

    @pytest.mark.parametrize(
        ("means", "costs", "keywords", "part"),
        [
            ([0.7], [1], {}, "c00 is the only candidate here; its mean accuracy is 0.720 (95 % "),
            (
                [0.7, 0.6],
                [2, 1],
                {},
                "; the other one, c01, is lower beyond chance with 3 folds, so the best is taken.",
            ),
            (
                [0.7, 0.6, 0.5],
                [3, 2, 1],
                {},
                "; all 2 others are lower beyond chance with 3 folds, so the best is taken.",
            ),
            ([0.7, 0.6], [2, 1], {"left": 1}, " is taken. 1 candidate left earlier."),
            ([0.7, 0.6], [2, 1], {"left": 13}, " is taken. 13 candidates left earlier."),
            ([0.7, 0.6], [2, 1], {"folds": 1}, "c00 has the highest mean accuracy, 0.7"),
            (
                [0.7, 0.6],
                [2, 1],
                {"folds": 1},
                "; 1 fold cannot say how much of this is chance, so it is taken as it is.",
            ),
            (
                [0.7, 0.6],
                [2, 1],
                {"metric": "-(loss)", "names": {"c00": "A (x 2)"}},
                "A (x 2) has the highest mean -(loss), ",
            ),
        ],
    )
    def test_sentences(self, means, costs, keywords, part):
        assert part in self.ranked(means, costs, **keywords).sentence

    @pytest.mark.parametrize(
        ("means", "costs", "who", "taken"),
        [
            ([0.7, 0.7], [1, 1], "the other one, c01,", "that one is no cheaper, so the best is taken"),
            ([0.7, 0.7, 0.5], [3, 2, 1], "1 of 2 others, c00,", "that one is no cheaper, so the best is taken"),
            ([0.7, 0.7, 0.7, 0.5], [1, 1, 1, 1], "2 of 3 others", "none of them is cheaper, so the best is taken"),
            ([0.7, 0.7, 0.7], [1, 1, 1], "all 2 others", "none of them is cheaper, so the best is taken"),
        ],
    )
    def test_sentences_of_exact_equals(self, means, costs, who, taken):
        sentence = self.ranked(means, costs, noise=0.0).sentence
        assert sentence.endswith(f"; {who} cannot be told from it with 3 folds; {taken}.")

    def test_sentences_of_one_cheaper_equal(self):
        values = np.array([[0.70, 0.72, 0.75], [0.70, 0.73, 0.73], [0.50, 0.52, 0.54]])
        of = rank(table_of(values), {"c00": 3.0, "c01": 2.0, "c02": 1.0})
        assert (of.chosen, of.sentence.partition("; ")[2]) == (
            "c01",
            "1 of 2 others, c01, cannot be told from it with 3 folds; that one is cheaper and is taken.",
        )
        of = rank(table_of(values[:2]), {"c00": 3.0, "c01": 2.0})
        assert of.sentence.endswith(
            "; the other one, c01, cannot be told from it with 3 folds; that one is cheaper and is taken."
        )

    def test_sentence_names_the_cheapest_of_several(self):
        values = np.array([[0.70, 0.72, 0.75], [0.70, 0.73, 0.73], [0.69, 0.72, 0.74], [0.50, 0.52, 0.54]])
        ranking = rank(table_of(values), {"c00": 3.0, "c01": 2.0, "c02": 1.0, "c03": 0.5})
        assert (ranking.best, ranking.chosen) == ("c00", "c02")
        low, high = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
        assert ranking.sentence == (
            f"c00 has the highest mean accuracy, 0.723 (95 % {low:.3f} to {high:.3f}); 2 of 3 others cannot be told "
            "from it with 3 folds; the cheapest of them, c02, is taken."
        )

    def test_one_fold_takes_the_best_whatever_it_costs(self):
        ranking = self.ranked([0.6, 0.7, 0.5], [2, 3, 1], folds=1)
        assert (ranking.best, ranking.chosen) == ("c01", "c01")
        assert ranking.tied == ("c00", "c02")

    def test_candidates_without_a_value_are_left_out(self):
        table = {"a": {(0, 0): 0.5, (1, 0): 0.6}, "b": {(0, 0): None, (1, 0): None}}
        assert rank(table, {"a": 1.0, "b": 1.0}).order == ("a",)
        with pytest.raises(UserError, match="every trial of every candidate failed"):
            rank({"a": {(0, 0): None}}, {"a": 1.0})

    def test_the_order_of_the_table_changes_nothing(self):
        table = table_of(layout_values(6, 7, 3), [(2, 1)])
        costs = {name: float(i % 3) for i, name in enumerate(table)}
        expected = rank(table, costs)
        for seed in range(5):
            shuffled = {name: table[name] for name in RNG(seed).permutation(list(table))}
            ranking = rank(shuffled, costs)
            assert (ranking.order, ranking.tied, ranking.sentence) == (expected.order, expected.tied, expected.sentence)

    def test_the_truly_best_is_best_or_tied_in_at_least_95_of_100_searches(self):
        rng = RNG(10)
        true = np.linspace(0.70, 0.66, 12)
        found = []
        for _ in range(400):
            values = true[:, None] + rng.normal(0.0, 0.03, 3) + rng.normal(0.0, 0.01, (12, 3))
            ranking = rank(table_of(values), dict.fromkeys(table_of(values), 1.0))
            found.append("c00" in (ranking.best, *ranking.tied))
        assert np.mean(found) >= 0.95
