"""The quadratic surface: exact recovery, where it is highest, and its region."""

import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.trials.surface import (
    Data,
    Surface,
    Training,
    best_directions,
    fit_surface,
    from_surface_scale,
    lattice,
    plane,
    to_surface_scale,
)

CENTER = np.array([0.3, 0.3, 0.4])
TOP = 3.0
PEAK = np.array([0.5, 0.2, 0.3])


def logarithms(shares: np.ndarray, phi: float) -> np.ndarray:
    return phi * shares


def truth(shares: np.ndarray, phi: float) -> float:
    """Returns a quadratic in the logarithms of the dimensions that is highest at PEAK, of all directions at φ = 3."""
    a, b, c = logarithms(shares, phi)
    x, y, z = logarithms(PEAK, TOP)
    return 2.0 + 0.4 * (a + b + c) - 0.03 * (a + b + c) ** 2 - 0.1 * ((a - x) ** 2 + (b - y) ** 2 + 2 * (c - z) ** 2)


def trainings(count: int, noise: float = 0.0, phis: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0)) -> list[Training]:
    rng = np.random.default_rng(0)
    effects = (-0.3, 0.1, 0.7)
    found = []
    for index in range(count):
        shares, phi, fold = rng.dirichlet((1, 1, 1)), phis[index % len(phis)], index % 3
        value = truth(shares, phi) + effects[fold] + noise * rng.normal()
        found.append(Training(tuple(shares), phi, fold, float(value)))
    return found


def fitted(found: list[Training]) -> Surface:
    return fit_surface(Data.of(found, CENTER, TOP, folds=3))


def test_a_quadratic_in_the_logarithms_is_recovered() -> None:
    surface = fitted(trainings(80))
    np.testing.assert_allclose(surface.highest, PEAK, atol=2e-3)
    # The wide prior of what does not concern the direction leaves a little of it.
    difference, _ = surface.difference(PEAK, [1.0, 0.0, 0.0])
    assert difference == pytest.approx(truth(PEAK, TOP) - truth(np.array([1.0, 0.0, 0.0]), TOP), rel=5e-3)
    assert surface.value(PEAK) == pytest.approx(truth(PEAK, TOP) + np.mean((-0.3, 0.1, 0.7)), rel=5e-3)
    assert surface.contains(surface.highest)
    assert not surface.contains([0.2, 0.5, 0.3])


def test_trainings_of_one_cost_suffice() -> None:
    surface = fitted(trainings(30, phis=(3.0,)))
    np.testing.assert_allclose(surface.highest, PEAK, atol=1e-6)
    assert surface.degrees == pytest.approx(30 - 5 - 3)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_directions_are_the_highest_points_of_a_fine_lattice(seed: int) -> None:
    coefficients = np.random.default_rng(seed).normal(size=(1, 5)) * [0.3, 0.3, 1, 1, 1]
    fine = lattice(400)[0]
    x, y = plane(fine, CENTER).T
    g, h, a, b, c = coefficients[0]
    values = g * x + h * y + a * x * x / 2 + b * x * y + c * y * y / 2
    found = best_directions(coefficients, CENTER)
    assert found.sum() == pytest.approx(1.0)
    assert found.min() >= 0
    u, v = plane(found, CENTER)[0]
    highest = g * u + h * v + a * u * u / 2 + b * u * v + c * v * v / 2
    assert values.max() - 1e-12 <= highest <= values.max() + 1e-4


def test_areas_of_the_lattice_are_those_of_the_triangle() -> None:
    shares, areas = lattice(40)
    assert areas.sum() == pytest.approx(1.0)
    assert areas @ shares[:, 0] == pytest.approx(1 / 3)
    # Where depth is at least one half, the triangle has a quarter of its area; half of the border row belongs to it.
    half = np.isclose(shares[:, 0], 0.5)
    assert areas[shares[:, 0] > 0.501].sum() + areas[half].sum() / 2 == pytest.approx(0.25, abs=2e-3)


@pytest.mark.parametrize(
    ("curvature", "name"), [((1.0, 1.0), "minimum"), ((1.0, -1.0), "saddle")], ids=["minimum", "saddle"]
)
def test_a_stationary_point_that_is_not_the_highest_is_excluded(curvature: tuple[float, float], name: str) -> None:
    rng = np.random.default_rng(0)
    found = []
    for index in range(40):
        shares = rng.dirichlet((1, 1, 1))
        x, y = plane(shares, CENTER)[0]
        value = curvature[0] * x * x + curvature[1] * y * y + 0.01 * rng.normal()
        found.append(Training(tuple(shares), TOP, index % 3, float(value)))
    surface = fitted(found)
    assert not surface.contains(CENTER), name
    assert surface.contains(surface.highest)


def test_more_noise_gives_a_larger_region_and_detects_less() -> None:
    precise, noisy = (fitted(trainings(40, noise, (3.0,))) for noise in (0.01, 0.1))
    assert 0.0 < precise.extent < noisy.extent < 1.0
    assert noisy.deviation == pytest.approx(0.1, rel=0.35)
    ratio = noisy.detectable(PEAK, [0, 0, 1]) / precise.detectable(PEAK, [0, 0, 1])
    assert ratio == pytest.approx(noisy.deviation / precise.deviation)


def test_too_few_trainings_determine_no_surface() -> None:
    with pytest.raises(UserError, match="7 trainings do not determine the surface"):
        fitted(trainings(7, phis=(3.0,)))
    with pytest.raises(UserError, match="8 trainings do not determine how much"):
        fitted(trainings(8, phis=(3.0,)))
    assert fitted(trainings(9, 0.1, (3.0,))).degrees == pytest.approx(1.0)


def test_a_fold_without_trainings_does_not_count() -> None:
    found = [each for each in trainings(30, 0.1, (3.0,)) if each.fold != 1]
    assert fitted(found).degrees == pytest.approx(20 - 5 - 2)


def test_accuracies_become_log_odds_that_stay_finite() -> None:
    assert to_surface_scale(0.75, bounded=True, count=10**9) == pytest.approx(np.log(3))
    assert to_surface_scale(1.0, bounded=True, count=99) == pytest.approx(np.log(99.5 / 0.5))
    assert from_surface_scale(to_surface_scale(0.3, bounded=True, count=10**9), bounded=True) == pytest.approx(0.3)
    assert to_surface_scale(-7.0, bounded=False, count=3) == from_surface_scale(-7.0, bounded=False) == -7.0
