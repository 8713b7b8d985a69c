import numpy as np
import pytest

from tests.verbs import ROOT
from tfeff.trials.surface import DIRECTION, lattice, plane, terms

CENTER = np.array([0.3, 0.3, 0.4])


@pytest.fixture
def tool(import_tool):
    return import_tool("compare_designs")


def test_a_surface_with_constant_slopes_is_continued_to_the_largest_cost(tool):
    rng, trainings = np.random.default_rng(0), []
    slopes, curvature = np.array([0.3, -0.1]), np.array([0.1, 0.2])

    def value(shares, phi):
        logarithms = phi * plane(shares, CENTER)[0]
        return float(slopes @ logarithms - curvature @ logarithms**2)

    for index in range(60):
        shares = tuple(rng.dirichlet((1, 1, 1)).tolist())
        trainings += [tool.Training(shares, 1.0, fold, value(shares, 1.0) + 0.1 * fold) for fold in range(index % 3, 3)]
    coefficients, noise, misfit = tool.fitted(trainings, CENTER)
    assert (noise, misfit) == pytest.approx((0.0, 0.0), abs=1e-8)
    directions = lattice(4)[0]
    predicted = terms(directions, np.full(len(directions), 3.0), CENTER, 3.0)[:, :DIRECTION] @ coefficients[:DIRECTION]
    expected = np.array([value(shares, 3.0) for shares in directions])
    np.testing.assert_allclose(predicted - predicted.mean(), expected - expected.mean(), atol=1e-8)
    first = tool.at_first(coefficients, CENTER)
    predicted = terms(directions, np.ones(len(directions)), CENTER, 1.0)[:, :DIRECTION] @ first[:DIRECTION]
    expected = np.array([value(shares, 1.0) for shares in directions])
    np.testing.assert_allclose(predicted - predicted.mean(), expected - expected.mean(), atol=1e-6)


def test_the_design_has_the_smaller_region(tool):
    row = tool.compare(ROOT / "docs" / "results" / "cifar10_search_upsampled.json", 10)
    assert row["trainings, even"] == 84
    assert row["design, median"] < 50
    even, design = (float(row[f"mean region, {name}"].removesuffix(" %")) for name in ("even", "design"))
    assert design < 0.8 * even
