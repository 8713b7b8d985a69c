import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from tfeff.evaluation import principal_components


def test_agrees_with_scikit_learn():
    vectors = load_digits().data[:300]
    result = principal_components(vectors, 3)
    reference = PCA(3, svd_solver="full").fit(vectors)
    np.testing.assert_allclose(np.abs(result.coordinates), np.abs(reference.transform(vectors)), atol=1e-8)
    np.testing.assert_allclose(result.explained, reference.explained_variance_ratio_)


@pytest.mark.parametrize("vectors", [np.ones((4, 3)), np.ones((1, 5)), np.arange(6.0).reshape(6, 1)])
def test_fewer_directions_than_components(vectors):
    result = principal_components(vectors, 2)
    assert result.coordinates.shape == (len(vectors), 2)
    assert np.isfinite(result.coordinates).all()
    assert result.explained[1] == 0
    assert not result.coordinates[:, 1].any()
