"""Tables of nodes, compared with those of the papers written out by hand."""

import pytest

from tfeff.errors import UserError
from tfeff.networks.necks.tables import TABLES, Node, nodes

# Level -> fused maps, for P3 to P7. "P4_td" is the paper's P4 with superscript td.
BY_HAND = {
    "fpn": """
        P7_out = P7
        P6_out = P6 P7_out
        P5_out = P5 P6_out
        P4_out = P4 P5_out
        P3_out = P3 P4_out""",
    "classic_fpn": """
        P7_td := P7
        P6_td := P6 P7_td
        P5_td := P5 P6_td
        P4_td := P4 P5_td
        P3_td := P3 P4_td
        P3_out = P3_td
        P4_out = P4_td
        P5_out = P5_td
        P6_out = P6_td
        P7_out = P7_td""",
    "panet": """
        P7_td = P7
        P6_td = P6 P7_td
        P5_td = P5 P6_td
        P4_td = P4 P5_td
        P3_td = P3 P4_td
        P3_out = P3_td
        P4_out = P4_td P3_out
        P5_out = P5_td P4_out
        P6_out = P6_td P5_out
        P7_out = P7_td P6_out""",
    "simplified_panet": """
        P6_td = P6 P7
        P5_td = P5 P6_td
        P4_td = P4 P5_td
        P3_out = P3 P4_td
        P4_out = P4_td P3_out
        P5_out = P5_td P4_out
        P6_out = P6_td P5_out
        P7_out = P7 P6_out""",
    "fully_connected": """
        P3_out = P3 P4 P5 P6 P7
        P4_out = P3 P4 P5 P6 P7
        P5_out = P3 P4 P5 P6 P7
        P6_out = P3 P4 P5 P6 P7
        P7_out = P3 P4 P5 P6 P7""",
    "bifpn": """
        P6_td = P6 P7
        P5_td = P5 P6_td
        P4_td = P4 P5_td
        P3_out = P3 P4_td
        P4_out = P4 P4_td P3_out
        P5_out = P5 P5_td P4_out
        P6_out = P6 P6_td P5_out
        P7_out = P7 P6_out""",
    "nas_fpn": """
        P4_a = P6 * P4
        P4_b = P4 P4_a
        P3_out = P3 P4_b
        P4_out = P4_b P3_out
        P5_out = P4_out * P3_out P5
        P7_out = P5_out * P4_b P7
        P6_out = P7_out * P5_out""",
}


def parsed(table: str) -> tuple[Node, ...]:
    rows = (line.split() for line in table.strip().splitlines())
    return tuple(
        Node(name, int(name[1]), tuple(word for word in inputs if word != "*"), "*" in inputs, convolved=equals == "=")
        for name, equals, *inputs in rows
    )


@pytest.mark.parametrize("neck", TABLES)
def test_tables_equal_those_of_the_papers(neck: str) -> None:
    assert nodes(neck, 3, 7) == parsed(BY_HAND[neck])


@pytest.mark.parametrize("ends", [(1, 2), (2, 4), (3, 7), (3, 8)])
@pytest.mark.parametrize("neck", TABLES)
def test_nodes_read_earlier_maps_and_every_level_has_an_output(neck: str, ends: tuple[int, int]) -> None:
    first, last = ends
    if neck == "nas_fpn" and last - first != 4:
        with pytest.raises(UserError, match=f"five levels, such as P3 to P7; given P{first} to P{last}"):
            nodes(neck, first, last)
        return
    known = {f"P{n}" for n in range(first, last + 1)}
    outputs = {}
    for node in nodes(neck, first, last):
        assert set(node.inputs) <= known
        assert node.name not in known
        known.add(node.name)
        outputs[node.level] = node.name
    assert outputs == {n: f"P{n}_out" for n in range(first, last + 1)}


def test_wrong_necks_are_errors() -> None:
    with pytest.raises(UserError, match='no neck "bifpm"; did you mean "bifpn"'):
        nodes("bifpm", 3, 7)
    with pytest.raises(UserError, match="at least two levels; given P3 to P3"):
        nodes("fpn", 3, 3)
