"""The table that compares sweeps."""

import pytest

from tfeff.errors import UserError
from tools.compare_sweeps import compare, require_same


def result(epochs: int, *rows: tuple[str, list[float]]) -> dict:
    candidates = [
        {
            "name": name,
            "label": name.upper(),
            "mean": sum(values) / len(values),
            "values": values,
            "folds": list(range(3))[-len(values) :],
        }
        for name, values in rows
    ]
    return {"objective": "accuracy", "epochs": epochs, "best": rows[0][0], "candidates": candidates}


def test_the_best_of_each_sweep_is_compared_over_the_folds() -> None:
    grid = result(400, ("a", [0.9, 0.8, 0.95]), ("b", [0.5, 0.5, 0.5]))
    halving = result(100, ("b", [0.88, 0.79, 0.92]))
    first, second = compare({"grid": grid, "halving": halving})
    assert (first["minus the reference"], first["of the reference"]) == (0.0, "100 %")
    assert (second["best"], second["candidates"], second["of the reference"]) == ("B", 1, "25 %")
    assert second["minus the reference"] == pytest.approx(-0.02)
    half = 4.302653 * 0.01 / 3**0.5  # Student's t, 2 degrees of freedom; differences -.02, -.01, -.03
    assert (second["95 % from"], second["to"]) == (pytest.approx(-0.02 - half), pytest.approx(-0.02 + half))


def test_failed_folds_are_left_out_of_the_pairs() -> None:
    grid, other = result(400, ("a", [0.5, 0.8, 0.9])), result(400, ("a", [0.8, 0.9]))
    _, second = compare({"grid": grid, "other": other})
    assert second["minus the reference"] == 0.0


@pytest.mark.parametrize(
    ("key", "value"), [("objective", "validation loss"), ("source", "folder:b"), ("seed", 1), ("folds", {"count": 5})]
)
def test_sweeps_on_other_folds_are_refused(key: str, value: object) -> None:
    same = {"objective": "accuracy", "source": "folder:a", "seed": 0, "folds": {"count": 4}}
    require_same({"grid": same, "random": dict(same)})
    with pytest.raises(UserError, match=f"grid and random cannot be compared: {key}"):
        require_same({"grid": same, "random": same | {key: value}})
