"""Transfer of weights: those of the source, in the network's own channels.

Where all channels of an input are kept, the layer then computes what it computed in the source. Elsewhere, the weights
are the starting point of a regression.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfeff.models.graph import Node
from tfeff.models.inheritance.blocks import Segment
from tfeff.models.inheritance.encoding import Encoding
from tfeff.models.inheritance.plan import Plan
from tfeff.models.inheritance.spaces import LINEAR, channels_of, groups_of, taps
from tfeff.models.layers.neck import WeightedFusion
from tfeff.models.layers.residual import LayerScale, StochasticDepth

L = keras.layers
_SHARE = 0.05  # of a map in an additional fusion that should pass on another one: enough to be learned


def normalization_after(nodes: Mapping[str, Node], name: str) -> str | None:
    """Returns the batch normalization that reads a linear layer; None if there is none."""
    return next(
        (
            each
            for each, node in nodes.items()
            if node.inputs == (name,) and isinstance(node.layer, L.BatchNormalization)
        ),
        None,
    )


def normalized(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Returns what batch normalization does at inference: float64 scale and offset (channels,)."""
    scale = array(norm.gamma) / np.sqrt(array(norm.moving_variance) + norm.epsilon)
    return scale, array(norm.beta) - array(norm.moving_mean) * scale


def linear(layer: keras.Layer, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a linear layer without its activation: float64 kernel (taps, inputs, outputs) and bias (outputs,)."""
    kernel = taps(layer, channels)
    return kernel, array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1])


def affine(nodes: Mapping[str, Node], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns a linear layer and the batch normalization that reads it as one map, as `linear`."""
    kernel, bias = linear(nodes[name].layer, channels_of(nodes, nodes[name].inputs[0]))
    follower = normalization_after(nodes, name)
    if follower is not None:
        scale, offset = normalized(nodes[follower].layer)
        kernel, bias = kernel * scale, bias * scale + offset
    return kernel, bias


def array(variable: Any) -> np.ndarray:
    """Returns a variable as float64."""
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)


def copy_weights(plan: Plan, rng: np.random.Generator) -> None:
    """Sets all weights of the target that the source has, too, and makes its additional blocks the identity.

    Args:
        rng: divides kernels among repeated channels unevenly, so that these do not learn the same.
    """
    for segment in plan.target.segments:
        for name, node in segment.nodes.items():
            if name != plan.target.applied[id(node.layer)][0] or not node.layer.weights or name not in plan.encodings:
                continue
            reads, makes = plan.encodings.get(node.inputs[0]), plan.encodings[name]
            theirs = plan.source.nodes.get(plan.counterparts.get(name, ""))
            if theirs is not None:
                channels = channels_of(plan.source.nodes, theirs.inputs[0])
                _copy(node.layer, theirs.layer, channels, reads, makes, rng)
            else:
                _pass_on(node.layer, reads, makes)
        if plan.origin(segment).new and segment.is_residual:
            _make_identity(segment)


def _copy(
    layer: keras.Layer,
    source: keras.Layer,
    channels: int,
    reads: Encoding | None,
    makes: Encoding,
    rng: np.random.Generator,
) -> None:
    for variable, theirs in zip(layer.weights, source.weights, strict=True):
        values = array(theirs)
        if isinstance(layer, LINEAR):
            read = reads if variable is layer.kernel else None
            if read and groups_of(layer) > 1:
                values = _in_groups(values, read, makes, rng)
            elif (read and channels != len(read.encode)) or values.shape[-1] != len(makes.encode):
                values = np.zeros(variable.shape)  # it stands for another layer, which a regression fits
            else:
                values = _reading(taps(source, channels), read, rng) if read else values
                values = (values @ makes.encode).reshape(variable.shape)
        elif isinstance(layer, WeightedFusion) and layer.weights_per == "input":
            pass
        elif isinstance(layer, L.DepthwiseConv2D) and values.ndim == 4:
            values = _fitted_window(values[:, :, makes.index], variable.shape[:2])
        elif makes.index is not None:
            values = values[..., makes.index]
        else:
            continue  # batch normalization in another basis: a regression sets it
        variable.assign(values.astype(variable.dtype))


def _reading(kernel: np.ndarray, reads: Encoding, rng: np.random.Generator) -> np.ndarray:
    """Returns a kernel (..., C, outputs) that reads encoded channels."""
    index = reads.index
    if index is None or not reads.lossless:
        return np.einsum("...co,dc->...do", kernel, reads.decode)
    counts = np.bincount(index, minlength=len(reads.encode))
    shares = np.where(counts[index, None] > 1, rng.uniform(0.5, 1.5, (len(index), kernel.shape[-1])), 1.0)
    totals = np.zeros((len(counts), kernel.shape[-1]))
    np.add.at(totals, index, shares)
    return kernel[..., index, :] * (shares / totals[index])


def _in_groups(kernel: np.ndarray, reads: Encoding, makes: Encoding, rng: np.random.Generator) -> np.ndarray:
    """Returns the kernel of a convolution in groups."""
    outputs = len(makes.groups[0][1].encode)
    parts = zip(reads.groups, makes.groups, strict=True)
    return np.concatenate(
        [
            _reading(kernel[..., group * outputs : (group + 1) * outputs], read, rng) @ make.encode
            for (group, read), (_, make) in parts
        ],
        axis=-1,
    )


def passing_on(shape: Sequence[int], reads: Encoding, makes: Encoding) -> np.ndarray:
    """Returns the kernel that changes the encoding of what it reads.

    Its shape is (height, width, inputs, outputs) or (inputs, outputs).
    """
    kernel = np.zeros(shape)
    center = tuple(side // 2 for side in shape[:-2])
    if reads.decode.shape[1] == len(makes.encode) and len(reads.decode) == shape[-2]:
        kernel[center] = reads.decode @ makes.encode
    return kernel


def _pass_on(layer: keras.Layer, reads: Encoding | None, makes: Encoding) -> None:
    """Makes a layer that the source lacks pass on its input, the first one if it has several."""
    if isinstance(layer, LINEAR) and reads is not None:
        for variable in layer.weights:
            kernel = variable is layer.kernel
            values = passing_on(variable.shape, reads, makes) if kernel else np.zeros(variable.shape)
            variable.assign(values.astype(variable.dtype))
    elif isinstance(layer, WeightedFusion):
        values = np.full(layer.fusion_weights.shape, math.log(_SHARE) if layer.method == "softmax" else _SHARE)
        values[0] = 0.0 if layer.method == "softmax" else 1.0
        layer.fusion_weights.assign(values)
    else:
        _set_identity(layer)


def _fitted_window(kernel: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the center of a larger depthwise kernel, or a smaller one between zeros."""
    for axis, wanted in enumerate(size):
        surplus = kernel.shape[axis] - wanted
        if surplus > 0:
            kernel = np.take(kernel, np.arange(wanted) + surplus // 2, axis=axis)
        elif surplus < 0:
            margins = [(0, 0)] * kernel.ndim
            margins[axis] = (-surplus // 2, -surplus - -surplus // 2)
            kernel = np.pad(kernel, margins)
    return kernel


def _make_identity(segment: Segment) -> None:
    """Makes a block compute its input.

    The last layer of a residual branch becomes 0. In a block without a shortcut, every layer becomes the identity,
    which its activations keep: its input has passed through the same one.
    """
    add = next((node for node in segment.nodes.values() if isinstance(node.layer, L.Add)), None)
    if add is None:
        for node in segment.nodes.values():
            _set_identity(node.layer)
        return
    name = next(each for each in add.inputs if each in segment.nodes)
    while isinstance(segment.nodes[name].layer, (StochasticDepth, L.Activation)):  # activations that keep 0
        (name,) = segment.nodes[name].inputs
    layer = segment.nodes[name].layer
    last = (
        (layer.gamma, layer.beta)
        if isinstance(layer, L.BatchNormalization)
        else ((layer.gamma,) if isinstance(layer, LayerScale) else layer.weights)
    )
    for variable in last:
        variable.assign(np.zeros(variable.shape, variable.dtype))


def _set_identity(layer: keras.Layer) -> None:
    for variable in layer.weights:
        values = np.zeros(variable.shape)
        if isinstance(layer, L.BatchNormalization):
            values += 1.0 if variable is layer.gamma else 0.0
            if variable is layer.moving_variance:
                values += 1.0 - layer.epsilon
        elif isinstance(layer, L.DepthwiseConv2D) and len(variable.shape) == 4:
            values[variable.shape[0] // 2, variable.shape[1] // 2] = 1.0
        elif isinstance(layer, LINEAR) and variable is layer.kernel:
            values[..., :, :] = np.eye(variable.shape[-1]) if values.ndim == 2 else 0.0
            if values.ndim == 4:
                values[variable.shape[0] // 2, variable.shape[1] // 2] = np.eye(variable.shape[-1])
        variable.assign(values.astype(variable.dtype))
