import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from tfeff.reporting import tables

ROWS = [
    {"model": "efficientnet-b0", "params": 5_330_564, "accuracy": 0.771},
    {"model": "蜂 [bold]|x", "params": 12, "note": "a\nb"},
]


def test_columns_line_up_in_any_script():
    lines = tables.text(ROWS).splitlines()
    numbers = zip(lines[2:], ["5,330,564", "12"], strict=True)
    ends = {cell_len(line[: line.index(number) + len(number)]) for line, number in numbers}
    assert len(ends) == 1
    assert lines[0].split() == ["model", "params", "accuracy", "note"]
    assert lines[3].split() == ["蜂", "[bold]|x", "12", tables.UNDEFINED, "a", "b"]


def test_columns_are_chosen_and_ordered():
    assert tables.text(ROWS, ["params", "model"]).splitlines()[0].split() == ["params", "model"]
    assert tables.text([{"a": 1}], ["b"]).splitlines() == ["b", "─", tables.UNDEFINED]


def test_markdown_keeps_its_columns():
    header, rule, *body = tables.markdown(ROWS).splitlines()
    assert rule == "| --- | ---: | ---: | --- |"
    for line in (header, *body):
        assert line.replace(r"\|", "").count("|") == 5


def test_rich_takes_names_literally():
    console = Console(file=io.StringIO(), width=100)
    console.print(tables.rich(ROWS, title="[red]title"))
    printed = console.file.getvalue()
    assert "蜂 [bold]|x" in printed
    assert "[red]title" in printed
    assert "5,330,564" in printed


@pytest.mark.parametrize("maker", [tables.text, tables.markdown])
def test_no_rows_give_the_header_alone(maker):
    assert len(maker([], ["a", "b"]).splitlines()) == 2
