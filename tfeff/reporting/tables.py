"""Tables from rows, as plain text and Markdown, and the names of metrics in them."""

import math
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len

from tfeff.errors import printable

Rows = Sequence[Mapping[str, Any]]
UNDEFINED = "–"
GAP = "  "  # between columns
MIN_WRAPPED = 16
"""Characters; texts are not wrapped to less."""


def cell(value: object) -> str:
    """Formats a value: four decimals, a thousands separator, an en dash for None and NaN.

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
    return " ".join(printable(str(value)).split())


def percent(value: float, digits: int = 0) -> str:
    """Formats a share.

    >>> percent(0.85), percent(0.0421, 1)
    ('85 %', '4.2 %')
    """
    return f"{100 * value:.{digits}f} %"


def text(rows: Rows, columns: Sequence[str] | None = None, *, width: int | None = None) -> str:
    """A plain-text table with text aligned left and numbers aligned right.

    Nothing is truncated. In a table that is wider than `width`, long texts are wrapped inside their columns, except the
    first one. If that is not enough, the table is split into blocks of columns, one below the other, each of which
    starts with the first column.

    Args:
        columns: the columns to show, in order; None shows all, in the order of their first appearance.
        width: maximum width in characters; None means the terminal's width if standard output is a terminal, and no
            limit otherwise, so that files and pipes hold whole rows.

    Returns:
        The lines, without a trailing newline.

    >>> print(text([{"class": "ant", "recall": 0.5}, {"class": "bumblebee", "recall": None}]))
    class      recall
    ─────────  ──────
    ant        0.5000
    bumblebee       –
    """
    header, body, numeric = cells(rows, columns)
    widths = [max(map(cell_len, column)) for column in zip(header, *body, strict=True)]
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    if width is not None:
        widths = _narrowed(widths, [header, *body], numeric, width)
    lines = list[list[str]]()
    for row in (header, ["─" * size for size in widths], *body):
        parts = [wrapped(value, size) for value, size in zip(row, widths, strict=True)]
        lines += map(list, zip_longest(*parts, fillvalue=""))
    padded = [list(map(_padded, line, widths, numeric)) for line in lines]
    blocks = _blocks(widths, width)
    return "\n\n".join("\n".join(GAP.join(line[i] for i in block).rstrip() for line in padded) for block in blocks)


def markdown(rows: Rows) -> str:
    """A table in GitHub's Markdown, with the rows of `text` and all their columns.

    >>> print(markdown([{"class": "a|b", "support": 1200}]))
    | class | support |
    | --- | ---: |
    | a\\|b | 1,200 |
    """
    header, body, numeric = cells(rows, None)
    rule = ["---:" if right else "---" for right in numeric]
    escaped = [[value.replace("|", r"\|") for value in line] for line in (header, *body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (escaped[0], rule, *escaped[1:]))


def cells(rows: Rows, columns: Sequence[str] | None) -> tuple[list[str], list[list[str]], list[bool]]:
    """(header, cells of each row, whether each column holds only numbers)."""
    keys = list(dict.fromkeys(key for row in rows for key in row)) if columns is None else list(columns)
    body = [[cell(row.get(key)) for key in keys] for row in rows]
    numeric = []
    for key in keys:
        present = [row[key] for row in rows if row.get(key) is not None]
        numeric.append(bool(present) and all(isinstance(value, int | float) for value in present))
    return [cell(key) for key in keys], body, numeric


def _narrowed(widths: Sequence[int], lines: Sequence[Sequence[str]], numeric: Sequence[bool], limit: int) -> list[int]:
    """Widths of columns that fit the limit, if that is possible by wrapping long texts; otherwise the same."""
    narrowed, surplus = list(widths), sum(widths) + len(GAP) * (len(widths) - 1) - limit
    least = [
        size
        if right
        else max(min(size, MIN_WRAPPED), *(cell_len(part) for value in column for part in wrapped(value, 0)))
        for size, column, right in zip(widths, zip(*lines, strict=True), numeric, strict=True)
    ]
    while surplus > 0:
        wide = [column for column in range(1, len(widths)) if narrowed[column] > least[column]]
        if not wide:
            return list(widths)
        narrowed[max(wide, key=lambda column: narrowed[column])] -= 1
        surplus -= 1
    return narrowed


def wrapped(value: str, width: int) -> list[str]:
    """The lines of a text that are at most so wide.

    They are broken after spaces and commas, but not before a percent sign; a longer word is not broken.

    >>> wrapped("head*=1,stem*=0.1 and more", 12)
    ['head*=1,', 'stem*=0.1', 'and more']
    """
    lines = [""]
    for word in re.findall(r"[^ ,]*(?: %)?,? *", value):
        if lines[-1] and cell_len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _blocks(widths: Sequence[int], limit: int | None) -> list[list[int]]:
    """Splits columns into blocks that fit the limit; every block starts with column 0 and has at least one other."""
    blocks = [[0]] if widths else [[]]
    for column in range(1, len(widths)):
        block = [*blocks[-1], column]
        total = sum(widths[i] for i in block) + len(GAP) * (len(block) - 1)
        if limit is not None and total > limit and len(block) > 2:
            blocks.append([0, column])
        else:
            blocks[-1] = block
    return blocks


def _padded(value: str, width: int, right: bool) -> str:
    # Widths are in terminal cells: an East Asian character takes two.
    space = " " * (width - cell_len(value))
    return space + value if right else value + space


def in_words(metric: str) -> str:
    """The name of a metric as text.

    >>> in_words("validation_mean_ap"), in_words("train_accuracy")
    ('validation mAP', 'train accuracy')
    """
    return metric.replace("mean_ap", "mAP").replace("_", " ")


def upper(text: str) -> str:
    """The text with a capital letter, unless it begins with a name such as mAP.

    >>> upper("learning rate"), upper("mAP, IoU 0.5")
    ('Learning rate', 'mAP, IoU 0.5')
    """
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def unit_of(metric: str) -> str:
    """The unit of a metric, by its name or its name in words: "%" for accuracies, which are in [0, 1]; "" for others.

    >>> unit_of("validation_accuracy"), unit_of("-(validation loss)")
    ('%', '')
    """
    return "%" if metric.endswith("accuracy") else ""
