"""The necks: one table of nodes each; and the names of pyramid levels, Pn for stride 2^n.

A node fuses maps of any level at its own level. Its inputs are the cell's inputs, named "P3", "P4", ..., and nodes
before it. Names follow the EfficientDet paper: td for the top-down path, out for the outputs. The output of a cell at a
level is the last node of that level.

Lin et al., "Feature Pyramid Networks" (arXiv:1612.03144); Liu et al., "Path Aggregation Network" (arXiv:1803.01534);
Ghiasi et al., "NAS-FPN" (arXiv:1904.07392), figure 6; Tan et al., "EfficientDet" (arXiv:1911.09070v1), figure 2, for
the others and the form in which they are compared: every node, also of FPN and PANet, is a fusion followed by a
convolution. "classic_fpn" is the original form of FPN.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tfeff.errors import UserError, nearest


@dataclass(frozen=True)
class Node:
    """A row of a neck's table.

    Attributes:
        name: unique in its cell.
        level: n, for a map of stride 2^n.
        inputs: names of the maps to fuse.
        gated: global-pooling node of NAS-FPN: first + second * sigmoid(max over all pixels of first) + others.
        convolved: whether a convolution follows. If not, the cell's inputs always pass a 1x1 convolution before.
    """

    name: str
    level: int
    inputs: tuple[str, ...]
    gated: bool = False
    convolved: bool = True


def fpn(first: int, last: int) -> tuple[Node, ...]:
    """Builds FPN, top-down: P7_out = [P7], P6_out = [P6, P7_out], ..., P3_out = [P3, P4_out]."""
    top = Node(f"P{last}_out", last, (f"P{last}",))
    return (top, *(Node(f"P{n}_out", n, (f"P{n}", f"P{n + 1}_out")) for n in _down(last - 1, first)))


def classic_fpn(first: int, last: int) -> tuple[Node, ...]:
    """Sums from the top down, then convolves each sum.

    P5_td = [P5], P4_td = [P4, P5_td], ...; P3_out = [P3_td].
    """
    top = Node(f"P{last}_td", last, (f"P{last}",), convolved=False)
    down = (Node(f"P{n}_td", n, (f"P{n}", f"P{n + 1}_td"), convolved=False) for n in _down(last - 1, first))
    return (top, *down, *(Node(f"P{n}_out", n, (f"P{n}_td",)) for n in _up(first, last)))


def panet(first: int, last: int) -> tuple[Node, ...]:
    """Builds FPN, then bottom-up: P3_out = [P3_td], P4_out = [P4_td, P3_out], ..., P7_out = [P7_td, P6_out]."""
    top = Node(f"P{last}_td", last, (f"P{last}",))
    down = (Node(f"P{n}_td", n, (f"P{n}", f"P{n + 1}_td")) for n in _down(last - 1, first))
    bottom = Node(f"P{first}_out", first, (f"P{first}_td",))
    up = (Node(f"P{n}_out", n, (f"P{n}_td", f"P{n - 1}_out")) for n in _up(first + 1, last))
    return (top, *down, bottom, *up)


def simplified_panet(first: int, last: int) -> tuple[Node, ...]:
    """Builds PANet without nodes of one input: BiFPN without the edges from P4, P5, P6 to P4_out, P5_out, P6_out."""
    return tuple(
        Node(node.name, node.level, node.inputs[1:]) if len(node.inputs) == 3 else node for node in bifpn(first, last)
    )


def fully_connected(first: int, last: int) -> tuple[Node, ...]:
    """Connects each output to all inputs: P3_out = [P3, P4, P5, P6, P7], ..., P7_out = [P3, P4, P5, P6, P7]."""
    inputs = tuple(f"P{n}" for n in _up(first, last))
    return tuple(Node(f"P{n}_out", n, inputs) for n in _up(first, last))


def bifpn(first: int, last: int) -> tuple[Node, ...]:
    """Builds BiFPN.

    P6_td = [P6, P7], P5_td = [P5, P6_td], P4_td = [P4, P5_td], P3_out = [P3, P4_td], P4_out = [P4, P4_td, P3_out],
    P5_out = [P5, P5_td, P4_out], P6_out = [P6, P6_td, P5_out], P7_out = [P7, P6_out].
    """
    above = {n: f"P{n}" if n == last else f"P{n}_td" for n in _up(first, last)}
    down = (Node(f"P{n}_td", n, (f"P{n}", above[n + 1])) for n in _down(last - 1, first + 1))
    bottom = Node(f"P{first}_out", first, (f"P{first}", above[first + 1]))
    up = (Node(f"P{n}_out", n, (f"P{n}", f"P{n}_td", f"P{n - 1}_out")) for n in _up(first + 1, last - 1))
    top = Node(f"P{last}_out", last, (f"P{last}", f"P{last - 1}_out"))
    return (*down, bottom, *up, top)


def nas_fpn(first: int, last: int) -> tuple[Node, ...]:
    """Returns the architecture that the search found, for five levels.

    As in the reference implementation, the outputs P5 and P7 also add the inputs that no other node reads.

    Raises:
        UserError: the number of levels is not five.
    """
    if last - first != 4:
        raise UserError(f'neck "nas_fpn" is defined for five levels, such as P3 to P7; given P{first} to P{last}')
    p3, p4, p5, p6, p7 = (f"P{n}" for n in _up(first, last))
    return (
        Node(f"{p4}_a", first + 1, (p6, p4), gated=True),
        Node(f"{p4}_b", first + 1, (p4, f"{p4}_a")),
        Node(f"{p3}_out", first, (p3, f"{p4}_b")),
        Node(f"{p4}_out", first + 1, (f"{p4}_b", f"{p3}_out")),
        Node(f"{p5}_out", first + 2, (f"{p4}_out", f"{p3}_out", p5), gated=True),
        Node(f"{p7}_out", last, (f"{p5}_out", f"{p4}_b", p7), gated=True),
        Node(f"{p6}_out", first + 3, (f"{p7}_out", f"{p5}_out"), gated=True),
    )


TABLES: dict[str, Callable[[int, int], tuple[Node, ...]]] = {
    "fpn": fpn,
    "classic_fpn": classic_fpn,
    "panet": panet,
    "simplified_panet": simplified_panet,
    "fully_connected": fully_connected,
    "bifpn": bifpn,
    "nas_fpn": nas_fpn,
}


def nodes(neck: str, first: int, last: int) -> tuple[Node, ...]:
    """Returns the nodes of a neck's cell in the order in which they are computed.

    Args:
        neck: a name in TABLES.
        first: finest level.
        last: coarsest level.

    Raises:
        UserError: unknown neck, fewer than two levels, or a number of levels that the neck is not defined for.
    """
    if neck not in TABLES:
        raise UserError(f'no neck "{neck}"; {nearest(neck, TABLES)}')
    if last <= first:
        raise UserError(f"a neck needs at least two levels; given P{first} to P{last}")
    return TABLES[neck](first, last)


def _up(first: int, last: int) -> range:
    return range(first, last + 1)


def _down(last: int, first: int) -> range:
    return range(last, first - 1, -1)
