"""CSV files for people, who open them in spreadsheets."""

from collections.abc import Iterable, Mapping, Sequence

from tfeff.errors import printable

_FORMULAS = tuple("=+-@＝＋－＠")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Returns the text of a CSV file. Texts that a spreadsheet would run as formulas get a leading apostrophe.

    Names of files and classes may come from anyone; the remedy is that of OWASP ("CSV Injection"). Control characters
    are escaped. Texts are in quotation marks, so that no other separator, such as the semicolon of some countries, ends
    them. Numbers stay as they are, also those that are given as texts.

    Args:
        rows: the cells of each line.

    >>> print(csv_text([["image", "score"], ["=1+1", -0.5], ["-0.50", "a,b"]]), end="")
    "image","score"
    "'=1+1",-0.5
    -0.50,"a,b"
    """
    return "".join(",".join(map(_cell, row)) + "\n" for row in rows)


def table_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Returns the text of a CSV file with a header.

    The columns are the keys of all rows, in the order of their first appearance. A row without a key has an empty cell.

    >>> print(table_text([{"image": "a.jpg"}, {"image": "b.jpg", "correct": True}]), end="")
    "image","correct"
    "a.jpg",
    "b.jpg","yes"
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return csv_text([columns, *([_plain(row.get(column)) for column in columns] for row in rows)])


def _plain(value: object) -> object:
    """Returns a cell of a table; a flag is a word."""
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _cell(value: object) -> str:
    if not isinstance(value, str):
        return "" if value is None else str(value)
    text = printable(value)
    if _is_number(text):
        return text
    runs = text.startswith(("\t", "\n")) or text.lstrip().startswith(_FORMULAS)  # spaces may be ignored
    quoted = text.replace('"', '""')
    return f'"\'{quoted}"' if runs else f'"{quoted}"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
