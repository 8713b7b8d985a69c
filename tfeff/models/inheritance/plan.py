"""What a network inherits: the origin of each of its blocks and the encoding of each feature map."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.graph import Node, nodes_of
from tfeff.models.inheritance.blocks import Origin, Segment, in_block, origins, segments_of
from tfeff.models.inheritance.encoding import Encoding, chosen, identity, principal, repeated
from tfeff.models.inheritance.spaces import LINEAR, Space, readers_kernel, spaces_of
from tfeff.models.inheritance.statistics import Statistics
from tfeff.models.network import Network
from tfeff.networks.heads import CLASSIFIER

L = keras.layers


class Side:
    """A network as inheritance sees it.

    Attributes:
        nodes: operations by name, in the order of execution.
        segments: between feature maps, in order.
        blocks: number of blocks of each stage.
        spaces: of the outputs of the operations, by name.
    """

    def __init__(self, network: Network) -> None:
        self.nodes = nodes_of(network)
        self.segments = segments_of(self.nodes)
        last = self.segments[-1].stage
        stages = [each.stage for each in self.segments if 0 < each.stage < last]
        self.blocks = {stage: stages.count(stage) for stage in dict.fromkeys(stages)}

    @cached_property
    def spaces(self) -> dict[str, Space]:
        """See the class.

        Raises:
            UserError: see `spaces_of`.
        """
        return spaces_of(self.nodes)

    def block(self, stage: int, block: int) -> Segment:
        """A segment by its place."""
        return next(each for each in self.segments if (each.stage, each.block) == (stage, block))


@dataclass(frozen=True, eq=False)
class Plan:
    """The correspondence of two networks.

    Attributes:
        source: the network that has weights.
        target: the one that inherits them.
        origins: of the target's blocks, by (stage, block).
        encodings: of the output of each of the target's operations that the source has, too.
        exact: names of the target's operations whose outputs are encodings of the source's, to rounding.
    """

    source: Side
    target: Side
    origins: dict[tuple[int, int], Origin]
    encodings: dict[str, Encoding]
    exact: frozenset[str]

    def origin(self, segment: Segment) -> Origin:
        """Of a segment of the target."""
        return self.origins.get((segment.stage, segment.block), Origin(1, 1))

    def theirs(self, segment: Segment, name: str) -> str:
        """The name, in the source, of an operation of the target."""
        return in_block(name, self.origin(segment).first)


def loses(source: Side, target: Side) -> bool:
    """Whether the target has fewer channels or blocks than the source anywhere, so that images are needed."""
    if any(target.blocks.get(stage, 0) < blocks for stage, blocks in source.blocks.items()):
        return True
    return any(
        space.channels > target.nodes[name].layer.output.shape[-1]
        for name, space in source.spaces.items()
        if name in target.nodes and _is_inherited(source, target, name, name)
    )


def make_plan(source: Side, target: Side, statistics: Statistics | None, rng: np.random.Generator) -> Plan:
    """Decide which blocks and channels to keep.

    Args:
        statistics: of the source on images; needed if the target `loses` anything.
        rng: chooses the channels that are repeated.

    Raises:
        UserError: the networks are not of one family.
    """
    if source.blocks.keys() != target.blocks.keys():
        raise UserError(
            f"weights cannot be inherited from a network with {len(source.blocks)} stages by one with "
            f"{len(target.blocks)}"
        )
    effects = {} if statistics is None else statistics.effects
    placed = {
        (stage, block): origin
        for stage, blocks in source.blocks.items()
        for block, origin in enumerate(
            origins(blocks, target.blocks[stage], {b: e for (s, b), e in effects.items() if s == stage}), start=1
        )
    }
    encodings, known = dict[str, Encoding](), dict[tuple[Space, int], Encoding]()
    plan = Plan(source, target, placed, encodings, frozenset())
    for segment in target.segments:
        if plan.origin(segment).new and plan.origin(segment).first == 1:  # whose layers have other shapes
            assert segment.input is not None
            encodings[segment.output] = encodings[segment.input]
            continue
        for name, node in segment.nodes.items():
            theirs = plan.theirs(segment, name)
            if not _is_inherited(source, target, theirs, name):
                if not isinstance(node.layer, LINEAR):  # such as a shortcut between widths that differ in the source
                    inside = [each for each in node.inputs if each in segment.nodes] or node.inputs
                    encodings[name] = encodings[inside[-1]]
                continue
            space, wanted = source.spaces[theirs], node.layer.output.shape[-1]
            if (space, wanted) not in known:
                known[space, wanted] = _encoding(source.nodes, space, wanted, statistics, rng)
            encodings[name] = known[space, wanted]
    return Plan(source, target, placed, encodings, frozenset(_exact(plan)))


def _is_inherited(source: Side, target: Side, theirs: str, name: str) -> bool:
    """Whether an operation has a counterpart. A classifier of other classes has none."""
    if theirs not in source.nodes:
        return False
    classes = [side.nodes[each].layer.output.shape[-1] for side, each in ((source, theirs), (target, name))]
    return name != CLASSIFIER or classes[0] == classes[1]


def _encoding(
    nodes: Mapping[str, Node], space: Space, wanted: int, statistics: Statistics | None, rng: np.random.Generator
) -> Encoding:
    if wanted == space.channels:
        return identity(wanted)
    if wanted > space.channels:
        return repeated(space.channels, wanted, rng)
    assert statistics is not None
    covariance, kernels = np.zeros((space.channels,) * 2), []
    for name in space.readers:
        own, kernel = statistics.covariances[name], readers_kernel(nodes[name].layer)
        variance = np.einsum("co,cd,do->", kernel, own, kernel, optimize=True)
        kernels.append(kernel / np.sqrt(max(variance, 1e-12)))  # all readers matter alike
        covariance += own / len(space.readers)
    readers = np.concatenate(kernels, axis=1)
    return (principal if space.any_basis else chosen)(covariance, readers, wanted)


def _exact(plan: Plan) -> set[str]:
    """Operations of the target whose outputs are encodings of the source's."""
    exact = set[str]()
    for segment in plan.target.segments:
        origin = plan.origin(segment)
        if origin.new:
            if segment.input in exact:
                exact.update(segment.nodes)
            continue
        for name, node in segment.nodes.items():
            if name not in plan.encodings or not all(each in exact for each in node.inputs):
                continue
            mine = plan.encodings[name]
            if isinstance(node.layer, LINEAR) and (mine.index is None or not plan.encodings[node.inputs[0]].lossless):
                continue
            if isinstance(node.layer, L.LayerNormalization) and not _is_even(mine):
                continue
            theirs = plan.source.nodes.get(plan.theirs(segment, name))
            if name == segment.output and segment.stage in plan.target.blocks:
                block = plan.source.block(segment.stage, origin.last)
                if plan.theirs(segment, name) != block.output:  # of a later block, or with a shortcut more
                    continue
            if (1 if theirs is None else len(theirs.inputs)) == len(node.inputs):
                exact.add(name)
    return exact


def _is_even(encoding: Encoding) -> bool:
    """Whether every channel occurs equally often, so that their mean and variance are the same."""
    assert encoding.index is not None
    counts = np.bincount(encoding.index, minlength=len(encoding.encode))
    return bool(counts.min() == counts.max())
