"""Which block of a network corresponds to which block of another one with a different depth."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tfeff.models.graph import Node

_BLOCK = re.compile(r"stage(\d+)_block(\d+)_(\w+)")


@dataclass(frozen=True, eq=False)
class Segment:
    """Operations between two feature maps: what precedes the stages, a block, or what follows the stages.

    Attributes:
        stage, block: counted from 1; stage 0 precedes the stages, and one more than their number follows them.
        nodes: operations in the order of execution.
        input: name of the operation outside of the segment whose output it reads; None before the stages.
        output: name of the operation whose output the next segment reads.
    """

    stage: int
    block: int
    nodes: dict[str, Node]
    input: str | None
    output: str

    @property
    def reads(self) -> str:
        """Name of the operation whose output is its input; before the stages, that of the images."""
        return self.input or next(name for name, node in self.nodes.items() if not node.inputs)

    @property
    def name(self) -> str:
        """For people."""
        return f"stage{self.stage}_block{self.block}"


def segments_of(nodes: Mapping[str, Node]) -> list[Segment]:
    """The segments of a network whose blocks are named `stage<s>_block<b>_...`, in order."""
    places = dict[str, tuple[int, int]]()
    found = [_BLOCK.fullmatch(name) for name in nodes]
    after = 1 + max((int(match[1]) for match in found if match), default=0)
    for name, match in zip(nodes, found, strict=True):
        if match:
            places[name] = int(match[1]), int(match[2])
        else:
            follows = any(places[each] != (0, 1) for each in nodes[name].inputs)
            places[name] = (after, 1) if follows else (0, 1)
    segments, output = list[Segment](), None
    for stage, block in sorted(set(places.values())):
        inside = {name: node for name, node in nodes.items() if places[name] == (stage, block)}
        outside = [each for name, node in nodes.items() if name not in inside for each in node.inputs]
        last = next((name for name in reversed(inside) if name in outside), list(inside)[-1])
        segments.append(Segment(stage, block, inside, output, last))
        output = last
    return segments


def in_block(name: str, block: int) -> str:
    """The name of a layer in another block of its stage; other names stay."""
    match = _BLOCK.fullmatch(name)
    return f"stage{match[1]}_block{block}_{match[3]}" if match else name


@dataclass(frozen=True)
class Origin:
    """The blocks of the source that a block answers for.

    Attributes:
        first: the block with the same layers; of a new block, the one it is a copy of.
        last: the block whose output it should have.
        new: whether the block is additional: it starts as the identity.
    """

    first: int
    last: int
    new: bool = False


def origins(blocks: int, wanted: int, effects: Mapping[int, float]) -> list[Origin]:
    """The origin of each block of a stage.

    Of too many blocks, those with the least effects are dropped, and the block before answers for both. Additional
    blocks follow the last one. The first block, which changes shapes, is always kept.

    Args:
        blocks: number of blocks of the source.
        wanted: number of blocks of the new network.
        effects: relative change that each block after the first makes; needed if `wanted` is less than `blocks`.
    """
    if wanted >= blocks:
        kept = [Origin(block, block) for block in range(1, blocks + 1)]
        return kept + [Origin(blocks, blocks, new=True)] * (wanted - blocks)
    by_effect = sorted(range(2, blocks + 1), key=lambda block: (effects[block], -block))
    firsts = [block for block in range(1, blocks + 1) if block not in by_effect[: blocks - wanted]]
    return [Origin(first, after - 1) for first, after in zip(firsts, [*firsts[1:], blocks + 1], strict=True)]
