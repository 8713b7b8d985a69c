"""Which feature maps a network holds in memory, and when.

A map is freed after its last reader; in training, what a layer's gradient reads is kept until the backward pass has
come to that layer. Both follow from the form of the graph, so that graphs of one form share the answer, whatever their
sizes.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import keras

from tfeff.models.layers.stochastic_depth import StochasticDepth

L = keras.layers

# Whose output is its input under another name.
_VIEWS = (L.Reshape, L.Flatten, L.Identity, L.ActivityRegularization)
# Whose gradient reads neither input nor output: linear with constant factors, or with a mask of its own.
_READS_NOTHING = (
    L.Activation,  # apart from its function
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
# Activations whose gradient is a function of their output; that of all others reads their input.
_ACTIVATIONS_READING_OUTPUT = {"relu", "relu6", "sigmoid", "softmax", "tanh"}


class Reads(NamedTuple):
    """What a layer's gradient reads.

    Attributes:
        input: the layer's inputs.
        output: the layer's outputs.
        inside: a map inside the layer, of its output's size: the input of an activation that is part of it.
    """

    input: bool
    output: bool
    inside: bool = False


@cache
def reads(kind: type[keras.Operation], activation: str | None = None) -> Reads:
    """What the gradient of a layer of this kind reads; kinds not known here count as reading input and output.

    Args:
        kind: class of the layer.
        activation: name of the activation in it, if any.
    """
    if issubclass(kind, _READS_NOTHING):
        own = Reads(False, False)
    elif issubclass(kind, _READS_OUTPUT):
        own = Reads(False, True)
    else:
        own = Reads(True, not issubclass(kind, _READS_INPUT))
    if activation in (None, "linear"):
        return own
    if activation in _ACTIVATIONS_READING_OUTPUT:
        return own._replace(output=True)
    return own._replace(input=True) if issubclass(kind, L.Activation) else own._replace(inside=True)


def is_view(kind: type[keras.Operation], activation: str | None = None) -> bool:
    """Whether a layer's output is its input under another name."""
    return issubclass(kind, _VIEWS) or (issubclass(kind, L.Activation) and activation == "linear")


class Call(NamedTuple):
    """One run of one layer; feature maps are numbers.

    Attributes:
        inputs: maps that it reads.
        outputs: maps that it makes.
        reads: what its gradient reads.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    reads: Reads


Moment = tuple[int, ...]
"""Maps in memory at one time; a map stands there once more for its gradient, or for a map of its size in its layer."""


@dataclass(frozen=True)
class Lifetimes:
    """What is in memory while a graph runs.

    Attributes:
        kept: maps that a training step keeps for its backward pass, in the sense of a moment.
        forward: moments of a forward pass alone.
        training: moments of a forward pass that keeps and of the backward pass after it.
    """

    kept: Moment
    forward: tuple[Moment, ...]
    training: tuple[Moment, ...]

    def without_lesser(self) -> "Lifetimes":
        """The same without the moments all of whose maps are in memory at another moment too."""
        return Lifetimes(self.kept, _greatest(self.forward), _greatest(self.training))


def most(moments: Sequence[Moment], sizes: Sequence[int]) -> int:
    """The largest sum of sizes, by number of the map, in memory at once."""
    size_of = sizes.__getitem__
    return max([sum(map(size_of, moment)) for moment in moments])


def lifetimes(
    calls: Sequence[Call],
    *,
    inputs: Collection[int],
    outputs: Collection[int],
    kept: Collection[int] = (),
    held: Collection[int] = (),
) -> Lifetimes:
    """Follow the maps of a graph through a forward and a backward pass.

    Layers run in the order of `calls`, and backwards in the opposite one. A gradient has the size of its map and is in
    memory from the first of the map's readers that is run backwards until the layer that made the map is.

    Args:
        calls: in the order in which they run.
        inputs: maps that are there at the start.
        outputs: maps that are there at the end.
        kept: inputs and outputs that something else than these calls keeps.
        held: inputs that stay throughout training.
    """
    last_reader = {number: step for step, call in enumerate(calls) for number in call.inputs}
    last_reader.update((number, len(calls)) for number in outputs)
    kept_by_now = [{number for number in kept if number in inputs}]
    inside: list[Moment] = [()]
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


def _greatest(moments: Sequence[Moment]) -> tuple[Moment, ...]:
    greatest: list[Counter[int]] = []
    for moment in sorted(map(Counter, moments), key=Counter.total, reverse=True):
        if not any(moment <= other for other in greatest):
            greatest.append(moment)
    return tuple(tuple(moment.elements()) for moment in greatest)
