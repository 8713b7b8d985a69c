"""Names of files and classes, and counts, as text: which can be used, and how messages show the others."""

import re
import unicodedata
from collections.abc import Collection

import numpy as np

from tfeff.errors import escape


def is_text(name: str) -> bool:
    """Returns whether a name can be written to files and shown: TensorFlow, JSON and CSV take UTF-8 alone."""
    try:
        return name.isascii() or bool(name.encode())
    except UnicodeEncodeError:
        return False


def counted(count: int, what: str) -> str:
    """Returns a number with its noun, which is given in the plural.

    >>> counted(1, "classes"), counted(1_000, "images")
    ('1 class', '1,000 images')
    """
    singular = {"classes": "class"}.get(what, what.removesuffix("s"))
    return f"{count:,} {what if count != 1 else singular}"


def problem(name: str) -> str:
    """Returns why a name cannot be that of a class, which tables and lists hold on one line; "" if it can be.

    >>> problem("пчёлы 🐝"), problem("a" + chr(10))
    ('', 'contains a line break or another control character')
    """
    if name.isprintable() and name.strip():
        return ""
    if not name.strip():
        return "is empty"
    if not is_text(name):
        return "is not UTF-8"
    if any(unicodedata.category(each) in ("Cc", "Zl", "Zp") for each in name):
        return "contains a line break or another control character"
    return ""


def as_number(name: str) -> str | None:
    """Returns the same text for all ways to write a decimal number; None for other names.

    >>> as_number("1"), as_number("01.0"), as_number("-0.50"), as_number("-0"), as_number("1a"), as_number("nan")
    ('1', '1', '-0.5', '0', None, None)
    """
    parts = re.fullmatch(r"(-?)0*([0-9]+)(?:\.([0-9]*?)0*)?", name)
    if parts is None:
        return None
    sign, whole, fraction = parts.groups()
    value = f"{whole}.{fraction}" if fraction else whole
    return value if value == "0" else sign + value


def stands_for_missing(name: str) -> bool:
    """Returns whether a name is what programs write for a missing value.

    >>> stands_for_missing("NaN"), stands_for_missing("n/a"), stands_for_missing("none of these")
    (True, True, False)
    """
    return name.strip("<>#").lower() in ("nan", "na", "n/a", "none", "null", "nat")


def groups(names: Collection[str], pattern: str) -> tuple[np.ndarray, int]:
    """Returns groups of names that match a regular expression with equal groups, anywhere in the name.

    Returns:
        int32 [n], the group of each name, from 0; names that do not match are groups of their own. And how many match.

    >>> groups(["a/film1_02.jpg", "b/film2_01.jpg", "b/film1_01.jpg", "x.jpg"], r"(film\\d+)_")
    (array([0, 1, 0, 2], dtype=int32), 3)
    """
    places, found, matched = dict[tuple[str, ...], int](), list[int](), 0
    for name in names:
        match = re.search(pattern, name)
        matched += match is not None
        key = ("", name) if match is None else ("group", *(part or "" for part in match.groups()))
        found.append(places.setdefault(key, len(places)))
    return np.array(found, np.int32), matched


def packed_texts(texts: Collection[str]) -> np.ndarray:
    """Returns texts as bytes, each ended by a zero: no name of a file or a class contains one."""
    return np.frombuffer("".join(f"{text}\0" for text in texts).encode(errors="surrogateescape"), np.uint8)


def unpacked_texts(packed: np.ndarray) -> list[str]:
    """Returns the inverse of `packed_texts`."""
    return packed.tobytes().decode(errors="surrogateescape").split("\0")[:-1]


def shown(name: str) -> str:
    """Returns a name as one line of text.

    Bytes that are not UTF-8, and control characters such as line breaks, are escaped.

    >>> shown("line\\nbreak"), shown("caf\\udce9"), shown("пчёлы")
    ('line\\\\nbreak', 'caf\\\\xe9', 'пчёлы')
    """
    return name if name.isprintable() else "".join(each if each.isprintable() else escape(each) for each in name)


def listed(names: Collection[str], most: int = 3) -> str:
    """Returns the first of some names as messages show them, and how many more there are.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    first = ", ".join(shown(name) for name in list(names)[:most])
    return f"{first} and {len(names) - most:,} more" if len(names) > most else first
