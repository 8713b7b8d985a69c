"""Ridge regression against scikit-learn's and the normal equations."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tfeff.detection.ridge import Products


@pytest.mark.parametrize("count", [8, 40, 300])
@pytest.mark.parametrize("penalty", [1e-2, 1.0, 1000.0])
def test_the_solution_is_scikit_learns(count: int, penalty: float) -> None:
    rng = np.random.default_rng(count)
    x = rng.normal(3.0, 2.0, (count, 40))
    y = x @ rng.normal(size=(40, 4)) + rng.normal(size=(count, 4)) + 5.0
    weights, biases = Products.of(x, y).ridge(penalty)
    theirs = Ridge(alpha=penalty).fit(x, y)
    np.testing.assert_allclose(weights, theirs.coef_.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(biases, theirs.intercept_, rtol=1e-6, atol=1e-8)


def test_the_gradient_vanishes_at_the_solution() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 7)), rng.normal(size=(50, 2))
    weights, biases = Products.of(x, y).ridge(3.0)
    off = x @ weights + biases - y
    np.testing.assert_allclose(x.T @ off + 3.0 * weights, 0, atol=1e-10)
    np.testing.assert_allclose(off.sum(axis=0), 0, atol=1e-10)


def test_the_products_of_parts_add_up_to_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(1e4, 1.0, (90, 5)), rng.normal(-1e4, 1.0, (90, 2))
    whole = Products.of(x, y)
    parts = Products.of(x[:1], y[:1]) + Products.of(x[1:60], y[1:60]) + Products.of(x[60:], y[60:])
    for one, other in zip(whole.ridge(2.0), parts.ridge(2.0), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)
