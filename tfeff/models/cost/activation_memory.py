"""Lifetimes of feature maps: which maps are in memory, and when.

A map is freed after its last use. In training, the maps that a layer's gradient reads are kept until the backward pass
reaches that layer. Lifetimes depend on the structure of the graph alone, not on the sizes of the maps.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from tfeff.models.layers.kinds import Reads


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
        number: the map's number. It recurs for the map's gradient, and for maps of the same size inside its layer.
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


def changes(intervals: Sequence[Interval]) -> tuple[int, ...]:
    """Returns the numbers of the maps in the order in which they enter memory (n) and leave it (~n).

    At each step, maps leave before others enter.
    """
    enter = [(interval.first, 1, interval.number) for interval in intervals]
    leave = [(interval.last + 1, 0, ~interval.number) for interval in intervals]
    return tuple(number for _, _, number in sorted(enter + leave))


def peak_of(changes: Sequence[int], sizes: Sequence[int]) -> int:
    """Returns the largest total size of live maps at any step, from `changes`; `sizes` has the size of each map."""
    signed = [*sizes, *[-size for size in reversed(sizes)]]  # the negative index ~n finds -sizes[n]
    return max(accumulate(map(signed.__getitem__, changes)))


def peak_size(intervals: Sequence[Interval], sizes: Sequence[int]) -> int:
    """Returns `peak_of` their changes."""
    return peak_of(changes(intervals), sizes)


def lifetimes(
    calls: Sequence[Call],
    *,
    inputs: Collection[int],
    outputs: Collection[int],
    kept: Collection[int] = (),
    held: Collection[int] = (),
) -> Lifetimes:
    """Computes the lifetimes of all maps of a forward and a backward pass through a graph.

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
    inside, working = list[tuple[int, int]](), list[tuple[int, int]]()
    for step, call in enumerate(calls, 1):
        born.update(dict.fromkeys(call.outputs, step))
        last_reader.update(dict.fromkeys(call.inputs, step))
        for number in call.inputs if call.reads.input else ():
            kept_from.setdefault(number, step)
        for number in call.outputs:
            if call.reads.output or number in kept:
                kept_from.setdefault(number, step)
            inside += [(number, step)] * call.reads.inside
            working += [(number, step)] * call.reads.working
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
    for number, step in working:
        forward.append(Interval(number, step, step))
        training += [Interval(number, each, each) for each in (step, backward - step)]
    return Lifetimes((*kept_from, *(number for number, _ in inside)), tuple(forward), tuple(training))
