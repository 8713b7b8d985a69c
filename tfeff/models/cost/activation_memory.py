"""Lifetimes of feature maps: which maps are in memory, and when.

A map is freed after its last use. In training, the maps that a layer's gradient reads are kept until the backward pass
reaches that layer. Lifetimes depend on the structure of the graph alone, not on the sizes of the maps.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import keras

from tfeff.models.layers.fusion import WeightedFusion
from tfeff.models.layers.nearest_upsampling import NearestUpsampling
from tfeff.models.layers.roi_align import RoIAlign
from tfeff.models.layers.stochastic_depth import StochasticDepth

L = keras.layers

# Layers whose output shares the memory of their input.
_VIEWS = (L.Reshape, L.Flatten, L.Identity, L.ActivityRegularization)
# Layers whose gradient reads neither input nor output: they are linear with constant factors or with their own mask.
_READS_NOTHING = (
    L.Activation,  # the gradient of its function is handled separately
    L.AdaptiveAveragePooling2D,
    L.Add,
    L.Average,
    L.AveragePooling2D,
    L.Concatenate,
    L.Cropping2D,
    L.Dropout,
    L.GlobalAveragePooling2D,
    NearestUpsampling,
    L.Permute,
    L.Rescaling,
    L.Resizing,
    RoIAlign,  # it reads the boxes, which are small
    L.SpatialDropout2D,
    StochasticDepth,
    L.Subtract,
    L.UpSampling2D,
    L.ZeroPadding2D,
)
_READS_INPUT = (
    L.BatchNormalization,
    L.Conv1D,
    L.Conv1DTranspose,
    L.Conv2D,
    L.Conv2DTranspose,
    L.Conv3D,
    L.Conv3DTranspose,
    L.Dense,
    L.DepthwiseConv1D,
    L.DepthwiseConv2D,
    L.EinsumDense,
    L.Embedding,
    L.GroupNormalization,
    L.LayerNormalization,
    L.LeakyReLU,
    L.Multiply,
    L.Normalization,
    L.PReLU,
    L.SeparableConv1D,
    L.SeparableConv2D,
    WeightedFusion,
)
_READS_OUTPUT = (L.ReLU, L.Softmax)
# Activations whose gradient is a function of their output. The gradients of all others read their input.
_ACTIVATIONS_READING_OUTPUT = {"relu", "relu6", "sigmoid", "softmax", "tanh"}


class Reads(NamedTuple):
    """Maps that the gradient of a layer reads.

    Attributes:
        input: whether it reads the inputs.
        output: whether it reads the outputs.
        inside: whether it reads a map inside the layer, of the size of its output: the input of its activation.
    """

    input: bool
    output: bool
    inside: bool = False


@cache
def reads(kind: type[keras.Operation], activation: str | None = None) -> Reads:
    """Look up what the gradient of a kind of layer reads. Unknown kinds are assumed to read input and output.

    Args:
        kind: class of the layer.
        activation: name of the layer's activation, if it has one.
    """
    if issubclass(kind, _READS_NOTHING):
        linear = Reads(False, False)
    elif issubclass(kind, _READS_OUTPUT):
        linear = Reads(False, True)
    else:
        linear = Reads(True, not issubclass(kind, _READS_INPUT))
    if activation in (None, "linear"):
        return linear
    if activation in _ACTIVATIONS_READING_OUTPUT:
        return linear._replace(output=True)
    return linear._replace(input=True) if issubclass(kind, L.Activation) else linear._replace(inside=True)


def is_view(kind: type[keras.Operation], activation: str | None = None) -> bool:
    """Whether the output of a layer shares the memory of its input."""
    return issubclass(kind, _VIEWS) or (issubclass(kind, L.Activation) and activation == "linear")


class Call(NamedTuple):
    """One call of a layer. Feature maps are identified by numbers.

    Attributes:
        inputs: maps that the layer reads.
        outputs: maps that it computes.
        reads: maps that its gradient reads.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    reads: Reads


class Interval(NamedTuple):
    """Steps during which a map is in memory.

    Attributes:
        number: of the map. It occurs again for the map's gradient, and for a map of the same size inside its layer.
        first: first step.
        last: last step, inclusive.
    """

    number: int
    first: int
    last: int


@dataclass(frozen=True)
class Lifetimes:
    """Maps in memory while a graph of n layers runs.

    Attributes:
        kept: maps that a training step keeps for its backward pass.
        forward: during a forward pass at inference. Layer i runs in step i, for i = 1, ..., n.
        training: during a forward pass and the backward pass after it. Layer i runs in step i, its gradient in step
            2 n + 1 - i.
    """

    kept: tuple[int, ...]
    forward: tuple[Interval, ...]
    training: tuple[Interval, ...]


def live_sizes(intervals: Sequence[Interval], sizes: Sequence[int]) -> list[int]:
    """Total size of the live maps at each step; `sizes` has the size of each map."""
    changes = [0] * (2 + max([interval.last for interval in intervals]))
    for number, first, last in intervals:
        changes[first] += sizes[number]
        changes[last + 1] -= sizes[number]
    return list(accumulate(changes))[:-1]


def peak_size(intervals: Sequence[Interval], sizes: Sequence[int]) -> int:
    """Largest total size of live maps at any step."""
    return max(live_sizes(intervals, sizes))


def lifetimes(
    calls: Sequence[Call],
    *,
    inputs: Collection[int],
    outputs: Collection[int],
    kept: Collection[int] = (),
    held: Collection[int] = (),
) -> Lifetimes:
    """Compute the lifetimes of all maps of a forward and a backward pass through a graph.

    The backward pass runs the layers in reverse order. The gradient of a map has the size of the map. It is allocated
    when the backward pass reaches the last layer that reads the map, and freed after the layer that computed the map.

    Args:
        calls: calls of the layers, in execution order.
        inputs: maps in memory at the start.
        outputs: maps in memory at the end.
        kept: inputs and outputs that are kept for the backward pass by layers outside `calls`.
        held: inputs that stay in memory throughout training.
    """
    born = dict.fromkeys(inputs, 0)
    kept_from = {number: 0 for number in kept if number in born}
    last_reader: dict[int, int] = {}
    inside: list[tuple[int, int]] = []
    for step, call in enumerate(calls, 1):
        born.update(dict.fromkeys(call.outputs, step))
        last_reader.update(dict.fromkeys(call.inputs, step))
        for number in call.inputs if call.reads.input else ():
            kept_from.setdefault(number, step)
        for number in call.outputs:
            if call.reads.output or number in kept:
                kept_from.setdefault(number, step)
            if call.reads.inside:
                inside.append((number, step))
    end = len(calls)
    backward = 2 * end + 1  # step `backward - i` runs the gradient of layer i
    last_use = {number: last_reader.get(number, first) for number, first in born.items()}
    last_use.update(dict.fromkeys(outputs, end))
    forward, training = [], []
    for number, first in born.items():
        forward.append(Interval(number, first, last_use[number]))
        last = last_use[number]
        if number in held:
            last = 2 * end
        elif number in kept_from:
            last = min(2 * end, backward - kept_from[number])
        training.append(Interval(number, first, last))
        if number in outputs:
            training.append(Interval(number, end + 1, min(2 * end, backward - first)))
        elif first or number in last_reader:
            training.append(Interval(number, backward - last_use[number], min(2 * end, backward - first)))
    training += [Interval(number, step, backward - step) for number, step in inside]
    return Lifetimes((*kept_from, *(number for number, _ in inside)), tuple(forward), tuple(training))
