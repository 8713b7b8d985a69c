"""The quadratic surface: exact recovery, coverage of its region in simulations, and what cannot be fitted."""

import numpy as np
import pytest

from tests.thoroughness import THOROUGH
from tfeff.errors import UserError
from tfeff.trials.results import Block
from tfeff.trials.surface import Surface, fit_surface

CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
"""Shares of depth and width in the logarithm of the cost; the rest is resolution."""
INTERIOR, CORNER, SIDE = (0.4, 0.25), (0.0, 0.0), (0.5, 0.0)


def places(count: int = 20) -> dict[str, tuple[float, float]]:
    """The corners and points spread over the triangle."""
    rng = np.random.default_rng(3)
    spread = rng.dirichlet((1, 1, 1), count - 3)[:, :2]
    return {f"c{index}": (float(x), float(y)) for index, (x, y) in enumerate([*CORNERS, *spread])}


def truth(x: float, y: float, peak: tuple[float, float], slope: tuple[float, float] = (0.0, 0.0)) -> float:
    """A concave surface that is highest at `peak`; `slope` points outward if the peak is at the border."""
    a, b = x - peak[0], y - peak[1]
    return 0.8 - 0.10 * a * a - 0.14 * b * b - 0.05 * a * b + slope[0] * a + slope[1] * b


def table(values: dict[str, float], noise: float, seed: int, folds: int = 3) -> dict[str, dict[Block, float]]:
    rng = np.random.default_rng(seed)
    hardness = rng.normal(0, 0.05, folds)
    return {
        name: {(fold, 0): value + float(hardness[fold] + rng.normal(0, noise)) for fold in range(folds)}
        for name, value in values.items()
    }


def test_a_quadratic_is_recovered_with_its_covariate() -> None:
    points = places()
    costs = {name: 0.05 * np.sin(7 * index) for index, name in enumerate(points)}
    values = {name: truth(*point, INTERIOR) + 0.3 * costs[name] for name, point in points.items()}
    surface = fit_surface(table(values, 0.0, 0), points, costs)
    assert surface.coefficients[6] == pytest.approx(0.3)
    np.testing.assert_allclose(surface.highest, INTERIOR, atol=1e-5)
    first, _ = surface.difference(INTERIOR, (0.0, 0.0))
    assert first == pytest.approx(truth(*INTERIOR, INTERIOR) - truth(0, 0, INTERIOR))
    assert surface.contains(INTERIOR)
    assert not surface.contains((0.6, 0.25))
    assert not surface.contains((0.8, 0.8))  # outside


@pytest.mark.parametrize("peak", [CORNER, SIDE])
def test_the_highest_point_can_be_at_the_border(peak: tuple[float, float]) -> None:
    points = places()
    values = {name: truth(*point, peak, (-0.05 * (peak == CORNER), -0.1)) for name, point in points.items()}
    surface = fit_surface(table(values, 0.0, 0), points)
    np.testing.assert_allclose(surface.highest, peak, atol=1e-5)
    assert surface.contains(peak)
    assert not surface.contains((0.3, 0.3))


@pytest.mark.parametrize("curvature", [(1.0, 1.0), (1.0, -1.0)], ids=["minimum", "saddle"])
def test_a_stationary_point_that_is_not_the_highest_is_excluded(curvature: tuple[float, float]) -> None:
    points = places()
    values = {
        name: 0.5 + 0.1 * (curvature[0] * (x - 0.3) ** 2 + curvature[1] * (y - 0.3) ** 2)
        for name, (x, y) in points.items()
    }
    surface = fit_surface(table(values, 0.001, 0), points)
    assert not surface.contains((0.3, 0.3))
    highest = max(((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)), key=lambda p: float(surface.values([p])[0]))
    assert surface.contains(highest)


def test_differences_of_points_chosen_by_the_data_hold() -> None:
    points = places()
    errors = 0
    for seed in range(200):
        surface = fit_surface(table(dict.fromkeys(points, 0.5), 0.01, seed), points)
        difference, half_width = surface.difference(surface.highest, (0.2, 0.2))
        errors += difference > half_width
    assert errors <= 10


def test_equal_values_have_no_highest_point() -> None:
    points = places()
    equal = {name: {(0, 0): 0.5, (1, 0): 0.5} for name in points}
    with pytest.raises(UserError, match="equal values"):
        fit_surface(equal, points)


def test_candidates_without_a_chain_of_common_folds_have_no_surface() -> None:
    points = places()
    values = {name: truth(*point, INTERIOR) for name, point in points.items()}
    full = table(values, 0.01, 0, folds=4)
    halves = {name: {(fold, 0): full[name][fold, 0] for fold in ((0, 1), (2, 3))[i % 2]} for i, name in enumerate(full)}
    with pytest.raises(UserError, match="no chain of common folds"):
        fit_surface(halves, points)
    halves["c0"] = full["c0"]  # now every pair is linked by this candidate
    assert fit_surface(halves, points).degrees == len(points) - 6


def simulated(peak: tuple[float, float], slope: tuple[float, float], count: int) -> list[Surface]:
    points = places()
    values = {name: truth(*point, peak, slope) for name, point in points.items()}
    return [fit_surface(table(values, 0.01, seed), points) for seed in range(count)]


def test_the_region_contains_an_interior_optimum_as_often_as_stated() -> None:
    count = 1000 if THOROUGH else 250
    covered = np.mean([each.contains(INTERIOR) for each in simulated(INTERIOR, (0.0, 0.0), count)])
    assert 0.95 - 3.3 * np.sqrt(0.95 * 0.05 / count) <= covered <= 0.95 + 3.3 * np.sqrt(0.95 * 0.05 / count)
    if count == 1000:
        assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize(("peak", "slope"), [(CORNER, (-0.02, -0.02)), (CORNER, (0.0, 0.0)), (SIDE, (0.0, -0.03))])
def test_the_region_contains_an_optimum_at_the_border_at_least_as_often(
    peak: tuple[float, float], slope: tuple[float, float]
) -> None:
    surfaces = simulated(peak, slope, 1000 if THOROUGH else 150)
    covered = np.mean([each.contains(peak) for each in surfaces])
    assert covered >= 0.93
    assert covered <= (0.97 if THOROUGH else 0.99) or peak == CORNER  # a clear corner is always contained
    assert not all(each.region.all() for each in surfaces[:20])  # it excludes something


def test_the_region_contains_the_highest_point() -> None:
    for surface in simulated(INTERIOR, (0.0, 0.0), 10):
        assert surface.contains(surface.highest)
        inside = surface.grid[surface.region]
        assert len(inside)
        assert np.linalg.norm(inside - surface.highest, axis=1).min() < 0.05


def test_too_few_candidates_or_a_line_are_refused() -> None:
    points = places(6)
    values = dict.fromkeys(points, 0.5)
    with pytest.raises(UserError, match="6 candidates"):
        fit_surface(table(values, 0.01, 0), points)
    line = {f"c{index}": (index / 10, 1 - index / 10) for index in range(10)}
    with pytest.raises(UserError, match="do not determine"):
        fit_surface(table(dict.fromkeys(line, 0.5), 0.01, 0), line)
