"""What a network inherits: the origin of each of its blocks and the encoding of each feature map."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.graph import Node, nodes_of
from tfeff.models.inheritance.blocks import Origin, Segment, in_block, is_stage, origins, paired, segments_of
from tfeff.models.inheritance.channels import Channels
from tfeff.models.inheritance.encoding import Encoding
from tfeff.models.inheritance.spaces import (
    LINEAR,
    Space,
    applications,
    channels_of,
    groups_of,
    maps_read,
    spaces_of,
)
from tfeff.models.inheritance.statistics import Statistics
from tfeff.models.network import Network
from tfeff.networks.heads import CLASSIFIER

L = keras.layers
_DENSE = re.compile(r"(\w+_predict|\w+_predict_pointwise|rpn_objectness|rpn_codes)(#\d+)?")
"""Predictions at every position, relative to anchors or cells."""
_OTHERS = re.compile(rf"({CLASSIFIER}|box_head_logits|box_head_codes)(#\d+)?")
_LEVEL = re.compile(r"neck_cell\d+_(p\d+)_")
_RESAMPLING = (L.MaxPooling2D, L.GlobalMaxPooling2D, L.Reshape)
_IDEMPOTENT = (keras.activations.linear, keras.activations.relu, keras.activations.relu6)


class Side:
    """A network as inheritance sees it.

    Attributes:
        nodes: operations by name, in the order of execution, without those that only arrange predictions.
        segments: the operations in segments, each after those whose outputs it reads.
        outputs: names of the outputs of each block, by (chain, block).
        blocks: number of blocks of each chain.
        applied: names of the applications of each layer, by its identity.
        spaces: channel space of each operation's output, by name.
    """

    def __init__(self, network: Network) -> None:
        nodes = nodes_of(network)
        readers = Counter(each for node in nodes.values() for each in node.inputs)
        for name in reversed(list(nodes)):
            if isinstance(nodes[name].layer, (L.Reshape, L.Concatenate)) and not readers[name]:
                readers.subtract(nodes.pop(name).inputs)
        self.nodes = nodes
        self.segments = segments_of(self.nodes)
        self.applied = applications(self.nodes)
        self.outputs = {(each.chain, each.block): each.outputs for each in self.segments if each.chain}
        self.blocks = Counter(chain for chain, _ in self.outputs)

    @cached_property
    def spaces(self) -> dict[str, Space]:
        """See the class.

        Raises:
            UserError: see `spaces_of`.
        """
        return spaces_of(self.nodes)


@dataclass(frozen=True, eq=False)
class Plan:
    """The correspondence of two networks. Operations are given by name.

    Attributes:
        source: the network that has weights.
        target: the one that inherits them.
        origins: what each of the target's blocks starts from, by (chain, block).
        counterparts: the operation of the source whose weights an operation of the target starts with.
        values: the operation of the source whose output, encoded, that of an operation of the target should equal.
        encodings: encoding of the output of each of the target's operations that has such a value.
        exact: the target's operations whose outputs are encodings of the source's, to rounding.
        new_predictions: whether predictions at every position are new, because they are relative to other anchors.
    """

    source: Side
    target: Side
    origins: dict[tuple[str, int], Origin]
    counterparts: dict[str, str]
    values: dict[str, str]
    encodings: dict[str, Encoding]
    exact: set[str]
    new_predictions: bool

    def origin(self, segment: Segment) -> Origin:
        """Returns what a segment of the target starts from."""
        return self.origins.get((segment.chain, segment.block), Origin(0, 0))


def make_plan(
    source: Side,
    target: Side,
    measured: Callable[[], Statistics],
    rng: np.random.Generator,
    *,
    new_predictions: bool = False,
) -> Plan:
    """Decides which blocks and channels to keep.

    Args:
        measured: returns the statistics of the source on images; called only if blocks or channels are lost.
        rng: chooses the channels that are repeated.
        new_predictions: see `Plan`.

    Raises:
        UserError: the networks are not of one family.
    """
    stages = [list(filter(is_stage, side.blocks)) for side in (source, target)]
    if sorted(stages[0]) != sorted(stages[1]):
        raise UserError(
            f"weights cannot be inherited from a network with {len(stages[0])} stages by one with {len(stages[1])}"
        )
    placed = dict[tuple[str, int], Origin]()
    for chain, wanted in target.blocks.items():
        effects = dict[int, float]()
        if wanted < source.blocks[chain]:
            effects = {block: effect for (each, block), effect in measured().effects.items() if each == chain}
        found = origins(source.blocks[chain], wanted, effects)
        placed.update({(chain, block): origin for block, origin in enumerate(found, 1)})
    plan = Plan(source, target, placed, {}, {}, {}, set(), new_predictions)
    for segment in target.segments:
        if plan.origin(segment).new and not segment.is_residual:
            _passed_on(plan, segment)
        else:
            _corresponding(plan, segment)
    channels = Channels(source.nodes, source.spaces, _groups(plan), measured, rng)
    for name, value in plan.values.items():
        plan.encodings[name] = channels.encoding(value, channels_of(target.nodes, name))
    for segment in target.segments:
        _find_exact(plan, segment)
    return plan


def _corresponding(plan: Plan, segment: Segment) -> None:
    """Adds counterparts and values of a segment's operations whose layers the source has."""
    source, nodes, origin = plan.source, segment.nodes, plan.origin(segment)
    if origin.new and origin.first == 1:  # whose layers have other shapes
        (output,) = segment.outputs
        plan.values[output] = plan.values[segment.inputs[-1]]
        return
    for name, node in nodes.items():
        theirs = in_block(name, origin.first) if segment.chain else name
        if theirs in source.nodes:
            _require_alike(name, node.layer, source.nodes[theirs].layer)
        if _is_inherited(plan, theirs, name):
            plan.counterparts[name] = plan.values[name] = theirs
        elif theirs not in source.nodes:  # such as a shortcut between widths that differ in the source
            inside = [each for each in node.inputs if each in nodes] or node.inputs
            if inside[-1] in plan.values:
                plan.values[name] = plan.values[inside[-1]]
    if not segment.chain:
        return
    if origin.new:
        (output,) = segment.outputs
        pairs = {output: plan.values[next(each for each in segment.inputs if each in plan.values)]}
    else:
        pairs = paired(segment.outputs, source.outputs[segment.chain, origin.last])
    for name, value in pairs.items():
        plan.values[name] = value
        while not isinstance(nodes[name].layer, LINEAR) and nodes[name].inputs[-1] in nodes:
            before = nodes[name].inputs[-1]  # in the channels of the output
            if before in plan.values and source.spaces[plan.values[before]] is not source.spaces[value]:
                theirs = in_block(plan.values[before], origin.last)
                plan.values[before] = theirs if theirs in source.nodes else value
            name = before


def _passed_on(plan: Plan, segment: Segment) -> None:
    """Adds the values of the operations of an additional block of a neck or a head: those that it reads."""
    outputs = plan.target.outputs[segment.chain, segment.block - 1] if segment.block > 1 else segment.inputs
    levels = {match[1]: name for name in outputs if (match := _LEVEL.match(name))}
    for name, node in segment.nodes.items():
        read = maps_read(node)
        level = _LEVEL.match(name)
        if len(read) == 1 and not isinstance(node.layer, _RESAMPLING) and node.shape[1:3] == _size(plan, read[0]):
            plan.values[name] = plan.values[read[0]]
        elif level and level[1] in levels:
            plan.values[name] = plan.values[levels[level[1]]]
        elif read[0] in plan.values:
            plan.values[name] = plan.values[read[0]]


def _size(plan: Plan, name: str) -> tuple[int | None, ...]:
    return plan.target.nodes[name].shape[1:3]


def _is_inherited(plan: Plan, theirs: str, name: str) -> bool:
    """Returns whether an operation has a counterpart. Predictions of other classes or anchors have none."""
    if theirs not in plan.source.nodes or (plan.new_predictions and _DENSE.fullmatch(name)):
        return False
    classes = [channels_of(side.nodes, each) for side, each in ((plan.source, theirs), (plan.target, name))]
    return not is_prediction(name) or classes[0] == classes[1]


def _require_alike(name: str, ours: keras.Operation, theirs: keras.Operation) -> None:
    """Raises UserError if a layer of the target computes something else than its counterpart."""
    if not hasattr(ours, "activation"):
        return
    for key in ("kernel_size", "strides", "activation"):
        here, there = (getattr(layer, key, None) for layer in (ours, theirs))
        if here != there:
            what = " instead of ".join(str(getattr(each, "__name__", each)) for each in (here, there))
            raise UserError(f"weights cannot be inherited through {name}: {key} {what}")


def _groups(plan: Plan) -> dict[str, int]:
    """Returns the number of groups that the target has of each of the source's convolutions in groups, by its name.

    Raises:
        UserError: only one of the networks has groups.
    """
    groups = dict[str, int]()
    for name, theirs in plan.counterparts.items():
        ours, before = (groups_of(each.layer) for each in (plan.target.nodes[name], plan.source.nodes[theirs]))
        if (ours == 1) != (before == 1):
            raise UserError(f"weights cannot be inherited through {name}: {ours} groups instead of {before}")
        if ours > 1:
            groups[theirs] = ours
    return groups


def _find_exact(plan: Plan, segment: Segment) -> None:
    """Adds the operations of a segment of the target whose outputs are encodings of the source's."""
    if plan.origin(segment).new and segment.is_residual:
        if plan.exact.issuperset(segment.inputs):
            plan.exact.update(segment.nodes)
        return
    for name, node in segment.nodes.items():
        if name in plan.values and plan.exact.issuperset(node.inputs):
            is_same = _computes_the_same if name in plan.counterparts else _passes_on
            if is_same(plan, name, node):
                plan.exact.add(name)


def _computes_the_same(plan: Plan, name: str, node: Node) -> bool:
    """Returns whether an operation on the same inputs as its counterpart has the same output."""
    theirs, mine = plan.source.nodes[plan.counterparts[name]], plan.encodings[name]
    if (
        plan.values[name] != plan.counterparts[name]
        or tuple(plan.values[each] for each in node.inputs) != theirs.inputs
    ):
        return False
    if isinstance(node.layer, LINEAR):
        return mine.index is not None and plan.encodings[node.inputs[0]].lossless
    return not isinstance(node.layer, L.LayerNormalization) or _is_even(mine)


def _passes_on(plan: Plan, name: str, node: Node) -> bool:
    """Returns whether an operation that the source lacks can be the identity."""
    if len(node.inputs) != 1 or plan.values[name] != plan.values[node.inputs[0]]:
        return False
    if isinstance(node.layer, LINEAR) and not plan.encodings[node.inputs[0]].lossless:
        return False
    if not isinstance(node.layer, (*LINEAR, L.Activation, L.BatchNormalization, L.DepthwiseConv2D)):
        return False
    function = getattr(node.layer, "activation", keras.activations.linear)
    theirs = plan.source.nodes[plan.values[name]].layer
    return function is keras.activations.linear or (
        function in _IDEMPOTENT and getattr(theirs, "activation", None) is function
    )


def _is_even(encoding: Encoding) -> bool:
    """Returns whether every channel occurs equally often, so that their mean and variance are the same."""
    assert encoding.index is not None
    counts = np.bincount(encoding.index, minlength=len(encoding.encode))
    return bool(counts.min() == counts.max())


def dropped(plan: Plan) -> tuple[str, ...]:
    """Returns names of the source's blocks that the target does not have."""
    kept = {(chain, origin.first) for (chain, _), origin in plan.origins.items()}
    return tuple(
        block_name(chain, block)
        for chain, blocks in plan.source.blocks.items()
        for block in range(1, blocks + 1)
        if (chain, block) not in kept
    )


def added(plan: Plan) -> dict[str, bool]:
    """Returns names of the target's blocks that the source does not have, and whether each is the identity."""
    return {
        block_name(segment.chain, segment.block): segment.is_residual or plan.exact.issuperset(segment.outputs)
        for segment in plan.target.segments
        if plan.origin(segment).new
    }


def block_name(chain: str, block: int) -> str:
    """Returns the name of a block for people."""
    return f"{chain}_block{block}"


def is_prediction(name: str) -> bool:
    """Returns whether an operation computes predictions."""
    return (_DENSE.fullmatch(name) or _OTHERS.fullmatch(name)) is not None
