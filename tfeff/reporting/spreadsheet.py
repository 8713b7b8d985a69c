"""CSV files for people, who open them in spreadsheets."""

import csv
import io
from collections.abc import Iterable, Sequence

from tfeff.errors import printable

_FORMULAS = tuple("=+-@＝＋－＠")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """The text of a CSV file. Texts that a spreadsheet would run as formulas get a leading apostrophe.

    Names of files and classes may come from anyone; the remedy is that of OWASP ("CSV Injection"). Control characters
    are escaped. All texts are in quotation marks, so that no other separator, such as the semicolon of some countries,
    ends them. Numbers stay as they are, also as texts.

    Args:
        rows: the cells of each line.

    >>> print(csv_text([["image", "score"], ["=1+1", -0.5], ["-0.5", "a,b"]]), end="")
    "image","score"
    "'=1+1",-0.5
    "-0.5","a,b"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(
        [_safe(cell) for cell in row] for row in rows
    )
    return text.getvalue()


def _safe(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    runs = text.startswith(("\t", "\n")) or text.lstrip().startswith(_FORMULAS)  # spaces may be ignored
    return f"'{text}" if runs and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
