"""Sets the weights of a network to those of the source in its own channels.

Where all channels of an input are kept, the layer then computes what it computed in the source. Elsewhere, the weights
are the starting point of a regression.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfeff.models.graph import Node
from tfeff.models.inheritance.blocks import Segment
from tfeff.models.inheritance.encoding import Encoding
from tfeff.models.inheritance.plan import Plan
from tfeff.models.inheritance.spaces import LINEAR
from tfeff.models.layers.residual import LayerScale, StochasticDepth

L = keras.layers


def normalization_after(nodes: Mapping[str, Node], name: str) -> str | None:
    """The batch normalization that reads a linear layer; None if there is none."""
    return next(
        (
            each
            for each, node in nodes.items()
            if node.inputs == (name,) and isinstance(node.layer, L.BatchNormalization)
        ),
        None,
    )


def affine(nodes: Mapping[str, Node], name: str) -> tuple[np.ndarray, np.ndarray]:
    """A linear layer and the batch normalization that reads it as one map, without the layer's activation.

    Returns:
        float64 kernel (taps, inputs, outputs) and bias (outputs,).
    """
    layer = nodes[name].layer
    kernel = array(layer.kernel)
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    bias = array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1])
    follower = normalization_after(nodes, name)
    if follower is not None:
        norm = nodes[follower].layer
        scale = array(norm.gamma) / np.sqrt(array(norm.moving_variance) + norm.epsilon)
        kernel, bias = kernel * scale, (bias - array(norm.moving_mean)) * scale + array(norm.beta)
    return kernel, bias


def array(variable: Any) -> np.ndarray:
    """A variable as float64."""
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)


def copy_weights(plan: Plan, rng: np.random.Generator) -> None:
    """Set all weights of the target that the source has, too, and make its additional blocks the identity.

    Args:
        rng: divides kernels among repeated channels unevenly, so that these do not learn the same.
    """
    for segment in plan.target.segments:
        for name, node in segment.nodes.items():
            theirs = plan.source.nodes.get(plan.theirs(segment, name))
            if name in plan.encodings and node.layer.weights and theirs is not None:
                reads = plan.encodings.get(node.inputs[0])
                _copy(node.layer, theirs.layer, reads, plan.encodings[name], rng)
        if plan.origin(segment).new:
            _make_identity(segment)


def _copy(
    layer: keras.Layer, source: keras.Layer, reads: Encoding | None, makes: Encoding, rng: np.random.Generator
) -> None:
    for variable, theirs in zip(layer.weights, source.weights, strict=True):
        values = array(theirs)
        if isinstance(layer, LINEAR):
            if variable is layer.kernel and reads is not None:
                values = _reading(values, reads, rng)
            values = values @ makes.encode
        elif isinstance(layer, L.DepthwiseConv2D) and values.ndim == 4:
            values = _fitted_window(values[:, :, makes.index], variable.shape[:2])
        elif makes.index is not None:
            values = values[makes.index]
        else:
            continue  # batch normalization in another basis: a regression sets it
        variable.assign(values.astype(variable.dtype))


def _reading(kernel: np.ndarray, reads: Encoding, rng: np.random.Generator) -> np.ndarray:
    """A kernel (..., C, outputs) that reads encoded channels."""
    index = reads.index
    if index is None or not reads.lossless:
        return np.einsum("...co,dc->...do", kernel, reads.decode)
    counts = np.bincount(index, minlength=len(reads.encode))
    shares = np.where(counts[index, None] > 1, rng.uniform(0.5, 1.5, (len(index), kernel.shape[-1])), 1.0)
    totals = np.zeros((len(counts), kernel.shape[-1]))
    np.add.at(totals, index, shares)
    return kernel[..., index, :] * (shares / totals[index])


def _fitted_window(kernel: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The center of a larger depthwise kernel, or a smaller one between zeros."""
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
    """Make a block compute its input.

    The last layer of a residual branch becomes 0. In a block without a shortcut, every layer becomes the identity,
    which its activations keep: its input has passed through the same one.
    """
    add = next((node for node in segment.nodes.values() if isinstance(node.layer, L.Add)), None)
    if add is None:
        for node in segment.nodes.values():
            _set_identity(node.layer)
        return
    name = next(each for each in add.inputs if each != segment.input)
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
