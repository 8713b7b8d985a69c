"""The optimizers of published trainings against the implementations that these used."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.models import build
from tfeff.training import optimizers

DECAY, STEPS = 1e-2, 4


@pytest.fixture
def network() -> keras.Model:
    """With a few variables of every kind: kernels, depthwise kernels, biases, batch normalization."""
    model = build("efficientnet-b0", num_classes=3, resolution=32, depth_coefficient=0.1, width_coefficient=0.25)
    for layer in model.layers:
        layer.trainable = layer.name.startswith(("stem", "stage1", "head_classifier"))
    return model


def gradients(model: keras.Model) -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(2)
    for _ in range(STEPS):
        yield [rng.normal(size=variable.shape).astype(np.float32) for variable in model.trainable_variables]


def test_rmsprop_as_efficientnets_were_trained_with(network: keras.Model) -> None:
    """`tf.train.RMSPropOptimizer` of TensorFlow 1, whose moving average of squares starts at 1, and the penalty of the
    reference implementation, `weight_decay * tf.nn.l2_loss(v)` for all variables except those of batch
    normalization."""
    start = [variable.numpy() for variable in network.trainable_variables]
    ours = optimizers.build(
        *("rmsprop", network),
        initial_accumulator=1.0,
        weight_decay=DECAY,
        decay_biases=True,
        l2=True,
    )
    paths = [variable.path for variable in network.trainable_variables]
    rates = list[float]()
    reference = tf.compat.v1.train.RMSPropOptimizer(lambda: rates[-1], decay=0.9, momentum=0.9, epsilon=1e-3)
    theirs = [tf.Variable(value) for value in start]
    decayed = [variable for variable, path in zip(theirs, paths, strict=True) if "_bn/" not in path]
    for step, values in enumerate(gradients(network)):
        rates.append(0.05 / (step + 1))
        ours.learning_rate = rates[-1]
        ours.apply([tf.constant(value) for value in values], network.trainable_variables)
        with tf.GradientTape() as tape:
            # The gradient of sum(v * g) is g.
            loss = tf.add_n([tf.reduce_sum(variable * value) for variable, value in zip(theirs, values, strict=True)])
            loss += DECAY * tf.add_n([tf.nn.l2_loss(variable) for variable in decayed])
        reference.apply_gradients(zip(tape.gradient(loss, theirs), theirs, strict=True))
    for path, before, value, variable in zip(paths, start, theirs, network.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), value.numpy(), rtol=1e-5, atol=1e-6, err_msg=path)
        assert np.abs(value.numpy() - before).max() > 0.01


@pytest.mark.parametrize("biases", [False, True])
def test_which_variables_decay(network: keras.Model, biases: bool) -> None:
    optimizer = optimizers.build("rmsprop", network, weight_decay=DECAY, decay_biases=biases)
    for variable, decay in zip(network.trainable_variables, optimizer.decays, strict=True):
        kind = variable.path.rpartition("/")[2]
        assert decay == (DECAY if kind == "kernel" or (biases and kind == "bias") else 0.0), variable.path
    assert {variable.path.rpartition("/")[2] for variable in network.trainable_variables} == {
        *("kernel", "bias", "gamma", "beta"),
    }
