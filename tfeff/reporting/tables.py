"""Tables from rows, as plain text and Markdown, and the names of metrics in them."""

import math
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len

from tfeff.errors import printable

Rows = Sequence[Mapping[str, Any]]
UNDEFINED = "–"
GAP = "  "  # between columns
MIN_WRAPPED = 16
"""Characters; texts are not wrapped to less."""

CLASSES = 50
"""Classes in a table."""

_MARKUP = {"\\": r"\\", "&": "&amp;", "<": "&lt;", "[": r"\[", "|": r"\|", "*": r"\*"}
"""What begins escapes, tags, links, images, cells and emphasis in Markdown -> how it is shown."""
_CODE = re.compile("(`[^`]+`)")
_EMPHASIS = re.compile(r"(?<![A-Za-z0-9])_+(?=\S)|_+(?![A-Za-z0-9_])")
"""Underscores that emphasize, unlike those inside words."""


def cell(value: object) -> str:
    """Formats a value: four decimals, a thousands separator, an en dash for None and NaN.

    >>> [cell(value) for value in (0.87654321, 5330564, None, float("nan"), "ant", 1e-7, True, 1234.5)]
    ['0.8765', '5,330,564', '–', '–', 'ant', '1e-07', 'yes', '1,234.5']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value and abs(value) < 1e-3:
            return f"{value:.3g}"
        return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.1f}"
    return " ".join(printable(str(value)).split())


def percent(value: float, digits: int = 0) -> str:
    """Formats a share.

    >>> percent(0.85), percent(0.0421, 1)
    ('85 %', '4.2 %')
    """
    return f"{100 * value:.{digits}f} %"


def text(rows: Rows, columns: Sequence[str] | None = None, *, width: int | None = None) -> str:
    """Returns a plain-text table with text aligned left and numbers aligned right.

    Nothing is truncated. In a table that is wider than `width`, long texts are wrapped inside their columns, except the
    first one. If that is not enough, the table is also split into blocks of columns, one below the other, each of which
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
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    table = [_Column(list(values), right) for *values, right in zip(header, *body, numeric, strict=True)]
    return "\n\n".join(_block(block, width) for block in _blocks(table, width))


def markdown(rows: Rows) -> str:
    """Returns a table in GitHub's Markdown, with the rows of `text` and all their columns.

    >>> print(markdown([{"class": "a|b", "support": 1200}]))
    | class | support |
    | --- | ---: |
    | a\\|b | 1,200 |
    """
    header, body, numeric = cells(rows, None)
    rule = ["---:" if right else "---" for right in numeric]
    escaped = [[plain(value) for value in line] for line in (header, *body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (escaped[0], rule, *escaped[1:]))


def plain(text: str) -> str:
    r"""Returns Markdown that shows a text as it is, except for code in backticks; names may look like markup.

    >>> print(plain(r"<b> [x](y) a|b snake_case __bg__ 2*3 \["))
    &lt;b> \[x](y) a\|b snake_case \_\_bg\_\_ 2\*3 \\\[
    >>> print(plain("`a_b|*`"))
    `a_b\|*`
    """
    parts = _CODE.split(text)  # every other one is code
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = part.replace("|", r"\|")
            continue
        for character, escaped in _MARKUP.items():
            part = part.replace(character, escaped)
        parts[number] = _EMPHASIS.sub(lambda found: r"\_" * len(found[0]), part)
    return "".join(parts)


def worst_classes(rows: Rows, metric: str) -> Rows:
    """Returns the rows of a table of classes; of more than CLASSES, those with the lowest values, the lowest first.

    Args:
        rows: a row for each class, with its name as `class`.
        metric: the column that is compared; classes without a value come last.
    """
    if len(rows) <= CLASSES:
        return rows
    title = f"the {CLASSES} of {len(rows):,} classes with the lowest {metric}"
    worst = sorted(rows, key=lambda row: math.inf if row[metric] is None else row[metric])[:CLASSES]
    return [{title: row["class"], **{key: row[key] for key in row if key != "class"}} for row in worst]


def cells(rows: Rows, columns: Sequence[str] | None) -> tuple[list[str], list[list[str]], list[bool]]:
    """Returns (header, cells of each row, whether each column holds only numbers)."""
    keys = list(dict.fromkeys(key for row in rows for key in row)) if columns is None else list(columns)
    body = [[cell(row.get(key)) for key in keys] for row in rows]
    numeric = []
    for key in keys:
        present = [row[key] for row in rows if row.get(key) is not None]
        numeric.append(bool(present) and all(isinstance(value, int | float) for value in present))
    return [cell(key) for key in keys], body, numeric


@dataclass(frozen=True)
class _Column:
    """A column: its header and cells, and whether it is aligned right."""

    cells: Sequence[str]
    right: bool

    @cached_property
    def width(self) -> int:
        """Width in terminal cells."""
        return max(map(cell_len, self.cells))

    @cached_property
    def least(self) -> int:
        """Its width if its texts are wrapped as far as possible."""
        longest = max(cell_len(part) for value in self.cells for part in wrapped(value, 0))
        return self.width if self.right else max(min(self.width, MIN_WRAPPED), longest)


def _block(block: Sequence[_Column], limit: int | None) -> str:
    """Returns the lines of some columns.

    Long texts are wrapped, except in the first column, as far as the limit demands.
    """
    widths = [column.width for column in block]
    surplus = 0 if limit is None else sum(widths) + len(GAP) * (len(widths) - 1) - limit
    while surplus > 0:
        wide = [index for index in range(1, len(block)) if widths[index] > block[index].least]
        if not wide:
            break
        widths[max(wide, key=lambda index: widths[index])] -= 1
        surplus -= 1
    header, *rows = zip(*(column.cells for column in block), strict=True) if block else [()]
    lines = list[str]()
    for row in (header, ["─" * size for size in widths], *rows):
        parts = [wrapped(value, size) for value, size in zip(row, widths, strict=True)]
        for line in zip_longest(*parts, fillvalue=""):
            padded = [_padded(value, size, each.right) for value, size, each in zip(line, widths, block, strict=True)]
            lines.append(GAP.join(padded).rstrip())
    return "\n".join(lines)


_WORD = re.compile(
    r"(?:[^ ,]|(?<=\d),(?=\d))*"  # the comma within 1,000 ends no word
    r"(?: \d+(?:,\d{3})*(?=,(?!\d)|$))?"  # a count at the end of an item, as in "cats 12, dogs 1,005"
    r"(?: %[^ ,]*)?,? *"
)


def wrapped(value: str, width: int) -> list[str]:
    """Returns the lines of a text that are at most so wide.

    They are broken after spaces and commas, but neither within a number, nor before a percent sign or a count that ends
    an item of a list; a longer word is not broken.

    >>> wrapped("head*=1,stem*=0.1 and more", 12)
    ['head*=1,', 'stem*=0.1', 'and more']
    >>> wrapped("3 1,112, 1 1,010", 9)
    ['3 1,112,', '1 1,010']
    """
    lines = [""]
    for word in _WORD.findall(value):
        if lines[-1] and cell_len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _blocks(table: Sequence[_Column], limit: int | None) -> list[list[_Column]]:
    """Splits columns into blocks that fit the limit; each starts with the first column and has at least one other."""
    blocks = [list(table[:1])]
    for column in table[1:]:
        total = sum(each.least for each in (*blocks[-1][1:], column)) + table[0].width + len(GAP) * len(blocks[-1])
        if limit is not None and total > limit and len(blocks[-1]) > 1:
            blocks.append([table[0], column])
        else:
            blocks[-1].append(column)
    return blocks


def _padded(value: str, width: int, right: bool) -> str:
    # Widths are in terminal cells: an East Asian character takes two.
    space = " " * (width - cell_len(value))
    return space + value if right else value + space


def shortened(text: str, length: int) -> str:
    """Returns a text of at most `length` characters; longer ones lose their middle, as names often differ at the end.

    >>> shortened("black-footed albatross", 15)
    'black-f…batross'
    """
    tail = (length - 1) // 2
    return text if len(text) <= length else f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def in_words(metric: str) -> str:
    """Returns the name of a metric as text.

    >>> in_words("validation_mean_ap"), in_words("train_accuracy")
    ('validation mAP', 'train accuracy')
    """
    return metric.replace("mean_ap", "mAP").replace("_", " ")


def upper(text: str) -> str:
    """Returns the text with a capital letter, unless it begins with a name such as mAP.

    >>> upper("learning rate"), upper("mAP, IoU 0.5")
    ('Learning rate', 'mAP, IoU 0.5')
    """
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def unit_of(metric: str) -> str:
    """Returns the unit of a metric, by its name or its name in words.

    The unit is "%" for accuracies, which are in [0, 1], and "" for others.

    >>> unit_of("validation_accuracy"), unit_of("-(validation loss)")
    ('%', '')
    """
    return "%" if metric.endswith("accuracy") else ""
