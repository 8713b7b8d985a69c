"""Latency of networks."""

import keras
import numpy as np

from tfeff.training.latency import latencies


def network(channels: int) -> keras.Model:
    image = keras.Input((4, 4, channels))
    return keras.Model(image, {"mean": keras.layers.GlobalAveragePooling2D()(image), "map": keras.layers.ReLU()(image)})


def test_every_round_times_every_network() -> None:
    seconds = latencies(network(1), network(3), rounds=4)
    assert seconds.shape == (4, 2)
    assert np.all(seconds > 0)
