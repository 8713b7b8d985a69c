"""Rematerialization against the plain network, in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import thorough
from tfeff import models
from tfeff.models.layers.residual import StochasticDepth
from tfeff.training.rematerialization import Rematerialized, divide

L = keras.layers


def small() -> keras.Model:
    """Batch normalization, two kinds of random numbers, a shared layer, a skip connection, and two outputs."""
    images = keras.Input((8, 8, 3))
    shared = L.Conv2D(4, 3, padding="same", use_bias=False)
    x = skip = L.BatchNormalization()(shared(images))
    for _ in range(3):
        branch = L.Activation("swish")(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x)))
        x = L.Add()([x, StochasticDepth(0.5)(branch)])
    x = L.Dropout(0.5)(L.Concatenate()([x, skip]))
    again = shared(L.Conv2D(3, 1)(x))
    return keras.Model(images, {"features": x, "again": L.GlobalAveragePooling2D()(again)})


def detector() -> keras.Model:
    return models.build_detector("efficientdet-d0", num_classes=3, resolution=64)


def end_to_end() -> keras.Model:
    """The gradient of a pair of heads ends at their input; a segment ends between the levels that share a layer."""
    backbone = models.architecture("resnet", resolution=64, width=4, stage_blocks=(1, 1, 1), stem="7x7")
    options = {"levels": ("P3", "P4"), "neck": "fpn", "neck_channels": 8, "neck_repeats": 1, "head_repeats": 1}
    return models.build_detector(models.detector("yolo", backbone=backbone, end_to_end=True, **options), num_classes=2)


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    keras.mixed_precision.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.mixed_precision.set_dtype_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize("build", [small, end_to_end, thorough(detector)])
def test_gradients_statistics_and_random_states_are_the_same(build, float64) -> None:
    results = []
    for wrap in (lambda network: network, Rematerialized):
        keras.utils.set_random_seed(0)
        network = build()
        images = tf.constant(np.random.default_rng(0).uniform(0, 255, (4, *network.input_shape[1:])))
        call = wrap(network)

        @tf.function(autograph=False)
        def gradients(call=call, network=network, images=images):
            with tf.GradientTape() as tape:
                loss = tf.add_n([tf.reduce_sum(tf.sin(y)) for y in keras.tree.flatten(call(images, training=True))])
            return loss, tape.gradient(loss, [variable.value for variable in network.trainable_variables])

        for _ in range(2):
            loss, found = gradients()
        results.append([loss.numpy(), *map(np.array, found), *(variable.numpy() for variable in network.variables)])
    for plain, again in zip(*results, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-12, atol=1e-12)


def test_maps_between_segments_and_in_the_largest_one_need_little_memory() -> None:
    network = models.build("mobilenet-v2", resolution=64)
    sizes = [np.prod([side or 1 for side in layer.output.shape]) for layer in network.layers]
    segments = divide(network)
    kept = sum(np.prod([side or 1 for side in tensor.shape]) for *_, outputs in segments for tensor in outputs)
    assert len(segments) > 3
    assert kept < 0.15 * sum(sizes)
