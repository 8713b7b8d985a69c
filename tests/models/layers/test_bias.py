"""Gradients of biases in bfloat16, compared with sums in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.models.layers.bias import Dense
from tfeff.models.layers.convolution import DepthwiseConvolution, GroupedConvolution

LAYERS = {
    "dense": lambda **settings: Dense(8, **settings),
    "depthwise": lambda **settings: DepthwiseConvolution(3, padding="same", **settings),
    "grouped": lambda **settings: GroupedConvolution(filters=8, kernel_size=3, groups=2, padding="same", **settings),
    # Keras' layer, which the backend builds for convolutions without groups.
    "convolution": lambda **settings: keras.layers.Conv2D(filters=8, kernel_size=3, padding="same", **settings),
}


@pytest.mark.parametrize("activation", [None, "tanh"])
@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_of_biases_are_summed_in_float32(kind: str, activation: str | None) -> None:
    rng = np.random.default_rng(0)
    layer = LAYERS[kind](activation=activation, dtype="mixed_bfloat16")
    images = tf.constant(rng.normal(size=(8, 16, 16, 8)), tf.bfloat16)
    upstream = tf.constant(rng.uniform(0, 1, size=(8, 16, 16, 8)), tf.bfloat16)
    layer.build(images.shape)

    @tf.function(autograph=False)
    def passes(images: tf.Tensor, upstream: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            outputs = layer(images, training=True)
        variables = [variable.value for variable in layer.trainable_variables]
        return outputs, tape.gradient(outputs, variables, upstream)

    outputs, (_, found) = passes(images, upstream)
    slopes = 1 if activation is None else 1 - tf.cast(outputs, tf.float32) ** 2
    expected = tf.reduce_sum(tf.cast(upstream, tf.float32) * slopes, (0, 1, 2))
    np.testing.assert_allclose(found, expected, rtol=0.01)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), tf.cast(layer(images), tf.float32), rtol=0.01, atol=0.02)
