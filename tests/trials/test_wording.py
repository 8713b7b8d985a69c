import pytest

from tfeff.trials.intervals import Summary
from tfeff.trials.wording import number, ranking_sentence

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
