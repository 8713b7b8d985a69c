import numpy as np
import pytest
from scipy import stats

from tests.trials.tables import random_values, table_of
from tfeff.errors import UserError
from tfeff.trials.intervals import Summary, number
from tfeff.trials.ranking import rank, ranking_sentence

RNG = np.random.default_rng


def ranked(means, costs, noise=0.001, folds=3, **keywords):
    values = np.array(means)[:, None] + np.linspace(0.0, 0.04, folds)
    values = values + noise * RNG(1).normal(size=values.shape)
    return rank(table_of(values), {f"c{i:02}": float(cost) for i, cost in enumerate(costs)}, **keywords)


def test_candidates_that_are_not_separable_from_the_best_are_tied():
    ranking = ranked([0.70, 0.7002, 0.7001, 0.65, 0.60], [5, 9, 7, 1, 2], noise=0.002)
    assert {ranking.best, *ranking.tied} == {"c00", "c01", "c02"}
    assert ranking.chosen == "c00"
    assert ranking.order[3:] == ("c03", "c04")
    assert not ranking.differences[ranking.tied[0]].separable
    assert ranking.differences["c03"].separable


def test_equal_costs_choose_the_best():
    ranking = ranked([0.700, 0.7001], [1, 1], noise=0.01)
    assert ranking.tied
    assert ranking.chosen == ranking.best


def test_the_cheapest_of_the_tied_candidates_is_chosen():
    values = np.array([[0.70, 0.72, 0.75], [0.70, 0.73, 0.73], [0.69, 0.72, 0.74], [0.50, 0.52, 0.54]])
    ranking = rank(table_of(values), {"c00": 3.0, "c01": 2.0, "c02": 1.0, "c03": 0.5}, eliminated=2)
    assert (ranking.best, ranking.tied, ranking.chosen) == ("c00", ("c01", "c02"), "c02")
    low, high = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert ranking.sentence == (
        f"c00 has the highest mean accuracy, 0.723 (95 % CI {low:.3f} to {high:.3f}); not separable from 2 of the "
        "other 3 candidates (3 folds); the cheapest of these, c02, is chosen. 2 candidates were eliminated earlier."
    )


def test_one_fold_chooses_the_best_whatever_its_cost():
    ranking = ranked([0.6, 0.7, 0.5], [2, 3, 1], folds=1)
    assert (ranking.best, ranking.chosen) == ("c01", "c01")
    assert ranking.tied == ("c00", "c02")


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


ESTIMATE = Summary(3, 0.71, 0.02, 0.01, 0.67, 0.75)
LEAD = "A has the highest mean accuracy, 0.712 (95 % CI 0.670 to 0.750)"
TIE = f"{LEAD}; not separable from"


def sentence(others, tied=(), cheaper=None, estimate=ESTIMATE, **keywords):
    settings = {"rule": "cheapest", "has_intervals": True, "metric": "accuracy", "folds": "3 folds"} | keywords
    return ranking_sentence("A", estimate, 0.712, others=others, tied=tied, cheaper=cheaper, **settings)


@pytest.mark.parametrize(
    ("others", "tied", "cheaper", "expected"),
    [
        ("", "", None, "A is the only candidate: mean accuracy 0.712 (95 % CI 0.670 to 0.750) over 3 folds."),
        ("B", "", None, f"{LEAD}, significantly above the other candidate, B (3 folds); it is chosen."),
        ("BC", "", None, f"{LEAD}, significantly above the other 2 candidates (3 folds); it is chosen."),
        ("B", "B", None, f"{TIE} the other candidate, B (3 folds); it is not cheaper, so A is chosen."),
        ("B", "B", "B", f"{TIE} the other candidate, B (3 folds); that candidate is cheaper and is chosen."),
        ("BC", "C", None, f"{TIE} 1 of the other 2 candidates, C (3 folds); it is not cheaper, so A is chosen."),
        ("BC", "BC", None, f"{TIE} the other 2 candidates (3 folds); none is cheaper, so A is chosen."),
        ("BCD", "BC", "C", f"{TIE} 2 of the other 3 candidates (3 folds); the cheapest of these, C, is chosen."),
    ],
)
def test_a_ranking_in_words(others, tied, cheaper, expected):
    assert sentence(others, tied, cheaper) == expected


def test_other_rules_choose_the_best_or_nothing():
    assert sentence("BC", "BC", rule="mean") == f"{TIE} the other 2 candidates (3 folds); it is chosen."
    assert sentence("BC", "BC", rule="none") == f"{TIE} the other 2 candidates (3 folds)."
    assert sentence("B", rule="none") == f"{LEAD}, significantly above the other candidate, B (3 folds)."


def test_one_fold_gives_no_interval():
    single = Summary(1, 0.712, None, None, None, None)
    assert sentence("BC", "BC", estimate=single, has_intervals=False, folds="1 fold") == (
        "A has the highest mean accuracy, 0.712; 1 fold cannot give an interval, so it is chosen without a test."
    )


def test_eliminated_candidates_are_counted():
    assert sentence("B", eliminated=1).endswith(" 1 candidate was eliminated earlier.")
    assert sentence("B", eliminated=13).endswith(" 13 candidates were eliminated earlier.")


@pytest.mark.parametrize(
    ("value", "text"), [(0.71249, "0.712"), (-0.5, "-0.500"), (0.00041, "0.00041"), (-0.0, "0.000"), (1e-13, "0.000")]
)
def test_numbers_have_three_decimals_or_two_digits(value, text):
    assert number(value) == text
