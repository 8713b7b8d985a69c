"""What a network computes, as a hash."""

import hashlib
import itertools
from typing import Any

import keras

from tfeff.models.graph import graph_of, nodes_of
from tfeff.models.layers.residual import StochasticDepth

RANDOM = (keras.layers.Dropout, StochasticDepth)
"""Layers that do nothing in inference mode."""
_WITHOUT_EFFECT = ("name", "trainable")


def fingerprint(network: keras.Model) -> str:
    """Returns a hash of everything that the outputs of a functional network in inference mode depend on.

    These are its layers and other operations, what each one reads, their precision and their weights, but neither names
    nor what is trained.
    """
    places, operations = dict[int, int](), dict[int, int]()  # of tensors and of operations, in order of execution
    numbers = itertools.count()

    def place(value: Any) -> Any:
        """Returns an argument as it does not depend on names."""
        if isinstance(value, keras.KerasTensor):
            return f"#{places[id(value)]}"
        return keras.ops.convert_to_numpy(value).tolist() if hasattr(value, "shape") else value

    graph, found = graph_of(network), hashlib.sha256()
    for node in nodes_of(graph).values():
        if isinstance(node.layer, RANDOM):
            places[id(node.node.outputs[0])] = places[id(node.node.input_tensors[0])]
            continue
        number = operations.setdefault(id(node.layer), len(operations))
        arguments = node.node.arguments
        read = None if node.node.is_input else keras.tree.map_structure(place, (arguments.args, arguments.kwargs))
        found.update(repr((number, *_described(node.layer), read)).encode())
        for tensor in node.node.outputs:
            places[id(tensor)] = next(numbers)
    found.update(repr([place(tensor) for tensor in graph.outputs]).encode())
    for weight in network.get_weights():
        found.update(weight.tobytes())
    return found.hexdigest()


def _described(operation: keras.Operation) -> tuple[str, dict[str, Any]]:
    config = {key: value for key, value in operation.get_config().items() if key not in _WITHOUT_EFFECT}
    return type(operation).__name__, config
