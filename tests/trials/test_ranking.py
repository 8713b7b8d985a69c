"""Rankings: the rule of choice, its errors in simulations, and its words."""

import numpy as np
import pytest
from scipy import stats

from tests.trials.tables import random_values, table_of
from tfeff.errors import UserError
from tfeff.reporting.tables import cell
from tfeff.trials.intervals import number
from tfeff.trials.ranking import rank

RNG = np.random.default_rng


def ranked(means, costs, noise=0.001, folds=3, **keywords):
    values = np.array(means)[:, None] + np.linspace(0.0, 0.04, folds)
    values = values + noise * RNG(1).normal(size=values.shape)
    return rank(table_of(values), {f"c{i:02}": float(cost) for i, cost in enumerate(costs)}, **keywords)


def test_preferred_are_the_cheapest_within_the_margin_and_then_the_best():
    folds = [(fold, 0) for fold in range(5)]
    means = {"best": 0.9, "near": 0.898, "cheap": 0.895, "dear": 0.899, "poor": 0.6}
    table = {name: {fold: mean + 0.001 * (fold[0] % 2) for fold in folds} for name, mean in means.items()}
    costs = {"best": 5.0, "near": 3.0, "cheap": 2.0, "dear": 9.0, "poor": 1.0}
    assert rank(table, costs, margin=0.01).preferred == ("cheap", "near", "best", "dear", "poor")
    assert rank(table, costs).preferred == ("best", "dear", "near", "cheap", "poor")


def test_candidates_that_are_not_separable_from_the_best_are_tied():
    ranking = ranked([0.70, 0.7002, 0.7001, 0.65, 0.60], [5, 9, 7, 1, 2], noise=0.002)
    assert {ranking.best, *ranking.tied} == {"c00", "c01", "c02"}
    assert ranking.order[3:] == ("c03", "c04")
    assert not ranking.differences[ranking.tied[0]].separable
    assert ranking.differences["c03"].separable


def test_without_a_margin_the_highest_mean_is_chosen_however_uncertain_it_is():
    # Two folds separate nothing, and the cheapest is far below.
    values = np.array([[0.88, 0.848], [0.80, 0.698], [0.79, 0.80]])
    ranking = rank(table_of(values), {"c00": 3.0, "c01": 1.0, "c02": 2.0}, bounded=True)
    assert (set(ranking.tied), ranking.chosen) == ({"c01", "c02"}, "c00")
    assert ranking.sentence.endswith("; not separable from the other 2 candidates (2 folds); c00 is chosen.")


def test_a_margin_chooses_the_cheapest_whose_loss_is_surely_below_it():
    means, costs = [0.700, 0.699, 0.698, 0.68], [4, 3, 2, 1]
    bounds = ranked(means, costs).losses
    assert ranked(means, costs, margin=1.01 * bounds["c02"]).chosen == "c02"
    assert ranked(means, costs, margin=0.999 * bounds["c02"]).chosen == "c01"
    assert ranked(means, costs, margin=0.05).chosen == "c03"  # significantly worse, but not by 0.05
    assert ranked(means, costs, margin=1e-6).chosen == ranked(means, costs).chosen == "c00"
    # A cheaper candidate is not preferred to an equally cheap one with a higher mean, nor an expensive one to the best.
    assert ranked(means, [1, 1, 1, 1], margin=0.05).chosen == "c00"
    assert ranked(means, [1, 2, 3, 4], margin=0.05).chosen == "c00"


@pytest.mark.parametrize("bounded", [False, True])
def test_two_folds_never_economize(bounded):
    values = [0.70, 0.70, 0.70]
    assert (
        ranked(values, [3, 2, 1], folds=2, margin=0.5, bounded=bounded, noise=1e-5).chosen
        == ranked(values, [3, 2, 1], folds=2, bounded=bounded, noise=1e-5).best
    )
    assert ranked(values, [3, 2, 1], folds=3, margin=0.5, bounded=bounded, noise=1e-5).chosen == "c02"


def test_one_fold_chooses_the_best_whatever_its_cost():
    ranking = ranked([0.6, 0.7, 0.5], [2, 3, 1], folds=1, margin=0.3)
    assert (ranking.best, ranking.chosen) == ("c01", "c01")
    assert ranking.tied == ("c00", "c02")
    assert set(ranking.losses.values()) == {None}


def test_seeds_of_two_folds_are_not_folds():
    values = np.array([[0.70, 0.71, 0.72, 0.73], [0.70, 0.71, 0.72, 0.73]]) + RNG(0).normal(0, 1e-4, (2, 4))
    table = {
        name: {(fold, seed): float(row[2 * fold + seed]) for fold in (0, 1) for seed in (0, 1)}
        for name, row in zip("ab", values, strict=True)
    }
    ranking = rank(
        table, {"a": 2.0, "b": 1.0} if values[0].mean() > values[1].mean() else {"a": 1.0, "b": 2.0}, margin=0.1
    )
    assert ranking.chosen == ranking.best


def test_candidates_without_a_value_are_ignored():
    table = {"a": {(0, 0): 0.5, (1, 0): 0.6}, "b": {(0, 0): None, (1, 0): None}}
    assert rank(table, {"a": 1.0, "b": 1.0}).order == ("a",)
    with pytest.raises(UserError, match="every trial of every candidate failed"):
        rank({"a": {(0, 0): None}}, {"a": 1.0})


def test_the_order_of_the_table_does_not_matter():
    table = table_of(random_values(6, 7, 3), [(2, 1)])
    costs = {name: float(i % 3) for i, name in enumerate(table)}
    expected = rank(table, costs)
    for seed in range(5):
        shuffled = {name: table[name] for name in RNG(seed).permutation(list(table))}
        ranking = rank(shuffled, costs)
        assert (ranking.order, ranking.tied, ranking.sentence) == (expected.order, expected.tied, expected.sentence)


def test_the_truly_best_is_best_or_tied_in_at_least_95_percent_of_searches():
    rng = RNG(10)
    true = np.linspace(0.70, 0.66, 12)
    found = []
    for _ in range(400):
        values = true[:, None] + rng.normal(0.0, 0.03, 3) + rng.normal(0.0, 0.01, (12, 3))
        ranking = rank(table_of(values), dict.fromkeys(table_of(values), 1.0))
        found.append("c00" in (ranking.best, *ranking.tied))
    assert np.mean(found) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("candidates", "folds"), [(3, 3), (10, 3), (10, 5)])
def test_a_worse_candidate_is_chosen_in_at_most_5_percent_of_searches(candidates, folds):
    # The truly best one is the most expensive, all others lose exactly the margin: the worst case.
    rng, margin, wrong, count = RNG(11), 0.02, 0, 600
    true = np.full(candidates, 0.7 - margin)
    true[0] = 0.7
    costs = {f"c{i:02}": 1.0 + (i == 0) for i in range(candidates)}
    for _ in range(count):
        values = true[:, None] + rng.normal(0.0, 0.03, folds) + rng.normal(0.0, 0.01, (candidates, folds))
        ranking = rank(table_of(values), costs, margin=margin)
        wrong += any(loss < margin for name, loss in ranking.losses.items() if name != "c00")
    assert wrong / count <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / count)


def test_a_ranking_in_words():
    values = np.array([[0.70, 0.72, 0.75], [0.70, 0.73, 0.73], [0.69, 0.72, 0.74], [0.50, 0.52, 0.54]])
    costs = {"c00": 3.0, "c01": 2.0, "c02": 1.0, "c03": 0.5}
    low, high = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    lead = (
        f"c00 has the highest mean accuracy, 0.723 (95 % CI {low:.3f} to {high:.3f}); not separable from 2 of the "
        "other 3 candidates (3 folds)"
    )
    rule = "loses less than {} against the best with 95 % confidence"
    assert rank(table_of(values), costs).sentence == f"{lead}; c00 is chosen."
    assert rank(table_of(values), costs, chooses=False).sentence == f"{lead}."
    found = rank(table_of(values), costs, margin=0.05, eliminated=2)
    # Means 0.7233 and 0.7167; Dunnett's one-sided 5 % point for 3 comparisons and 6 degrees of freedom is 2.56.
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    bound = values[0].mean() - values[2].mean() + 2.56 * np.sqrt((residuals**2).sum() / 6 * 2 / 3)
    assert found.sentence == (
        f"{lead}; c02 is chosen, the cheapest that {rule.format(0.05)} (at most {found.losses['c02']:.3g}). 2 "
        "candidates were eliminated earlier."
    )
    assert found.losses["c02"] == pytest.approx(bound, abs=2e-4)
    assert rank(table_of(values), costs, margin=0.01).sentence == (
        f"{lead}; c00 is chosen, because no cheaper one {rule.format(0.01)}."
    )
    assert rank(table_of(values[:, :2]), costs, margin=0.5, eliminated=1).sentence.endswith(
        "(2 folds); c01 is chosen, because a cheaper one is preferred only with 3 folds or more. 1 candidate was "
        "eliminated earlier."
    )
    assert rank(table_of(values), costs, eliminated=1, failed=2).sentence.endswith(
        " 1 candidate was eliminated earlier. 2 candidates were left out: every trial failed."
    )
    assert rank(table_of(values[:, :1]), costs).sentence == (
        "c01 has the highest mean accuracy, 0.700; 1 fold cannot give an interval of a difference; c01 is chosen."
    )
    assert rank(table_of(values[:1]), costs, margin=0.1).sentence == (
        f"c00 is the only candidate: mean accuracy 0.723 (95 % CI {low:.3f} to {high:.3f}) over 3 folds."
    )
    assert ", significantly above the other candidate, c01 (3 folds); c00 is chosen." in (
        rank(table_of(values[[0, 3]]), costs).sentence
    )


def test_folds_on_which_every_training_failed_count():
    rows, blocks = {"a": {(0, 0): 0.7, (2, 0): 0.8}}, [(fold, seed) for fold in range(4) for seed in range(2)]
    assert "Beware: its training failed on 2 of 4 folds." in rank(rows, {"a": 1.0}, blocks=blocks).sentence
    assert "Beware" not in rank(rows, {"a": 1.0}).sentence
    rows["b"] = {(0, 0): 0.6, (1, 0): 0.6}
    assert "Beware: its training failed on 2 of 4 folds." in rank(rows, {"a": 1.0, "b": 1.0}, blocks=blocks).sentence


def test_candidates_without_common_folds_are_not_compared():
    # c02 succeeded on another, easy fold only.
    values = np.array([[0.70, 0.72, 0.0], [0.71, 0.70, 0.0], [0.0, 0.0, 0.95]])
    missing = [(0, 2), (1, 2), (2, 0), (2, 1)]
    ranking = rank(table_of(values, missing), dict.fromkeys(("c00", "c01", "c02"), 1.0))
    assert (ranking.best, ranking.order) == ("c00", ("c00", "c01", "c02"))
    assert ranking.sentence.startswith("c00 has the highest mean accuracy, 0.710 (")
    words = (
        "), not counting c02, which has no fold in common with it and cannot be compared; not separable from the other"
    )
    assert words in ranking.sentence
    two = rank(table_of(values[1:, 1:], [(0, 1), (1, 0)]), {"c00": 1.0, "c01": 2.0})
    assert two.order == ("c01", "c00")
    assert two.sentence == (
        "c01 has the highest mean accuracy, 0.950, not counting c00, which has no fold in common with it and cannot be "
        "compared (2 folds); c01 is chosen. Beware: its training failed on 1 of 2 folds."
    )


def test_the_best_has_a_standing_of_its_own_if_a_cheaper_one_is_chosen():
    ranking = ranked([0.70, 0.69, 0.60], [3, 2, 1], margin=0.05)
    assert not ranking.tied
    names = ("c00", "c01", "c02")
    assert [ranking.standing(name, has_values=True) for name in names] == ["best", "winner", "beaten"]


def test_labels_replace_keys_and_one_tied_candidate_is_named():
    values = np.array([[0.70, 0.72, 0.75], [0.70, 0.73, 0.73], [0.50, 0.52, 0.54]])
    labels = {"c00": "A", "c01": "B", "c02": "C"}
    sentence = rank(table_of(values), dict.fromkeys(labels, 1.0), labels=labels).sentence
    assert sentence.startswith("A has")
    assert "from 1 of the other 2 candidates, B (3 folds); A is chosen." in sentence


def test_a_mean_adjusted_for_missing_trials_is_named_as_such():
    # c00 failed on the hard fold: its own mean is 0.80, that of the others falls by 0.1 there.
    easy_and_hard = np.array([[0.80, 0.80, 0.50], [0.79, 0.79, 0.49], [0.78, 0.785, 0.48]])
    ranking = rank(table_of(easy_and_hard, [(0, 2)]), dict.fromkeys(("c00", "c01", "c02"), 1.0))
    assert "mean accuracy, 0.700 when adjusted for missing trials, 0.800 (95 % CI" in ranking.sentence
    assert ranking.sentence.endswith("c00 is chosen. Beware: its training failed on 1 of 3 folds.")


@pytest.mark.slow
@pytest.mark.parametrize("base", [0.6, 0.97, 0.995])
def test_verdicts_agree_with_the_intervals_as_printed(base):
    rng, printed = RNG(4), []
    for _ in range(200):
        p = np.clip(base + rng.normal(0, 0.01, (6, 1)) + rng.normal(0, 0.004, 4), 0, 1)
        ranking = rank(table_of(rng.binomial(300, p) / 300), {f"c{i:02}": 1.0 for i in range(6)}, bounded=True)
        for name, difference in ranking.differences.items():
            assert -1 <= difference.low <= difference.mean <= difference.high <= 1
            for shown in (number(difference.low), cell(difference.low)):
                assert (float(shown) > 0) == (
                    ranking.standing(name, has_values=True) == "beaten"
                ) or name == ranking.chosen
            printed.append(difference.separable)
        for estimate in ranking.summaries.values():
            assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1
    assert 0 < np.mean(printed) < 1 or base == 0.995


@pytest.mark.parametrize(
    ("value", "text"), [(0.71249, "0.712"), (-0.5, "-0.500"), (0.00041, "0.00041"), (-0.0, "0.000"), (1e-13, "0.000")]
)
def test_numbers_have_three_decimals_or_two_digits(value, text):
    assert number(value) == text
