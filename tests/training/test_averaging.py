"""How far an average reaches back, and the average of TensorFlow 1, with which EfficientNets were trained."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff import config
from tfeff.errors import UserError
from tfeff.training import averaging
from tfeff.training.averaging import Average


@pytest.mark.parametrize("batch_size", [8, 64])
def test_an_average_over_images_has_the_same_weights_whatever_the_batch(batch_size: int) -> None:
    training = config.Training(batch_size=batch_size, ema_images=5_000.0)
    averages, decay = averaging.wanted(training)
    assert averages
    assert decay is not None
    assert decay ** (5_000 / batch_size) == pytest.approx(1 / math.e)


def test_only_one_kind_of_average_can_be_set() -> None:
    assert averaging.wanted(config.Training()) == (False, None)
    assert averaging.wanted(config.Training(swa_epochs=2)) == (True, None)
    assert averaging.wanted(config.Training(ema_decay=0.9)) == (True, 0.9)
    with pytest.raises(UserError, match=r"training\.ema_images"):
        config.Training(ema_images=100.0, ema_decay=0.9)


def test_the_average_is_that_of_tensorflow_1() -> None:
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
    average = Average(model, 0.9999)
    theirs = [tf.Variable(weight.value) for weight in model.weights]
    step = tf.Variable(0)
    reference = tf.compat.v1.train.ExponentialMovingAverage(0.9999, num_updates=step)
    reference.apply(theirs)
    for number in (0, 1, 2, 5, 100, 10**5, 10**6):
        step.assign(number)
        for weight, variable in zip(model.weights, theirs, strict=True):
            weight.assign(rng.normal(size=weight.shape).astype(np.float32))
            variable.assign(weight.value)
        reference.apply(theirs)
        average.update(tf.constant(number, tf.int64), tf.distribute.get_strategy())
    for ours, variable in zip(average.variables, theirs, strict=True):
        np.testing.assert_allclose(ours, reference.average(variable), rtol=1e-5, atol=1e-6)


def test_counters_of_a_network_are_not_averaged() -> None:
    layer = keras.layers.Normalization()
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2)])
    average = Average(model, 0.5)
    layer.count.assign(7)
    average.blend(0.5)
    average.swap()
    assert int(layer.count) == 7
    layer.count.assign(9)
    average.update(tf.constant(3), tf.distribute.get_strategy())
    average.swap()
    assert int(layer.count) == 9
