"""Ridge regression against scikit-learn and the normal equations."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tfeff.rcnn import ridge as module
from tfeff.rcnn.ridge import ridge_regression


@pytest.mark.parametrize("count", [8, 40, 300])
@pytest.mark.parametrize("penalty", [1e-2, 1.0, 1000.0])
def test_the_solution_matches_scikit_learn(count: int, penalty: float) -> None:
    rng = np.random.default_rng(count)
    x = rng.normal(3.0, 2.0, (count, 40))
    y = x @ rng.normal(size=(40, 4)) + rng.normal(size=(count, 4)) + 5.0
    weights, biases = ridge_regression(x, np.arange(count), y, penalty)
    reference = Ridge(alpha=penalty).fit(x, y)
    np.testing.assert_allclose(weights, reference.coef_.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(biases, reference.intercept_, rtol=1e-6, atol=1e-8)


def test_the_gradient_vanishes_at_the_solution() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 7)), rng.normal(size=(50, 2))
    weights, biases = ridge_regression(x, np.arange(50), y, 3.0)
    residuals = x @ weights + biases - y
    np.testing.assert_allclose(x.T @ residuals + 3.0 * weights, 0, atol=1e-10)
    np.testing.assert_allclose(residuals.sum(axis=0), 0, atol=1e-10)


@pytest.mark.parametrize("size", [5, 200])
def test_chunked_rows_with_a_large_mean(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(1e4, 1.0, (150, size)), rng.normal(-1e4, 1.0, (90, 2))
    rows = np.sort(rng.permutation(150)[:90])
    reference = Ridge(alpha=2.0).fit(x[rows] - 1e4, y)
    monkeypatch.setattr(module, "CHUNK", 37)
    weights, biases = ridge_regression(x, rows, y, 2.0)
    np.testing.assert_allclose(weights, reference.coef_.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(x[rows] @ weights + biases, reference.predict(x[rows] - 1e4), rtol=1e-8)
