"""Ridge regression against scikit-learn's and the normal equations."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tfeff.rcnn import ridge as module
from tfeff.rcnn.ridge import ridges


@pytest.mark.parametrize("count", [8, 40, 300])
@pytest.mark.parametrize("penalty", [1e-2, 1.0, 1000.0])
def test_the_solution_is_scikit_learns(count: int, penalty: float) -> None:
    rng = np.random.default_rng(count)
    x = rng.normal(3.0, 2.0, (count, 40))
    y = x @ rng.normal(size=(40, 4)) + rng.normal(size=(count, 4)) + 5.0
    ((weights, biases),) = ridges(x, np.arange(count), y, [penalty])
    theirs = Ridge(alpha=penalty).fit(x, y)
    np.testing.assert_allclose(weights, theirs.coef_.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(biases, theirs.intercept_, rtol=1e-6, atol=1e-8)


def test_the_gradient_vanishes_at_the_solution() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 7)), rng.normal(size=(50, 2))
    _, (weights, biases) = ridges(x, np.arange(50), y, [1.0, 3.0])
    off = x @ weights + biases - y
    np.testing.assert_allclose(x.T @ off + 3.0 * weights, 0, atol=1e-10)
    np.testing.assert_allclose(off.sum(axis=0), 0, atol=1e-10)


@pytest.mark.parametrize("size", [5, 200])
def test_some_rows_of_many_in_parts_far_from_the_origin(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(1e4, 1.0, (150, size)), rng.normal(-1e4, 1.0, (90, 2))
    rows = np.sort(rng.permutation(150)[:90])
    theirs = Ridge(alpha=2.0).fit(x[rows] - 1e4, y)
    monkeypatch.setattr(module, "CHUNK", 37)
    ((weights, biases),) = ridges(x, rows, y, [2.0])
    np.testing.assert_allclose(weights, theirs.coef_.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(x[rows] @ weights + biases, theirs.predict(x[rows] - 1e4), rtol=1e-8)
