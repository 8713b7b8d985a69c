"""Nearest-neighbor upsampling, compared with indexing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.models.layers.nearest_upsampling import NearestUpsampling


@pytest.mark.parametrize(
    ("side", "factor", "size"), [(4, 2, (8, 8)), (17, 2, (33, 34)), (3, 4, (9, 12)), (1, 16, (5, 1))]
)
def test_each_pixel_is_repeated(side: int, factor: int, size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype("float32")
    layer = NearestUpsampling(factor, size)
    rows, columns = (np.arange(length) // factor for length in size)
    np.testing.assert_array_equal(layer(x), x[:, rows][:, :, columns])
    assert layer.compute_output_shape((None, side, side, 3)) == (None, *size, 3)


def test_the_gradient_counts_the_copies() -> None:
    x = tf.zeros((1, 2, 2, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(NearestUpsampling(2, (3, 4))(x))
    np.testing.assert_array_equal(tape.gradient(total, x)[0, :, :, 0], [[4, 4], [2, 2]])


def test_config_round_trip() -> None:
    layer = keras.layers.deserialize(keras.layers.serialize(NearestUpsampling(4, (7, 8))))
    assert (layer.factor, layer.size) == (4, (7, 8))
