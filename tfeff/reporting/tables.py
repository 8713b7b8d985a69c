"""Tables from rows: plain text, Markdown, and rich for the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

Rows = Sequence[Mapping[str, Any]]
UNDEFINED = "–"


def cell(value: object) -> str:
    """A value as a table shows it: four digits after the point, thousands apart, an en dash where there is none.

    >>> [cell(value) for value in (0.87654321, 5330564, None, float("nan"), "ant", 1e-7, True, 1234.5)]
    ['0.8765', '5,330,564', '–', '–', 'ant', '1.000e-07', 'yes', '1,234.5']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value and abs(value) < 1e-3:
            return f"{value:.3e}"
        return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.1f}"
    return " ".join(str(value).split())


def text(rows: Rows, columns: Sequence[str] | None = None) -> str:
    """A table for the terminal or a log: names to the left, numbers to the right.

    Args:
        rows: one mapping a row, from column to value.
        columns: which columns, and their order; None takes all, in the order of their first appearance.

    Returns:
        Lines without a newline at the end.

    >>> print(text([{"class": "ant", "recall": 0.5}, {"class": "bumblebee", "recall": None}]))
    class      recall
    ─────────  ──────
    ant        0.5000
    bumblebee       –
    """
    header, body, numeric = cells(rows, columns)
    widths = [max(map(cell_len, column)) for column in zip(header, *body, strict=True)]
    lines = [header, ["─" * width for width in widths], *body]
    return "\n".join("  ".join(map(_padded, line, widths, numeric)).rstrip() for line in lines)


def markdown(rows: Rows, columns: Sequence[str] | None = None) -> str:
    """A Markdown table (GitHub's form). Arguments as in `text`.

    >>> print(markdown([{"class": "a|b", "support": 1200}]))
    | class | support |
    | --- | ---: |
    | a\\|b | 1,200 |
    """
    header, body, numeric = cells(rows, columns)
    rule = ["---:" if right else "---" for right in numeric]
    escaped = [[value.replace("|", r"\|") for value in line] for line in (header, *body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (escaped[0], rule, *escaped[1:]))


def rich(rows: Rows, columns: Sequence[str] | None = None, *, title: str | None = None) -> Table:
    """A table for `rich.console.Console.print`. Arguments as in `text`."""
    header, body, numeric = cells(rows, columns)
    table = Table(title=None if title is None else Text(title))
    for name, right in zip(header, numeric, strict=True):
        table.add_column(Text(name), justify="right" if right else "left")
    for line in body:
        table.add_row(*map(Text, line))
    return table


def cells(rows: Rows, columns: Sequence[str] | None) -> tuple[list[str], list[list[str]], list[bool]]:
    """(header, cells by row, whether each column holds numbers alone)."""
    keys = list(dict.fromkeys(key for row in rows for key in row)) if columns is None else list(columns)
    body = [[cell(row.get(key)) for key in keys] for row in rows]
    numeric = []
    for key in keys:
        present = [row[key] for row in rows if row.get(key) is not None]
        numeric.append(bool(present) and all(isinstance(value, int | float) for value in present))
    return [cell(key) for key in keys], body, numeric


def _padded(value: str, width: int, right: bool) -> str:
    # Counted in terminal cells: an East Asian character takes two.
    space = " " * (width - cell_len(value))
    return space + value if right else value + space
