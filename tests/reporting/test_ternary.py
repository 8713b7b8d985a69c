import numpy as np
import pytest

from tfeff.reporting.figure import new
from tfeff.reporting.ternary import CORNERS, draw_triangle, positions, shares


def row(depth, width, resolution):
    return {"depth": depth, "width": width, "resolution": resolution}


def test_shares_are_fractions_of_the_logarithm_of_cost():
    # EfficientNet's coefficients: log 1.2, 2 log 1.1 and 2 log 1.15 over the logarithm of 1.2 * 1.1^2 * 1.15^2.
    cost = np.log(1.2 * 1.1**2 * 1.15**2)
    expected = [np.log(1.2) / cost, np.log(1.1**2) / cost, np.log(1.15**2) / cost]
    np.testing.assert_allclose(shares([row(1.2, 1.1, 1.15)]), [expected])
    # Another phi of the same family is the same point.
    np.testing.assert_allclose(positions([row(1.2**3, 1.1**3, 1.15**3)]), positions([row(1.2, 1.1, 1.15)]))


def test_single_dimensions_are_the_corners_and_the_baseline_is_the_center():
    rows = [row(2.0, 1.0, 1.0), row(1.0, 1.4, 1.0), row(1.0, 1.0, 1.4)]
    np.testing.assert_allclose(positions(rows), CORNERS, atol=1e-12)
    np.testing.assert_allclose(positions([row(1.0, 1.0, 1.0)]), [CORNERS.mean(axis=0)])
    assert positions([]).shape == (0, 2)


@pytest.mark.parametrize("seed", range(5))
def test_every_network_is_inside_the_triangle(seed):
    factors = np.exp(np.random.default_rng(seed).normal(0, 0.3, (50, 3)))
    found = shares([row(*factor) for factor in factors])
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_shares_on_the_edges_increase_towards_their_corners(assert_legible):
    figure = new(5, 5)
    axes = figure.add_subplot()
    draw_triangle(axes)
    assert_legible(figure)
    places = {text.get_text(): np.array(text.get_position()) for text in axes.texts}
    for corner, name in zip(CORNERS, "dwr", strict=True):
        distances = [np.linalg.norm(places[f"{name} {share} %"] - corner) for share in (75, 50, 25)]
        assert distances == sorted(distances)
