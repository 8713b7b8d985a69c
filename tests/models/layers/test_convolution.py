"""Convolutions in groups, compared with one for each group, and depthwise ones, compared with Keras' layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.models.layers.convolution import DepthwiseConvolution, GroupedConvolution


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


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("size", [(9, 12), (8, 7)])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("side", [3, 5, 7])
def test_gradients_of_depthwise_convolutions_are_those_of_keras(
    side: int, strides: int, padding: str, size: tuple[int, int], policy: str
) -> None:
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(2, *size, 16)), tf.float32 if policy == "float32" else tf.bfloat16)
    kernel, bias = rng.normal(size=(side, side, 16, 1)), rng.normal(size=16)
    found = []
    for kind in (DepthwiseConvolution, keras.layers.DepthwiseConv2D):
        layer = kind(side, strides=strides, padding=padding, dtype=policy)
        layer.build(images.shape)
        layer.set_weights([kernel, bias])

        @tf.function(autograph=False)
        def passes(images: tf.Tensor, layer: keras.Layer = layer) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                tape.watch(images)
                outputs = layer(images, training=True)
                loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
            return outputs, tape.gradient(loss, [images, *(v.value for v in layer.trainable_variables)])

        outputs, gradients = passes(images)
        assert [each.dtype for each in gradients] == [images.dtype, tf.float32, tf.float32]
        found.append([np.asarray(tf.cast(each, tf.float32)) for each in (outputs, *gradients)])
    tolerance = 1e-4 if policy == "float32" else 3e-2
    for own, expected in zip(*found, strict=True):
        np.testing.assert_allclose(own, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_depthwise_convolutions_train_on_images_of_any_size_and_with_xla() -> None:
    layer = DepthwiseConvolution(5, padding="same")
    layer.build((None, None, None, 4))
    images = tf.random.stateless_normal((2, 9, 7, 4), (0, 0))
    unknown = tf.function(lambda x: layer(x, training=True), input_signature=[tf.TensorSpec((2, None, None, 4))])
    compiled = tf.function(lambda x: layer(x, training=True), jit_compile=True)
    for function in (unknown, compiled):
        np.testing.assert_allclose(function(images), layer(images), rtol=1e-4, atol=1e-5)
