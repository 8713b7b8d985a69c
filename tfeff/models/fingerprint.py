"""What a network computes, as a hash."""

import hashlib
from typing import Any

import keras

from tfeff.models.layers.residual import StochasticDepth

RANDOM = (keras.layers.Dropout, StochasticDepth)
"""Layers that do nothing in inference mode."""
_WITHOUT_EFFECT = ("name", "trainable")


def fingerprint(network: keras.Model) -> str:
    """Returns a hash of everything that the outputs of a network in inference mode depend on.

    These are its layers, their precision and their weights, but neither names nor what is trained.
    """
    layers = [_described(layer) for layer in network.layers if not isinstance(layer, RANDOM)]
    found = hashlib.sha256(repr(layers).encode())
    for weight in network.get_weights():
        found.update(weight.tobytes())
    return found.hexdigest()


def _described(layer: keras.Layer) -> tuple[str, dict[str, Any]]:
    config = {key: value for key, value in layer.get_config().items() if key not in _WITHOUT_EFFECT}
    return type(layer).__name__, config
