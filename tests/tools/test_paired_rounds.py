"""Quartiles of rounds, and how many rounds they need."""

import pytest


@pytest.fixture
def rounds(import_tool):
    """The module."""
    return import_tool("paired_rounds")


def test_quartiles_are_inside_the_data(rounds):
    assert rounds.quartiles([3.0, 1.0, 5.0, 2.0, 4.0]) == (2.0, 3.0, 4.0)
    assert rounds.quartiles([1.2, 1.0]) == pytest.approx((1.05, 1.1, 1.15))
    assert rounds.quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_a_row_has_the_ratio_of_each_pair_of_rounds(rounds):
    row = rounds.row("case", [1.0, 2.0], [1.0, 2.4], images=6)
    assert row["ratio"] == pytest.approx(1.1)
    assert row["quartiles"] == "1.050 to 1.150"
    assert (row["ours, images/s"], row["theirs, images/s"]) == pytest.approx((4.0, 6 / 1.7))


@pytest.mark.parametrize(
    "flags",
    [
        ("input", "--rounds=1"),
        ("models", "--rounds=1"),
        ("predict", "--rounds=1", "--model=none", "--images=none"),
        ("growth", "records", "--rounds=1"),
        ("estimate", "--specs=1"),
    ],
    ids=lambda flags: flags[0],
)
def test_too_few_measurements_for_quartiles_are_refused_beforehand(run_tool, flags):
    code, said = run_tool("benchmark", *flags)
    assert code == 2
    assert "1: must be at least 2" in said
