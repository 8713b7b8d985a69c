"""SiLU computes what Keras' computes, with its gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.models.layers.activation import Activation

TOLERANCES = {"float32": 1e-5, "mixed_bfloat16": 4e-2, "mixed_float16": 4e-3}


def passes(layer: keras.layers.Layer, inputs: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Returns the outputs, and the gradient of sum(outputs * weights)."""
    values = tf.constant(inputs, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs = layer(values, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
    return [np.asarray(tf.cast(each, tf.float32)) for each in (outputs, tape.gradient(loss, values))]


@pytest.mark.parametrize("policy", list(TOLERANCES))
@pytest.mark.parametrize("name", ["silu", "relu6", "hard_silu"])
def test_outputs_and_gradients_equal_those_of_keras(name: str, policy: str) -> None:
    rng = np.random.default_rng(0)
    inputs = np.concatenate([rng.normal(0, 3, (4, 60)), np.tile([0, -20, 20, -1000, 1000, 1e-6], (4, 1))], axis=1)
    weights = rng.normal(size=inputs.shape).astype(np.float32)
    found, expected = (
        passes(kind(name, dtype=policy), inputs, weights) for kind in (Activation, keras.layers.Activation)
    )
    tolerance = TOLERANCES[policy]
    for own, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, right, rtol=tolerance, atol=tolerance)


def test_the_gradient_is_that_of_differences() -> None:
    x = tf.constant(np.linspace(-8, 8, 33), tf.float64)
    layer = Activation("silu", dtype="float64")
    theoretical, numerical = tf.test.compute_gradient(lambda values: layer(values, training=True), [x])
    np.testing.assert_allclose(theoretical[0], numerical[0], atol=1e-6)


def test_it_is_saved_with_its_name(tmp_path) -> None:
    images = keras.Input((4,))
    keras.Model(images, Activation("silu", name="act")(images)).save(tmp_path / "model.keras")
    layer = keras.models.load_model(tmp_path / "model.keras").get_layer("act")
    assert isinstance(layer, Activation)
    assert layer.activation is keras.activations.silu
