"""Text files of datasets: UTF-8, or UTF-16 with the mark that Windows writes."""

import codecs
import re
from pathlib import Path

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ESCAPED = re.compile("[\udc80-\udcff]")


def encoding(path: Path) -> str:
    """Returns the encoding of a text file, by its mark.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in _WIDE else "utf-8-sig"


def read(path: Path, errors: str = "strict") -> str:
    """Returns the text of a file.

    Args:
        path: the file.
        errors: what to do with invalid bytes, as of `bytes.decode`; `surrogateescape` does not apply to UTF-16.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: an invalid byte.
    """
    content = path.read_bytes()
    if content[:2] in _WIDE:
        return content.decode("utf-16", "replace" if errors == "replace" else "strict")
    return content.decode("utf-8-sig", errors)


def windows(text: str) -> str:
    """Returns text with bytes that are not UTF-8 decoded as Windows-1252.

    In the argument, these bytes are escaped (`surrogateescape`).

    >>> windows(b"caf\\xe9".decode(errors="surrogateescape"))
    'café'
    """
    if text.isascii():
        return text
    # Windows-1252 does not define five bytes; Windows reads them as in Latin-1.
    return _ESCAPED.sub(lambda found: _character(ord(found[0]) & 0xFF), text)


def _character(byte: int) -> str:
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


def not_utf8(error: UnicodeDecodeError) -> str:
    """Returns why a text cannot be read, and what to do."""
    kind = "UTF-16, as its mark says" if error.encoding.startswith("utf-16") else "UTF-8"
    return f"the byte 0x{error.object[error.start]:02x} is not {kind}; save it as UTF-8"
