"""Features of regions against the backbone's own maps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff import models
from tfeff.errors import UserError
from tfeff.models.heads.classifier import POOL
from tfeff.rcnn.feature_extractor import FeatureExtractor


@pytest.fixture(scope="module")
def network() -> models.Network:
    """Its classifier has a convolution after the last map of the pyramid."""
    return models.build("efficientnet-lite0", resolution=64, width_coefficient=0.2, depth_coefficient=0.2)


@pytest.fixture(scope="module")
def pixels() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)), tf.float32)


def test_without_a_grid_features_are_the_input_of_the_classifier(network: models.Network, pixels: tf.Tensor) -> None:
    pooled = keras.Model(network.inputs, network.get_layer(POOL).output)(pixels, training=False)
    extractor = FeatureExtractor(network, grid=None)
    assert extractor.size == pooled.shape[1]
    np.testing.assert_allclose(extractor.features(pixels), pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize("grid", [1, 2])
def test_a_grid_averages_cells_of_the_last_map(network: models.Network, pixels: tf.Tensor, grid: int) -> None:
    (*_, last) = network.pyramid.values()
    feature_map = keras.Model(network.inputs, last)(pixels, training=False).numpy()
    assert feature_map.shape[1:3] == (2, 2)
    side = 2 // grid
    cells = feature_map.reshape(3, grid, side, grid, side, -1).mean(axis=(2, 4))
    extractor = FeatureExtractor(network, grid=grid)
    assert extractor.size == cells[0].size
    np.testing.assert_allclose(extractor.features(pixels), cells.reshape(3, -1), rtol=0, atol=1e-5)


def test_a_grid_finer_than_the_map_is_an_error(network: models.Network) -> None:
    with pytest.raises(UserError, match=r"3 x 3 cells are more than .* \(2 x 2\)"):
        FeatureExtractor(network, grid=3)
