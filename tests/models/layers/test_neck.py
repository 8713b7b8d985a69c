"""Layers of necks, compared with NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.models.layers.neck import EPSILON, WEIGHTED, NearestUpsampling, StopGradient, WeightedFusion

MAPS = [np.random.default_rng(seed).normal(size=(2, 3, 4, 5)).astype("float32") for seed in range(3)]


def factors(method: str, weights: np.ndarray) -> np.ndarray:
    if method == "unbounded":
        return weights
    if method == "softmax":
        return np.exp(weights) / np.exp(weights).sum(axis=0)
    positive = np.maximum(weights, 0)
    return positive / (positive.sum(axis=0) + EPSILON)


@pytest.mark.parametrize(("weights_per", "shape"), [("input", ()), ("channel", (5,)), ("pixel", (3, 4, 5))])
@pytest.mark.parametrize("method", WEIGHTED)
def test_equals_numpy(method: str, weights_per: str, shape: tuple[int, ...]) -> None:
    layer = WeightedFusion(method, weights_per)
    layer.build([(None, 3, 4, 5)] * 3)
    assert layer.fusion_weights.shape == (3, *shape)
    np.testing.assert_array_equal(layer.fusion_weights, 1)
    weights = np.random.default_rng(3).normal(size=layer.fusion_weights.shape).astype("float32")
    layer.fusion_weights.assign(weights)
    expected = factors(method, weights)
    np.testing.assert_allclose(layer.factors(), expected, rtol=1e-6)
    fused = sum(feature_map * factor for feature_map, factor in zip(MAPS, expected, strict=True))
    np.testing.assert_allclose(layer(MAPS), fused, rtol=1e-5, atol=1e-6)


def test_a_negative_weight_of_fast_fusion_removes_its_map() -> None:
    layer = WeightedFusion("fast")
    layer.build([(None, 3, 4, 5)] * 3)
    layer.fusion_weights.assign([1.0, -2.0, 3.0])
    np.testing.assert_allclose(layer.factors(), [0.25, 0, 0.75], rtol=1e-4)


@pytest.mark.parametrize("method", WEIGHTED)
def test_weights_and_maps_have_gradients(method: str) -> None:
    layer = WeightedFusion(method)
    maps = [tf.constant(feature_map) for feature_map in MAPS]
    with tf.GradientTape() as tape:
        tape.watch(maps)
        loss = tf.reduce_sum(layer(maps) ** 2)
    gradients = tape.gradient(loss, [layer.fusion_weights.value, *maps])
    assert all(np.any(np.asarray(gradient) != 0) for gradient in gradients)


def test_weights_are_normalized_in_float32_under_half_precision() -> None:
    layer = WeightedFusion("fast", dtype="mixed_float16")
    assert layer(MAPS).dtype == tf.float16
    assert layer.factors().dtype == tf.float32


def test_an_unknown_method_is_an_error() -> None:
    with pytest.raises(UserError, match="fusion 'mean': must be one of unbounded, softmax, fast"):
        WeightedFusion("mean")


def test_config_round_trip() -> None:
    layer = keras.layers.deserialize(keras.layers.serialize(WeightedFusion("softmax", "channel", name="fusion")))
    assert (layer.method, layer.weights_per, layer.name) == ("softmax", "channel", "fusion")


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


def test_config_of_upsampling_round_trip() -> None:
    layer = keras.layers.deserialize(keras.layers.serialize(NearestUpsampling(4, (7, 8))))
    assert (layer.factor, layer.size) == (4, (7, 8))


def test_the_gradient_stops_in_training_alone() -> None:
    x, layer = tf.constant(MAPS[0]), StopGradient()
    for training in (True, False, None):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
        np.testing.assert_array_equal(y, x)
        assert (tape.gradient(y, x) is None) == bool(training)
