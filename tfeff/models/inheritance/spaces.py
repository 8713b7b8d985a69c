"""Which feature maps of a network share their channels, and which layers read them."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.graph import Node
from tfeff.models.layers.neck import NearestUpsampling, StopGradient, WeightedFusion
from tfeff.models.layers.regions import RoIAlign, RoIMaxPool
from tfeff.models.layers.residual import LayerScale, StochasticDepth

L = keras.layers

LINEAR = (L.Conv2D, L.Dense)
"""Layers that read all channels to compute each of their own."""
_MERGING = (L.Add, L.Multiply, WeightedFusion, RoIAlign, RoIMaxPool)
_SINGLE = (
    L.DepthwiseConv2D,
    L.BatchNormalization,
    L.LayerNormalization,
    LayerScale,
    StochasticDepth,
    StopGradient,
    L.Activation,
    L.Dropout,
    L.ZeroPadding2D,
    L.MaxPooling2D,
    L.AveragePooling2D,
    L.GlobalAveragePooling2D,
    L.GlobalMaxPooling2D,
    NearestUpsampling,
    L.Reshape,
    L.Rescaling,
)
# These, in any basis of the channels, compute the same. Batch normalization does if it follows a linear layer, with
# which it is one linear map.
_ANY_BASIS = (
    StochasticDepth,
    StopGradient,
    L.Dropout,
    L.ZeroPadding2D,
    L.AveragePooling2D,
    L.GlobalAveragePooling2D,
    NearestUpsampling,
    RoIAlign,
    L.Reshape,
    L.Add,
)


@dataclass(frozen=True, eq=False)
class Space:
    """Feature maps with the same channels.

    Attributes:
        channels: number of channels.
        any_basis: whether no operation acts on single channels.
        readers: names of the linear layers that read the channels.
        grouped: name of the convolution in groups that reads or computes the channels, if any.
    """

    channels: int
    any_basis: bool
    readers: tuple[str, ...]
    grouped: str | None = None


def spaces_of(nodes: Mapping[str, Node]) -> dict[str, Space]:
    """Returns the space of the output of each operation, by name; one object for all maps of a space.

    What a layer reads where it is applied several times, such as on all levels of a pyramid, is one space.

    Raises:
        UserError: a kind of layer whose channels cannot be followed.
    """
    parents = {name: name for name in nodes}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = name = parents[parents[name]]
        return name

    applied = applications(nodes)
    for name, node in nodes.items():
        first = applied[id(node.layer)][0]
        if isinstance(node.layer, (L.InputLayer, *LINEAR)):
            for one, other in zip(node.inputs, nodes[first].inputs, strict=True):
                parents[root(one)] = root(other)
            parents[root(name)] = root(first)
            continue
        if not isinstance(node.layer, (*_MERGING, *_SINGLE)):
            raise UserError(f"weights cannot be inherited through {name}, a layer {type(node.layer).__name__}")
        for each in (*maps_read(node), first):
            parents[root(each)] = root(name)
    members = dict[str, list[str]]()
    for name in nodes:
        members.setdefault(root(name), []).append(name)
    spaces = dict[str, Space]()
    for names in members.values():
        known = set(names)
        readers = [
            group[0]
            for group in applied.values()
            if isinstance(nodes[group[0]].layer, LINEAR) and not known.isdisjoint(nodes[group[0]].inputs)
        ]
        any_basis = all(_any_basis(nodes, applied, name) for name in names)
        grouped = [name for name in (*readers, *names) if groups_of(nodes[name].layer) > 1]
        if len(set(grouped)) > 1:
            raise UserError(f"weights cannot be inherited through {' and '.join(grouped)}: groups of the same channels")
        space = Space(channels_of(nodes, names[0]), any_basis, tuple(readers), grouped[0] if grouped else None)
        spaces.update(dict.fromkeys(names, space))
    return spaces


def applications(nodes: Mapping[str, Node]) -> dict[int, list[str]]:
    """Returns the names of the applications of each layer, by its identity; first that with the name of the layer."""
    applied = dict[int, list[str]]()
    for name, node in nodes.items():
        applied.setdefault(id(node.layer), []).append(name)
    for names in applied.values():
        names.sort(key=lambda name: int(name.partition("#")[2] or 1))
    return applied


def maps_read(node: Node) -> tuple[str, ...]:
    """Returns the inputs of an operation that are feature maps, not regions."""
    return node.inputs[:-1] if isinstance(node.layer, (RoIAlign, RoIMaxPool)) else node.inputs


def channels_of(nodes: Mapping[str, Node], name: str) -> int:
    """Returns the channels of an operation's output; for flattened features of regions, those of the map."""
    while isinstance(nodes[name].layer, L.Reshape):
        (name,) = nodes[name].inputs
    channels = nodes[name].shape[-1]
    assert channels is not None
    return channels


def _any_basis(nodes: Mapping[str, Node], applied: Mapping[int, list[str]], name: str) -> bool:
    layer = nodes[name].layer
    if isinstance(layer, LINEAR):
        return layer.activation is None or layer.activation is keras.activations.linear
    if isinstance(layer, L.BatchNormalization):
        before = nodes[nodes[name].inputs[0]].layer
        return isinstance(before, LINEAR) and len(applied[id(before)]) == 1
    if isinstance(layer, L.Activation):
        return layer.activation is keras.activations.linear
    if isinstance(layer, WeightedFusion):
        return layer.weights_per == "input"
    return isinstance(layer, _ANY_BASIS)


def groups_of(layer: keras.Layer) -> int:
    """Returns the number of groups of a convolution; 1 for all other layers."""
    return getattr(layer, "groups", 1)


def taps(layer: keras.Layer, channels: int) -> np.ndarray:
    """Returns the kernel of a linear layer that reads this many channels as float64 (taps, channels, outputs).

    A dense layer that reads flattened features of regions has many taps. A convolution in groups has zeros between
    them.
    """
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float64)
    groups = groups_of(layer)
    if groups == 1:
        return kernel.reshape(-1, channels, kernel.shape[-1])
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    inputs, outputs = kernel.shape[1], kernel.shape[2] // groups
    whole = np.zeros((len(kernel), channels, kernel.shape[2]))
    for group in range(groups):
        columns = slice(group * outputs, (group + 1) * outputs)
        whole[:, group * inputs : (group + 1) * inputs, columns] = kernel[:, :, columns]
    return whole


def readers_kernel(layer: keras.Layer, channels: int) -> np.ndarray:
    """Returns the kernel of a linear layer as float64 (channels, taps * outputs)."""
    return np.moveaxis(taps(layer, channels), 1, 0).reshape(channels, -1)
