"""Which feature maps of a network share their channels, and which layers read them."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.graph import Node
from tfeff.models.layers.residual import LayerScale, StochasticDepth

L = keras.layers

LINEAR = (L.Conv2D, L.Dense)
"""Layers that read all channels to compute each of their own."""
_MERGING = (L.Add, L.Multiply)
_SINGLE = (
    L.DepthwiseConv2D,
    L.BatchNormalization,
    L.LayerNormalization,
    LayerScale,
    StochasticDepth,
    L.Activation,
    L.Dropout,
    L.ZeroPadding2D,
    L.MaxPooling2D,
    L.AveragePooling2D,
    L.GlobalAveragePooling2D,
    L.Rescaling,
)
# These, in any basis of the channels, compute the same. Batch normalization does if it follows a linear layer, with
# which it is one linear map.
_ANY_BASIS = (StochasticDepth, L.Dropout, L.ZeroPadding2D, L.AveragePooling2D, L.GlobalAveragePooling2D, L.Add)


@dataclass(frozen=True, eq=False)
class Space:
    """Feature maps with the same channels.

    Attributes:
        channels: their number.
        any_basis: whether no operation acts on single channels.
        readers: names of the linear layers that read the channels.
    """

    channels: int
    any_basis: bool
    readers: tuple[str, ...]


def spaces_of(nodes: Mapping[str, Node]) -> dict[str, Space]:
    """The space of the output of each operation, by name; one object for all maps of a space.

    Raises:
        UserError: a kind of layer whose channels cannot be followed.
    """
    parents = {name: name for name in nodes}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = name = parents[parents[name]]
        return name

    for name, node in nodes.items():
        if isinstance(node.layer, (L.InputLayer, *LINEAR)) and getattr(node.layer, "groups", 1) == 1:
            continue
        if not isinstance(node.layer, (*_MERGING, *_SINGLE)):
            raise UserError(f"weights cannot be inherited through {name}, a layer {type(node.layer).__name__}")
        for each in node.inputs:
            parents[root(each)] = root(name)
    members = dict[str, list[str]]()
    for name in nodes:
        members.setdefault(root(name), []).append(name)
    spaces = dict[str, Space]()
    for names in members.values():
        channels = nodes[names[0]].layer.output.shape[-1]
        known = set(names)
        readers = [
            name for name, node in nodes.items() if isinstance(node.layer, LINEAR) and not known.isdisjoint(node.inputs)
        ]
        space = Space(channels, all(_any_basis(nodes, name) for name in names), tuple(readers))
        spaces.update(dict.fromkeys(names, space))
    return spaces


def _any_basis(nodes: Mapping[str, Node], name: str) -> bool:
    node = nodes[name]
    if isinstance(node.layer, LINEAR):
        return node.layer.activation is None or node.layer.activation is keras.activations.linear
    if isinstance(node.layer, L.BatchNormalization):
        return isinstance(nodes[node.inputs[0]].layer, LINEAR)
    if isinstance(node.layer, L.Activation):
        return node.layer.activation is keras.activations.linear
    return isinstance(node.layer, _ANY_BASIS)


def readers_kernel(layer: keras.Layer) -> np.ndarray:
    """The kernel of a linear layer as float64 (inputs, taps * outputs)."""
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float64)
    return np.moveaxis(kernel, -2, 0).reshape(kernel.shape[-2], -1)
