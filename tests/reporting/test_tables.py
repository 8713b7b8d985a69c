import sys

import pytest
from rich.cells import cell_len

from tfeff.reporting import tables

ROWS = [
    {"model": "efficientnet-b0", "params": 5_330_564, "accuracy": 0.771},
    {"model": "蜂 [bold]|x", "params": 12, "note": "a\nb"},
]


def test_columns_are_aligned_in_any_script():
    lines = tables.text(ROWS).splitlines()
    numbers = zip(lines[2:], ["5,330,564", "12"], strict=True)
    ends = {cell_len(line[: line.index(number) + len(number)]) for line, number in numbers}
    assert len(ends) == 1
    assert lines[0].split() == ["model", "params", "accuracy", "note"]
    assert lines[3].split() == ["蜂", "[bold]|x", "12", tables.UNDEFINED, "a", "b"]


def test_columns_are_selected_and_ordered():
    assert tables.text(ROWS, ["params", "model"]).splitlines()[0].split() == ["params", "model"]
    assert tables.text([{"a": 1}], ["b"]).splitlines() == ["b", "─", tables.UNDEFINED]


def test_markdown_escapes_vertical_bars():
    header, rule, *body = tables.markdown(ROWS).splitlines()
    assert rule == "| --- | ---: | ---: | --- |"
    for line in (header, *body):
        assert line.replace(r"\|", "").count("|") == 5


def test_no_rows_leave_only_the_header():
    assert len(tables.text([], ["a", "b"]).splitlines()) == 2


WIDE = [{"candidate": f"network {i}", **{f"column {j:02d}": 1000.0 * i + j for j in range(30)}} for i in range(3)]


def test_files_and_pipes_hold_whole_rows(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    header, rule, *body = tables.text(WIDE).splitlines()
    assert len(body) == 3
    assert header.split("  ") == list(WIDE[0])
    assert {len(line) for line in (header, rule, *body)} == {len(header)}
    assert [len(dashes) for dashes in rule.split()] == [9] * 31
    assert body[2].split()[-1] == "2,029.0"


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_table_on_a_terminal_fits_its_width_and_keeps_every_cell(width, monkeypatch):
    whole = tables.text(WIDE)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    folded = tables.text(WIDE)
    assert folded == tables.text(WIDE, width=width)
    assert max(map(cell_len, folded.splitlines())) <= width
    blocks = [block.splitlines() for block in folded.split("\n\n")]
    for header, rule, *body in blocks:
        assert header.startswith("candidate  ")
        assert len(rule) == len(header)
        assert [line[:9] for line in body] == ["network 0", "network 1", "network 2"]
    joined = ["".join([lines[0], *(line[9:] for line in lines[1:])]) for lines in zip(*blocks, strict=True)]
    assert joined == whole.splitlines()


def test_columns_wider_than_the_terminal_are_not_cut():
    rows = [{"a": "x" * 50, "b": "y" * 50, "c": 1}]
    blocks = tables.text(rows, width=20).split("\n\n")
    assert [block.splitlines()[-1] for block in blocks] == [f"{'x' * 50}  {'y' * 50}", f"{'x' * 50}  1"]


def test_long_texts_are_wrapped_inside_their_column():
    row = {
        "key": "optimizer.frozen",
        "value": "stem*,stage*,head_conv*",
        "because": "few images suffice for it",
        "n": 7,
    }
    assert tables.text([row], width=55).splitlines() == [
        "key               value             because           n",
        "────────────────  ────────────────  ────────────────  ─",
        "optimizer.frozen  stem*,stage*,     few images        7",
        "                  head_conv*        suffice for it",
    ]
    assert len(tables.text([row], width=54).split("\n\n")) == 2  # too narrow for that


@pytest.mark.parametrize("width", range(12, 60))
def test_lines_are_not_broken_within_numbers_or_before_counts(width):
    text = "10 classes: 3 1,112, 1 1,010, dogs 10,434, 12.5 % of 1,000,000 objects, it is 8.8 %. Of all, 2 993"
    lines = tables.wrapped(text, width)
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= width
    for whole in ("3 1,112,", "1 1,010,", "12.5 %", "1,000,000", "8.8 %.", "2 993"):
        assert any(whole in line for line in lines)


def test_words_that_do_not_fit_are_not_wrapped():
    rows = [{"image": "a", "path": "/data/" + "x" * 40, "note": "some words that could be wrapped"}]
    lines = tables.text(rows, width=30).splitlines()
    assert any("/data/" + "x" * 40 in line for line in lines)


def test_of_many_classes_the_worst_are_listed() -> None:
    rows = [{"class": f"class {number}", "F1": number / 100, "examples": 3} for number in range(tables.CLASSES + 1)]
    rows[3]["F1"] = None
    assert tables.worst_classes(rows[: tables.CLASSES], "F1") == rows[: tables.CLASSES]
    listed = tables.worst_classes(rows[::-1], "F1")
    title = "the 50 of 51 classes with the lowest F1"
    expected = [row for row in rows if row["F1"] is not None]
    assert listed == [{title: row["class"], "F1": row["F1"], "examples": 3} for row in expected]
    assert [*listed[0]] == [title, "F1", "examples"]
