"""A function without the network's own variables, optimized once, when it is exported.

Batch normalization becomes part of convolutions (`affine`), and whatever depends on weights alone is computed.
TensorFlow copies the constants of a graph about twenty times while it loads it, so large weights become variables
again.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training.saver import export_meta_graph

from tfeff.serving import affine
from tfeff.serving.affine import node_name
from tfeff.serving.portable import freeze

CONSTANT_BYTES = 2**24
"""Largest weights that stay constants, in bytes. Kernels that are constants are arranged for the processor once, others
in each call, which takes 2 to 14 % longer (docs/serving.md)."""
_SMALL = 1024
"""Constants of fewer elements always stay constants: some operations need those of their arguments."""
_OPTIMIZERS = ("pruning", "constfold", "dependency")
_MOST_COPIES = 1.01
"""Weights after TensorFlow's folding, relative to those before, beyond which it leaves out kernels of several
convolutions; `affine` then copies small ones."""
_LOWERED = "_lower_using_switch_merge"
"""Attribute of loops and branches."""


class Folded(tf.Module):
    """A `tf.function` with one input signature, folded; arguments and results stay the same.

    Args:
        function: the `tf.function`.
        constant_bytes: see `CONSTANT_BYTES`.

    Attributes:
        weights: the variables; empty if all weights are constants.
    """

    def __init__(self, function: Any, constant_bytes: int = CONSTANT_BYTES) -> None:
        super().__init__(name="folded")
        structure = function.get_concrete_function().structured_outputs
        frozen = freeze(function, lower_control_flow=False)
        graph = _optimized(frozen)
        affine.fold(graph, _names(frozen.outputs))
        _merge_equal_weights(graph)
        arrays = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in _weights(graph)}
        if sum(array.nbytes for array in arrays.values()) <= constant_bytes:
            arrays = {}
        for node in [each for each in graph.node if each.name in arrays]:
            graph.node.remove(node)
        _forget(graph, arrays)
        self.weights = [tf.Variable(array, trainable=False) for array in arrays.values()]
        specs = [tf.TensorSpec(each.shape, each.dtype) for each in frozen.inputs]
        given, wanted = _names(frozen.inputs), _names(frozen.outputs)

        def run(*inputs: tf.Tensor) -> list[tf.Tensor]:
            values = dict(zip(given, inputs, strict=True))
            values |= {f"{name}:0": each.read_value() for name, each in zip(arrays, self.weights, strict=True)}
            return tf.graph_util.import_graph_def(graph, input_map=values, return_elements=wanted, name="")

        self._run = tf.function(run, input_signature=specs, autograph=False)
        self._pack = lambda outputs: tf.nest.pack_sequence_as(structure, outputs)

    def __call__(self, *inputs: Any) -> Any:
        """Calls the function."""
        return self._pack(self._run(*tf.nest.flatten(inputs)))


def _optimized(function: Any) -> Any:
    """Returns the graph of a concrete function without variables, as a GraphDef."""
    original = function.graph.as_graph_def()
    optimized = _folded(function, original, ())
    readers = Counter(node_name(name) for node in original.node for name in node.input)
    shared = [each.name for each in _weights(original) if readers[each.name] > 1]
    # A kernel of several convolutions must not become one for each of their batch normalizations, as in the heads of
    # detectors. Views of one image have the same ones, so that equal results are merged.
    if shared and _bytes(optimized) > _MOST_COPIES * _bytes(original):
        optimized = _folded(function, original, shared)
    for node in itertools.chain(optimized.node, *(each.node_def for each in optimized.library.function)):
        if _LOWERED in node.attr:
            node.attr[_LOWERED].b = True  # so that TensorFlow may run iterations in parallel
    return optimized


def _folded(function: Any, original: Any, kept: Collection[str]) -> Any:
    """Returns the optimized graph, in which the weights `kept` are as they were, and equal weights are one.

    Args:
        function: the concrete function.
        original: its graph.
        kept: names of weights.
    """
    meta = export_meta_graph(graph_def=original, graph=function.graph)
    hidden = {node.name: node for node in original.node if node.name in kept}
    for node in meta.graph_def.node:
        if node.name in hidden:
            _hide(node)
    fetched = [*_names((*function.inputs, *function.outputs)), *(f"{name}:0" for name in hidden)]
    meta.collection_def["train_op"].node_list.value.extend(fetched)
    settings = ConfigProto()
    settings.graph_options.rewrite_options.optimizers.extend(_OPTIMIZERS)
    settings.graph_options.rewrite_options.min_graph_nodes = -1  # also graphs of a few operations
    graph = tf_optimizer.OptimizeGraph(settings, meta)
    for node in graph.node:
        if node.name in hidden:
            node.CopyFrom(hidden[node.name])
    _merge_equal_weights(graph)
    return graph


def _forget(graph: Any, names: Collection[str]) -> None:
    """Removes what orders nodes after some weights, which are always there."""
    for node in graph.node:
        kept = [name for name in node.input if not (name.startswith("^") and name[1:] in names)]
        if len(kept) < len(node.input):
            del node.input[:]
            node.input.extend(kept)


def _merge_equal_weights(graph: Any) -> None:
    first = dict[bytes, str]()
    replaced = dict[str, str]()
    for node in _weights(graph):
        name = first.setdefault(node.attr["value"].SerializeToString(deterministic=True), node.name)
        if name != node.name:
            replaced[node.name] = name
    for node in graph.node:
        for place, name in enumerate(node.input):
            if node_name(name) in replaced:
                node.input[place] = name.replace(node_name(name), replaced[node_name(name)])
    for node in [each for each in graph.node if each.name in replaced]:
        graph.node.remove(node)


def _weights(graph: Any) -> list[Any]:
    return [node for node in graph.node if _is_weight(node)]


def _bytes(graph: Any) -> int:
    return sum(node.ByteSize() for node in _weights(graph))


def _hide(weight: Any) -> None:
    """Replaces a constant by an input of the graph."""
    found = weight.attr["value"].tensor
    weight.op = "Placeholder"
    weight.attr["shape"].shape.CopyFrom(found.tensor_shape)
    del weight.attr["value"]


def _is_weight(node: Any) -> bool:
    if node.op != "Const":
        return False
    found = node.attr["value"].tensor
    return tf.as_dtype(found.dtype).is_floating and tf.TensorShape(found.tensor_shape).num_elements() >= _SMALL


def _names(tensors: Sequence[tf.Tensor]) -> list[str]:
    return [each.name for each in tensors]
