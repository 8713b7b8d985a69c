"""Scales and offsets of channels become part of the convolution that they follow, in the graph of an export.

TensorFlow's optimizer folds scales into plain convolutions whose kernel has no other reader. It leaves those of
depthwise convolutions and of kernels that several levels share, and offsets as additions, which its runtime then cannot
compute together with the convolution and the activation, as it does with `BiasAdd`.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.models.cost.complexity import SMALL_KERNEL

CONVOLUTIONS = "Conv2D", "DepthwiseConv2dNative"


def fold(graph: Any, outputs: Collection[str]) -> None:
    """Changes a GraphDef without variables in place; results stay the same, to rounding.

    Only convolutions in float32, of constant kernels, with channels last are changed.

    Args:
        graph: the GraphDef.
        outputs: names of the tensors that are its results.
    """
    nodes = {node.name: node for node in graph.node}
    readers = dict[str, list[Any]]()
    for node in graph.node:
        for name in node.input:
            readers.setdefault(node_name(name), []).append(node)
    results, gone = {node_name(each) for each in outputs}, set[str]()
    for node in [each for each in graph.node if each.op in CONVOLUTIONS]:
        gone |= _fold(graph, node, nodes, readers, results)
    read = {node_name(name) for node in graph.node if node.name not in gone for name in node.input} | results
    gone |= {name for name in readers.keys() - read if nodes[name].op == "Const"}
    for index in reversed(range(len(graph.node))):
        if graph.node[index].name in gone:
            del graph.node[index]


def _fold(
    graph: Any, node: Any, nodes: Mapping[str, Any], readers: Mapping[str, list[Any]], results: Collection[str]
) -> set[str]:
    """Folds what follows a convolution into it; returns the names of the nodes that no longer count."""
    kernel = nodes[node_name(node.input[1])]
    if kernel.op != "Const" or node.attr["data_format"].s not in (b"", b"NHWC"):
        return set()
    weights = tf.make_ndarray(kernel.attr["value"].tensor)
    if weights.dtype != np.float32:
        return set()
    depthwise = node.op != CONVOLUTIONS[0]
    channels = weights.shape[2] * weights.shape[3] if depthwise else weights.shape[3]
    scale, offset, chain = np.ones(channels), np.zeros(channels), [node]
    while chain[-1].name not in results and len(following := readers.get(chain[-1].name, [])) == 1:
        values = _of_channels(following[0], chain[-1].name, nodes, channels)
        if values is None:
            break
        if following[0].op == "Mul":
            scale, offset = scale * values, offset * values
        else:
            offset = offset + values
        chain.append(following[0])
    last = chain[-1]
    if len(chain) == 1 or (len(chain) == 2 and last.op == "BiasAdd"):
        return set()
    if not np.array_equal(scale, np.ones(channels)):
        alone = len(readers[kernel.name]) == 1
        if not alone and weights.size > SMALL_KERNEL:  # each convolution that reads it would get a scaled copy
            return set()
        factors = scale.reshape(weights.shape[2:]) if depthwise else scale
        target = kernel if alone else _constant(graph, f"{last.name}/kernel")
        _set(target, weights * factors)
        node.input[1] = target.name
    del last.input[:]
    last.input.extend([node.name, _set(_constant(graph, f"{last.name}/bias"), offset).name])
    last.op = "BiasAdd"
    last.attr["data_format"].s = b"NHWC"
    return {other.name for other in chain[1:-1]}


def _of_channels(node: Any, source: str, nodes: Mapping[str, Any], channels: int) -> npt.NDArray[np.floating] | None:
    """Returns the constant that a node multiplies or adds to each channel of its other input; None for other nodes."""
    if node.op not in ("Mul", "AddV2", "Add", "BiasAdd") or len(node.input) != 2:
        return None
    others = [name for name in node.input if node_name(name) != source]
    if len(others) != 1 or nodes[node_name(others[0])].op != "Const":
        return None
    values = tf.make_ndarray(nodes[node_name(others[0])].attr["value"].tensor)
    if values.size not in (1, channels) or (values.ndim and values.shape[-1] != values.size) or values.ndim > 4:
        return None
    return np.broadcast_to(values.astype(np.float64).reshape(-1), channels)


def _constant(graph: Any, name: str) -> Any:
    node = graph.node.add()
    node.name, node.op = name, "Const"
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    return node


def _set(node: Any, values: npt.NDArray[np.floating]) -> Any:
    """Sets the values of a constant; returns it."""
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values.astype(np.float32)))
    return node


def node_name(name: str) -> str:
    """Returns the name of the node whose output or control output an input is."""
    return name.removeprefix("^").partition(":")[0]
