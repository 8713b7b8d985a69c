"""CSV files for people, who open them in spreadsheets."""

import csv
import io
from collections.abc import Iterable, Sequence

from tfeff.errors import printable

_FORMULAS = tuple("=+-@\t＝＋－＠")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """The text of a CSV file. Texts that a spreadsheet would run as formulas get a leading apostrophe.

    Names of files and classes may come from anyone; the remedy is that of OWASP ("CSV Injection"). Control characters
    are escaped. Numbers stay as they are, also as texts.

    Args:
        rows: the cells of each line.

    >>> print(csv_text([["image", "score"], ["=1+1", -0.5], ["-0.5", "a,b"]]), end="")
    image,score
    '=1+1,-0.5
    -0.5,"a,b"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_safe(cell) for cell in row] for row in rows)
    return text.getvalue()


def _safe(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if text.startswith(_FORMULAS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
