"""Lifetimes of feature maps: which maps are in memory, and when.

A map is freed after its last use. In training, the maps that a layer's gradient reads are kept until the backward pass
reaches that layer. Lifetimes depend on the structure of the graph alone, not on the sizes of the maps.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import keras

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
    L.Permute,
    L.Rescaling,
    L.Resizing,
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


LiveMaps = tuple[int, ...]
"""Maps that are in memory at the same time. A number occurs again for the map's gradient and for a map of the same size
inside its layer."""


@dataclass(frozen=True)
class Lifetimes:
    """Maps in memory while a graph runs.

    Attributes:
        kept: maps that a training step keeps for its backward pass.
        forward: live maps at each step of a forward pass at inference.
        training: live maps at each step of a forward pass and the backward pass after it.
    """

    kept: LiveMaps
    forward: tuple[LiveMaps, ...]
    training: tuple[LiveMaps, ...]

    def without_subsets(self) -> "Lifetimes":
        """Remove steps whose live maps are a subset of those of another step."""
        return Lifetimes(self.kept, _maximal(self.forward), _maximal(self.training))


def peak_size(steps: Sequence[LiveMaps], sizes: Sequence[int]) -> int:
    """Largest total size of live maps at any step; `sizes` has the size of each map."""
    size_of = sizes.__getitem__
    return max([sum(map(size_of, live)) for live in steps])


def lifetimes(
    calls: Sequence[Call],
    *,
    inputs: Collection[int],
    outputs: Collection[int],
    kept: Collection[int] = (),
    held: Collection[int] = (),
) -> Lifetimes:
    """Simulate a forward and a backward pass through a graph.

    The backward pass runs the layers in reverse order. The gradient of a map has the size of the map. It is allocated
    when the backward pass reaches the last layer that reads the map, and freed after the layer that computed the map.

    Args:
        calls: calls of the layers, in execution order.
        inputs: maps in memory at the start.
        outputs: maps in memory at the end.
        kept: inputs and outputs that are kept for the backward pass by layers outside `calls`.
        held: inputs that stay in memory throughout training.
    """
    last_reader = {number: step for step, call in enumerate(calls) for number in call.inputs}
    last_reader.update((number, len(calls)) for number in outputs)
    kept_by_now = [{number for number in kept if number in inputs}]
    inside: list[LiveMaps] = [()]
    alive = set(inputs)
    forward = [tuple(alive)]
    training = [(*alive, *(kept_by_now[0] - alive))]
    for step, call in enumerate(calls):
        read = (*(call.inputs if call.reads.input else ()), *(call.outputs if call.reads.output else ()))
        kept_by_now.append(kept_by_now[-1].union(read, (number for number in call.outputs if number in kept)))
        inside.append(inside[-1] + call.outputs if call.reads.inside else inside[-1])
        alive.update(call.outputs)
        forward.append(tuple(alive))
        training.append((*alive.union(kept_by_now[-1], held), *inside[-1]))
        alive = {number for number in alive if last_reader.get(number, -1) > step}
    gradients = set(outputs)
    for call, needed, within in zip(reversed(calls), reversed(kept_by_now), reversed(inside), strict=False):
        gradients.update(call.inputs, call.outputs)
        training.append((*needed.union(held), *within, *gradients))
        gradients.difference_update(call.outputs)
    return Lifetimes((*kept_by_now[-1], *inside[-1]), tuple(forward), tuple(training))


def _maximal(steps: Sequence[LiveMaps]) -> tuple[LiveMaps, ...]:
    maximal: list[Counter[int]] = []
    for live in sorted(map(Counter, steps), key=Counter.total, reverse=True):
        if not any(live <= other for other in maximal):
            maximal.append(live)
    return tuple(tuple(live.elements()) for live in maximal)
