"""Cells of CSV files, read back by Python's own reader."""

import csv
import io

import pytest

from tfeff.reporting.spreadsheet import csv_text


@pytest.mark.parametrize(
    "name",
    ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\tx", "\uff1d1+1", "-", "\n=1+1", "\nx", " =1+1", "\u3000@x"],
)
def test_what_could_be_a_formula_is_text(name: str) -> None:
    ((cell, other),) = csv.reader(io.StringIO(csv_text([[name, "cat"]]), newline=""))
    assert (cell, other) == (f"'{name}", "cat")


def test_control_characters_are_escaped() -> None:
    assert csv_text([["\r=1+1", "a\x1b[2J"]]) == '"\\r=1+1","a\\x1b[2J"\n'


@pytest.mark.parametrize(
    "value", ["cat", "a=b", "x-1", "'quoted'", 'a,"b"', "two\nlines", "-0.25", "+3", " -3", -1.5, 7, ""]
)
def test_other_cells_stay(value: object) -> None:
    ((cell, _),) = csv.reader(io.StringIO(csv_text([[value, 1]]), newline=""))
    assert cell == str(value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_separator_of_a_spreadsheet_ends_a_text(delimiter: str) -> None:
    text = f"x{delimiter}=1+1"
    assert csv_text([[text, 0.5]]) == f'"{text}",0.5\n'
    assert next(csv.reader(io.StringIO(csv_text([[text]])), delimiter=delimiter)) == [text]
