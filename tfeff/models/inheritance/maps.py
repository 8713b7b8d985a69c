"""Feature maps of both networks while one is fitted to the other: what is computed when, and how long it is kept."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tfeff.models.graph import Node
from tfeff.models.inheritance import sampling
from tfeff.models.inheritance.plan import Plan

_KEPT_BYTES = 512 * 2**20  # of feature maps of one segment


def source_steps(plan: Plan) -> list[tuple[dict[str, Node], set[str]]]:
    """Returns the operations of the source that compute what each segment of the target is compared with.

    The names of those whose outputs are needed after the segment are returned, too.
    """
    nodes, done, steps = plan.source.nodes, set[str](), list[dict[str, Node]]()
    reads = list[set[str]]()
    for segment in plan.target.segments:
        wanted = set[str]()
        for name in segment.nodes:
            value, counterpart = plan.values.get(name), plan.counterparts.get(name)
            for each in (value, counterpart):
                if each is not None:
                    wanted.update((each, *nodes[each].inputs))
                    wanted.update(other for one in nodes[each].inputs for other in nodes[one].inputs)
        needed = wanted - done
        for name in reversed(list(nodes)):
            if name in needed:
                needed.update(each for each in nodes[name].inputs if each not in done)
        step = {name: node for name, node in nodes.items() if name in needed}
        steps.append(step)
        reads.append(wanted | {each for node in step.values() for each in node.inputs})
        done |= needed
    after, kept = set[str](), list[set[str]]()
    for names in reversed(reads):
        kept.append(set(after))
        after |= names
    return list(zip(steps, kept[::-1], strict=True))


class Maps:
    """Feature maps of a segment of a network, part by part of the images.

    They are kept if they fit into memory, and otherwise computed each time.

    Args:
        nodes: the operations of the segment.
        inputs: known maps of each part, by name.
    """

    def __init__(self, nodes: Mapping[str, Node], inputs: list[dict[str, Any]]) -> None:
        self._nodes = nodes
        images = sum(len(next(iter(part.values()))) for part in inputs)
        size = sum(4 * images * math.prod(side or 1 for side in node.shape[1:]) for node in nodes.values())
        self._keep, self._known = size <= _KEPT_BYTES, [dict(part) for part in inputs]

    def __len__(self) -> int:
        return len(self._known)

    def part(self, number: int, names: Iterable[str]) -> dict[str, Any]:
        """Returns the maps of a part that have these names, and others."""
        known = self._known[number] if self._keep else dict(self._known[number])
        sampling.run(self._nodes, known, names)
        return known

    def changed(self, names: Iterable[str]) -> None:
        """Forgets the outputs of operations whose weights have changed, and all that depends on them."""
        stale = set(names)
        for each, node in self._nodes.items():
            if not stale.isdisjoint(node.inputs):
                stale.add(each)
        for known in self._known:
            for each in stale:
                known.pop(each, None)

    def last(self, number: int, names: Iterable[str], kept: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns what `part` returns, and which of it is needed after the segment; the part is forgotten.

        Args:
            kept: names of maps that are needed after the segment.
        """
        known = self.part(number, [*names, *(name for name in kept if name in self._nodes)])
        self._known[number] = {}
        return known, {name: value for name, value in known.items() if name in kept}
