import numpy as np
import pytest

from tfeff.trials.growth import PRIOR_EXPONENTS
from tfeff.trials.surface import best_directions


@pytest.fixture
def tool(import_tool):
    return import_tool("check_coverage")


def test_values_have_the_true_means(tool):
    world = tool.World(3, 20_000, 0.97, 50, 0.02, lowest=0.6, fold=0.4, both=0.3)
    assert world.means == pytest.approx([0.97, 0.95, 0.6])
    values = world.draw(np.random.default_rng(0), world.means)
    assert values.mean(1) == pytest.approx(world.means, abs=0.005)
    assert np.corrcoef(values)[0, 1] > 0.05  # they share the effect of the fold


def test_an_unstable_candidate_varies_more(tool):
    world = tool.World(3, 5_000, 0.9, 500, 0.02, fold=0.1, both=0.05, unstable=1.0)
    values = world.draw(np.random.default_rng(0), world.means)
    assert values.mean(1) == pytest.approx(world.means, abs=0.01)
    assert values[2].std() > 3 * values[1].std()


def test_a_row_has_shares_in_percent(tool):
    row = tool.intervals(tool.World(4, 3, 0.9, 200, 0.05), 40, np.random.default_rng(0))
    assert row["accuracy"] == "0.9"
    assert all(85 <= float(row[key]) <= 100 for key in ("means", "a difference", "all from the best"))
    assert float(row["wrongly within the margin"]) <= 15
    alone = tool.intervals(tool.World(1, 3, 0.9, 200, 0.0), 5, np.random.default_rng(0))
    assert alone["a difference"] is None


def test_surfaces_are_highest_at_their_places(tool):
    center = np.array([0.15, 0.05, 0.8])
    for peak, slopes in tool.PLACES.values():
        found = tool.coefficients(np.array(peak), np.array(slopes), center)
        assert best_directions(found[None, :5], center)[0] == pytest.approx(peak, abs=1e-6)


@pytest.mark.slow
def test_regions_contain_the_best_direction(tool, monkeypatch):
    monkeypatch.setattr(tool, "PLACES", {"inside": tool.PLACES["inside"]})
    rows = list(tool.regions(10, 0))
    assert [row["prior"] for row in rows] == ["right", "wrong"]
    assert all(float(row["3 folds"]) >= 60 for row in rows)


def test_chances(tool):
    rows = list(tool.chances(2, 0))
    assert {row["true means"] for row in rows} == {
        "normal", "crowded at the top", "crowded at the bottom", "equal",
    }  # fmt: skip
    assert all(0 <= float(row["best among these"]) <= 100 for row in rows)


def test_intervals_of_gains(tool):
    rows = list(tool.forecasts(12, 0))
    assert len(rows) == 18
    for variable in ("images", "macs", "epochs"):
        found = [row for row in rows if row["of"] == variable]
        shares = [float(each) for row in found for name, each in row.items() if name[0].isdigit()]
        assert len(shares) == 18
        assert np.mean(shares) > 85


@pytest.mark.parametrize("variable", ["images", "macs", "epochs"])
def test_trainings_differ_in_the_variable_alone(tool, variable):
    """Hardly any chance is left in so many folds and images."""
    values, odds = tool.GROWTHS[variable][0], np.full(60, -1.0)
    found, measured = tool._fitted(np.random.default_rng(0), odds, variable, values, -0.3, 0.0, 10**7)
    assert measured == pytest.approx(1 / (1 + np.exp(-1)), abs=0.001)
    exponents = found.exponents
    assert exponents[variable][0] == pytest.approx(-0.3, abs=0.1)
    assert all(
        mean == pytest.approx(PRIOR_EXPONENTS[name][0]) for name, (mean, _) in exponents.items() if name != variable
    )
