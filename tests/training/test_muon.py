"""Muon against Keras' Muon on the kernels as matrices, and against AdamW for everything else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.training import optimizers
from tfeff.training.muon import ADAM_RATE

RATE, DECAY, STEPS = 0.01, 0.1, 5


def trained(optimizer: keras.optimizers.Optimizer, variable: keras.Variable, gradients: np.ndarray) -> np.ndarray:
    optimizer.learning_rate = RATE
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
    return np.array(variable)


def updated(layer: keras.layers.Layer, shape: tuple[int, ...], gradients: np.ndarray, **settings: bool) -> np.ndarray:
    """The layer's kernel after STEPS steps."""
    model = keras.Sequential([keras.Input(shape), layer])
    model.trainable_variables[0].assign(START[gradients.shape[1:]])
    optimizer = optimizers.build("muon", model, momentum=0.95, weight_decay=DECAY, **settings)
    return trained(optimizer, model.trainable_variables[0], gradients)


START = {
    shape: np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)
    for shape in ((3, 3, 4, 8), (1, 1, 2, 24), (3, 3, 6, 1), (10, 5))
}


def gradients_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(STEPS, *shape)).astype(np.float32)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(3, 3, 4, 8), (1, 1, 2, 24)])
def test_kernels_are_updated_as_matrices(shape: tuple[int, ...], nesterov: bool) -> None:
    gradients = gradients_of(shape)
    layer = keras.layers.Conv2D(shape[3], shape[0], use_bias=False)
    found = updated(layer, (9, 9, shape[2]), gradients, nesterov=nesterov)
    matrix = keras.Variable(START[shape].reshape(-1, shape[3]))
    theirs = keras.optimizers.Muon(momentum=0.95, weight_decay=DECAY, nesterov=nesterov)
    expected = trained(theirs, matrix, gradients.reshape(STEPS, -1, shape[3]))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape", "kernel"),
    [
        (keras.layers.DepthwiseConv2D(3, use_bias=False), (9, 9, 6), (3, 3, 6, 1)),
        (keras.layers.Dense(5, use_bias=False), (10,), (10, 5)),
    ],
)
def test_depthwise_kernels_and_the_classifier_are_updated_by_adamw(
    layer: keras.layers.Layer, shape: tuple[int, ...], kernel: tuple[int, ...]
) -> None:
    gradients = gradients_of(kernel)
    found = updated(layer, shape, gradients)
    variable = keras.Variable(START[kernel])
    # Keras' Muon multiplies the decay by the full learning rate.
    theirs = keras.optimizers.AdamW(beta_1=0.9, weight_decay=DECAY / ADAM_RATE)
    theirs.learning_rate = RATE * ADAM_RATE
    for gradient in gradients:
        theirs.apply([tf.constant(gradient)], [variable])
    np.testing.assert_allclose(found, np.array(variable), rtol=1e-5, atol=1e-7)
