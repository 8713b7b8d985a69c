"""Convolutions in groups, compared with one convolution for each group."""

import numpy as np
import pytest
import tensorflow as tf

from tfeff.models.layers.convolution import GroupedConvolution


@pytest.mark.parametrize(
    "settings", [{}, {"strides": 2, "padding": "valid"}, {"use_bias": False, "activation": "relu"}]
)
def test_outputs_and_gradients_are_those_of_separate_convolutions(settings: dict) -> None:
    rng = np.random.default_rng(0)
    layer = GroupedConvolution(filters=6, kernel_size=3, groups=3, **{"padding": "same", **settings})
    images = tf.constant(rng.normal(size=(2, 9, 7, 12)), tf.float32)
    layer.build(images.shape)
    weights = [tf.Variable(each) for each in layer.trainable_variables]
    assert weights[0].shape == (3, 3, 4, 6)

    def separate(x: tf.Tensor) -> tf.Tensor:
        parts = zip(tf.split(x, 3, axis=-1), tf.split(weights[0], 3, axis=-1), strict=True)
        y = [tf.nn.conv2d(each, kernel, layer.strides, layer.padding.upper()) for each, kernel in parts]
        y = tf.concat(y, axis=-1) + (weights[1] if layer.use_bias else 0.0)
        return layer.activation(y)

    gradients = []
    for function, variables in ((layer, [v.value for v in layer.trainable_variables]), (separate, weights)):
        with tf.GradientTape() as tape:
            tape.watch(images)
            result = function(images)
            loss = tf.reduce_sum(result**2)
        gradients.append((result, tape.gradient(loss, [images, *variables])))
    np.testing.assert_allclose(gradients[0][0], gradients[1][0], rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_half_and_double_precision() -> None:
    for dtype in ("mixed_bfloat16", "float64"):
        layer = GroupedConvolution(filters=6, kernel_size=3, groups=3, dtype=dtype)
        images = tf.ones((2, 9, 7, 12))
        with tf.GradientTape() as tape:
            output = layer(images)
            loss = tf.reduce_sum(output)
        assert output.dtype == layer.compute_dtype
        assert all(gradient is not None for gradient in tape.gradient(loss, layer.trainable_weights))
