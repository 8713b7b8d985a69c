"""Less memory in training: feature maps that are computed again in the backward pass (arXiv:1604.06174).

A network is divided into segments. The forward pass keeps the maps between segments; the backward pass runs each
segment again to get the maps inside it. It costs one more forward pass. Batch normalization updates its moving
statistics once, and dropout draws the same numbers both times.
"""

import inspect
import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class Rematerialized:
    """A functional network whose training pass keeps few feature maps. Everything else is that of the network.

    Args:
        network: the network, without activity regularization.
    """

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        self._segments = [_Segment(*parts) for parts in divide(network)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, images: tf.Tensor, training: bool = False) -> Any:
        """Returns the network's outputs."""
        if not training:
            return self._network(images, training=False)
        maps = {id(self._network.inputs[0]): images}
        for segment in self._segments:
            outputs = segment(*(maps[id(tensor)] for tensor in segment.inputs))
            maps.update(zip(map(id, segment.outputs), outputs, strict=True))
        return keras.tree.map_structure(lambda tensor: maps[id(tensor)], self._network.output)


class _Segment:
    """Part of a network that is run again in the backward pass; arguments as in the results of `divide`."""

    def __init__(
        self, nodes: Sequence[Any], inputs: Sequence[keras.KerasTensor], outputs: Sequence[keras.KerasTensor]
    ) -> None:
        self._nodes, self.inputs, self.outputs = nodes, inputs, outputs
        layers = {id(node.operation): node.operation for node in nodes if isinstance(node.operation, keras.Layer)}
        self._state = [variable for layer in layers.values() for variable in layer.non_trainable_variables]
        self._run = tf.custom_gradient(self._with_gradient)

    def __call__(self, *inputs: tf.Tensor) -> list[tf.Tensor]:
        return keras.tree.flatten(self._run(*inputs))

    def _forward(self, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the outputs in training.

        A `keras.Model` of the segment would take a layer for an input if the segment before applies it, too, as heads
        are applied to several levels.
        """
        known = dict(zip(map(id, self.inputs), inputs, strict=True))
        for node in self._nodes:
            args, kwargs = node.arguments.fill_in(known)
            if "training" in inspect.signature(node.operation.call).parameters:
                kwargs["training"] = True
            outputs = keras.tree.flatten(node.operation(*args, **kwargs))
            known.update(zip(map(id, node.output_tensors), outputs, strict=True))
        return [known[id(tensor)] for tensor in self.outputs]

    def _with_gradient(self, *inputs: tf.Tensor) -> tuple[list[tf.Tensor], Any]:
        # Random states as they are before this pass advances them.
        state = [(variable, tf.identity(variable.value)) for variable in self._state]
        outputs = self._forward(inputs)

        def gradient(*upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> Any:
            with tf.control_dependencies(upstream):  # not before the backward pass gets here
                again = [tf.identity(each) for each in inputs]
            # Updates of variables in this scope are dropped.
            with tf.GradientTape() as tape, keras.StatelessScope(state_mapping=state):
                tape.watch(again)
                outputs = self._forward(again)
            of_inputs, of_variables = tape.gradient(outputs, (again, list(variables)), output_gradients=upstream)
            return (of_inputs, of_variables) if variables else of_inputs

        return outputs, gradient


def divide(network: keras.Model) -> list[tuple[list[Any], list[keras.KerasTensor], list[keras.KerasTensor]]]:
    """Returns Keras' nodes of each segment in the order of execution, and its inputs and outputs.

    They are chosen to make small the sum of all maps between segments and of the maps inside the largest segment.
    """
    nodes = [
        node
        for depth in sorted(network._nodes_by_depth, reverse=True)
        for node in network._nodes_by_depth[depth]
        if not node.is_input
    ]
    tensors = {id(tensor): tensor for node in nodes for tensor in (*node.input_tensors, *node.output_tensors)}
    size = {key: math.prod(side or 1 for side in tensor.shape) for key, tensor in tensors.items()}
    born = {id(tensor): step for step, node in enumerate(nodes) for tensor in node.output_tensors}
    last = {id(tensor): step for step, node in enumerate(nodes) for tensor in node.input_tensors}
    last |= {id(tensor): len(nodes) for tensor in network.outputs}
    live = [{key for key, step in born.items() if step < cut <= last.get(key, step)} for cut in range(len(nodes) + 1)]
    live_size = [sum(map(size.__getitem__, keys)) for keys in live]
    inside = [sum(size[id(tensor)] for tensor in node.output_tensors) for node in nodes]

    def cuts(limit: float) -> list[int]:
        """Returns segments of about this size, that end where few maps are alive."""
        found, total = [0], 0
        for step, own in enumerate(inside):
            if total + own > limit and step > found[-1]:
                found.append(min(range(found[-1] + 1, step + 1), key=lambda cut: (live_size[cut], -cut)))
                total = sum(inside[found[-1] : step])
            total += own
        return [*found, len(nodes)]

    def memory(ends: list[int]) -> int:
        between = set[int]().union(*(live[cut] for cut in ends[:-1]))
        return sum(map(size.__getitem__, between)) + max(sum(inside[a:b]) for a, b in itertools.pairwise(ends))

    whole = sum(inside)
    ends = min((cuts(whole / parts) for parts in range(1, 2 * math.isqrt(len(nodes)) + 1)), key=memory)
    segments = []
    for first, end in itertools.pairwise(ends):
        read = dict.fromkeys(id(tensor) for node in nodes[first:end] for tensor in node.input_tensors)
        inputs = [tensors[key] for key in read if born.get(key, -1) < first]
        outputs = [tensors[key] for key, step in born.items() if first <= step < end <= last.get(key, step)]
        segments.append((nodes[first:end], inputs, outputs))
    return segments
