"""Measurement of the latency of networks, side by side."""

import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfeff.models.network import predictor_of

WARM_UP_ROUNDS, ROUNDS = 3, 30


def latencies(*networks: keras.Model, rounds: int = ROUNDS) -> np.ndarray:
    """Times the prediction of one image, in a compiled graph on the cores of this process.

    The networks are timed alternately, so that other load on the machine slows all of them.

    Args:
        networks: functional models of one image each.
        rounds: number of timed predictions of each network.

    Returns:
        Seconds, float64 [rounds, networks].
    """
    return alternate([_prediction(network) for network in networks], rounds)[0]


def alternate(
    calls: Sequence[Callable[[], object]], rounds: int = ROUNDS, *, warm_up: int = WARM_UP_ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Times functions in turn, after a warm-up of some rounds.

    Returns:
        Seconds, and those of the processor in all threads of this process, float64 [rounds, calls].
    """
    seconds = np.zeros((2, warm_up + rounds, len(calls)))
    for done in range(warm_up + rounds):
        for index, call in enumerate(calls):
            started = time.perf_counter(), time.process_time()
            call()
            seconds[:, done, index] = time.perf_counter() - started[0], time.process_time() - started[1]
    return seconds[0, warm_up:], seconds[1, warm_up:]


def _prediction(network: keras.Model) -> Callable[[], object]:
    """Returns a function that predicts one image and waits for the result."""
    network = predictor_of(network)
    shape = (1, *network.inputs[0].shape[1:])
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, shape), tf.float32)
    function = tf.function(lambda images: network(images, training=False), autograph=False, jit_compile=False)
    forward = function.get_concrete_function(image)  # TensorFlow takes calls of many networks' functions for a mistake
    return lambda: keras.tree.map_structure(np.asarray, forward(image))
