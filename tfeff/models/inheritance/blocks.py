"""Which block of a network corresponds to which block of another one with a different depth.

Blocks that follow each other form a chain: a stage of the backbone, the cells of a neck, the hidden layers of a head.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tfeff.models.graph import Node
from tfeff.networks.heads import ONE_TO_MANY

_BLOCK = re.compile(
    rf"(?P<chain>stage\d+_block|neck_cell|(?:(?:{ONE_TO_MANY})?(?:class|box)_head|cells|rpn)_conv|box_head_fc)"
    r"(?P<block>\d+)(?P<rest>.*)"
)
_STAGE = re.compile(r"stage\d+")


@dataclass(frozen=True, eq=False)
class Segment:
    """Operations that are applied one after the other: a block, or what follows a block and belongs to none.

    Attributes:
        chain: name of the chain, such as "stage3", "neck" or "class_head"; empty if it is no block.
        block: number in the chain, counted from 1; 0 if it is no block.
        nodes: operations in the order of execution.
        outputs: names of the operations that other segments read, or that nothing reads.
    """

    chain: str
    block: int
    nodes: dict[str, Node]
    outputs: tuple[str, ...]

    @property
    def is_residual(self) -> bool:
        """Whether it is a block of a backbone."""
        return is_stage(self.chain)

    @property
    def inputs(self) -> list[str]:
        """Names of the operations outside of the segment whose outputs it reads."""
        read = [each for node in self.nodes.values() for each in node.inputs]
        return list(dict.fromkeys(each for each in read if each not in self.nodes))


def is_stage(chain: str) -> bool:
    """Returns whether a chain is a stage of a backbone."""
    return _STAGE.fullmatch(chain) is not None


def place(name: str) -> tuple[str, int]:
    """Returns the chain and number of the block that an operation belongs to; ("", 0) if it belongs to none."""
    match = _BLOCK.fullmatch(name)
    return (match["chain"].rpartition("_")[0], int(match["block"])) if match else ("", 0)


def in_block(name: str, block: int) -> str:
    """Returns the name of a layer in another block of its chain; other names stay."""
    match = _BLOCK.fullmatch(name)
    return f"{match['chain']}{block}{match['rest']}" if match else name


def segments_of(nodes: Mapping[str, Node]) -> list[Segment]:
    """Returns the segments of a network, each after those whose outputs it reads."""
    places = {name: place(name) for name in nodes}
    nearest, needs = dict[str, set[tuple[str, int]]](), dict[tuple[str, int], set[tuple[str, int]]]()
    for name, node in nodes.items():
        before = set().union(*(nearest[each] for each in node.inputs))
        own = places[name]
        if own[0]:
            needs.setdefault(own, set()).update(before - {own})
            before = {own}
        nearest[name] = before
    rank = dict[tuple[str, int], int]()
    while len(rank) < len(needs):
        ready = [each for each, others in needs.items() if each not in rank and others <= rank.keys()]
        rank.update({each: number for number, each in enumerate(ready, len(rank))})
    groups = dict[tuple[int, bool], dict[str, Node]]()
    for name, node in nodes.items():
        follows = max((rank[each] for each in nearest[name]), default=-1)
        groups.setdefault((follows, not places[name][0]), {})[name] = node
    readers = dict[str, set[str]]()
    for name, node in nodes.items():
        for each in node.inputs:
            readers.setdefault(each, set()).add(name)
    segments = list[Segment]()
    for _, inside in sorted(groups.items(), key=lambda item: item[0]):
        outputs = tuple([name for name in inside if not readers.get(name) or not readers[name] <= inside.keys()])
        segments.append(Segment(*places[next(iter(inside))], inside, outputs))
    return segments


def last_reads(segments: list[Segment]) -> list[set[str]]:
    """Returns, for each segment, the names of the operations whose outputs are still needed after it."""
    alive, found = set[str](), list[set[str]]()
    for segment in reversed(segments):
        found.append(set(alive))
        alive |= set(segment.inputs)
    return found[::-1]


def paired(ours: Iterable[str], theirs: Iterable[str]) -> dict[str, str]:
    """Returns the outputs of a block, and the corresponding ones of another block of its chain."""
    ours, theirs = list(ours), list(theirs)
    if len(ours) == len(theirs) == 1:
        return dict(zip(ours, theirs, strict=True))
    known = {in_block(name, 0): name for name in theirs}
    return {name: known[in_block(name, 0)] for name in ours if in_block(name, 0) in known}


@dataclass(frozen=True)
class Origin:
    """The blocks of the source that a block answers for.

    Attributes:
        first: the block with the same layers; of a new block, the one before it. 0 if the source has none.
        last: the block whose output it should have.
        new: whether the block is additional: it passes on its input.
    """

    first: int
    last: int
    new: bool = False


def origins(blocks: int, wanted: int, effects: Mapping[int, float]) -> list[Origin]:
    """Returns the origin of each block of a chain.

    Of too many blocks, those with the least effects are dropped, and the block before answers for both. Additional
    blocks follow the last one. The first block, which changes shapes, is kept, unless none is wanted.

    Args:
        blocks: number of blocks of the source.
        wanted: number of blocks of the new network.
        effects: relative change that each block after the first makes; needed if `wanted` is less than `blocks`.
    """
    if wanted == 0:
        return []
    if wanted >= blocks:
        kept = [Origin(block, block) for block in range(1, blocks + 1)]
        return kept + [Origin(blocks, blocks, new=True)] * (wanted - blocks)
    by_effect = sorted(range(2, blocks + 1), key=lambda block: (effects[block], -block))
    firsts = [block for block in range(1, blocks + 1) if block not in by_effect[: blocks - wanted]]
    return [Origin(first, after - 1) for first, after in zip(firsts, [*firsts[1:], blocks + 1], strict=True)]
