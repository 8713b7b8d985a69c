"""JSON files and lines with a checksum, so that damage is never read as another value.

The key `crc32` holds the CRC-32 of all other keys and values, as JSON with sorted keys: formatting does not matter. It
is the first key of a file, on a line of its own, which users delete if they edit the file; it is the last key of a line
in a file of lines.
"""

import functools
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfeff.durable import replacing, write
from tfeff.errors import UserError

KEY = "crc32"
_CHUNK = 1 << 24
_LOG = logging.getLogger(__name__)


def checksum(record: Mapping[str, Any]) -> str:
    """Returns CRC-32 of a JSON-serializable record without its own checksum, as 8 hexadecimal digits."""
    values = {key: value for key, value in json.loads(json.dumps(record)).items() if key != KEY}
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"


def file_crc32(path: Path) -> int:
    """Returns CRC-32 of a file's contents."""
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found = zlib.crc32(chunk, found)
    return found


def to_json(record: Mapping[str, Any]) -> str:
    """Returns the contents of a JSON file with a checksum."""
    return json.dumps({KEY: "", **record} | {KEY: checksum(record)}, indent=2) + "\n"


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a JSON file with a checksum, atomically."""
    write(path, to_json(record))


def read_json(
    path: Path, advice: str, types: Mapping[str, type | tuple[type, ...]] | None = None, *, edited: bool = False
) -> dict[str, Any]:
    """Reads a JSON file that a command has written; a file without checksum was edited by the user.

    Args:
        path: the file.
        advice: what to do if it is damaged; ends the message.
        types: key -> type of the values that must be there.
        edited: accept other contents than the checksum's, with a warning.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {advice}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: damaged ({error}); {advice}") from None
    return from_json(text, str(path), advice, types, edited=edited)


def from_json(
    text: str,
    where: str,
    advice: str,
    types: Mapping[str, type | tuple[type, ...]] | None = None,
    *,
    edited: bool = False,
) -> dict[str, Any]:
    """Reads what `to_json` returned; `where` names its origin in messages. Otherwise as `read_json`."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}); {advice}") from None
    if not isinstance(record, dict):
        raise UserError(f"{where}: not a JSON object; {advice}")
    if KEY not in record:
        if not edited:
            warn(f"{where}: edited, or damaged: it has no checksum")
    elif record.pop(KEY) != checksum(record):
        if not edited:
            raise UserError(
                f"{where}: damaged or edited, its contents do not fit its checksum; if you edited it, delete its line "
                f'"{KEY}"; otherwise, {advice}'
            )
        warn(f"{where}: edited since it was written, or damaged: its contents do not fit its checksum")
    for key, kinds in (types or {}).items():
        if not isinstance(record.get(key), kinds):
            raise UserError(f"{where}: damaged ({key} is missing or has a wrong type); {advice}")
    return record


def to_line(record: Mapping[str, Any]) -> str:
    """Returns a line of a file of lines, with a checksum."""
    return json.dumps({**record, KEY: checksum(record)}) + "\n"


def read_lines(path: Path, lost: str) -> list[dict[str, Any]]:
    """Reads a file of lines; empty if there is no file.

    Damaged lines are dropped with a warning. An incomplete last line of a killed process is dropped without one.

    Args:
        path: the file.
        lost: what becomes of damaged lines, for the warning.
    """
    return [record for record in each_line(path, lost) if record is not None]


def each_line(path: Path, lost: str) -> Iterator[dict[str, Any] | None]:
    """Yields what `read_lines` returns, one line after the other; None for lines that are dropped."""
    if not path.is_file():
        return
    damaged = list[int]()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            whole = line.endswith(b"\n")
            record = _from_line(line) if whole else None
            if record is None and whole:
                damaged.append(number)
            yield record
    if damaged:
        listed = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
        what = f"line {listed} is" if len(damaged) == 1 else f"lines {listed} are"
        warn(f"{path}: {what} damaged; {lost}")


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes a file of lines atomically, one after the other."""
    with replacing(path) as file:
        for record in records:
            file.write(to_line(record).encode())


@functools.cache
def warn(text: str) -> None:
    """Logs a warning, once: a command may read a file several times."""
    _LOG.warning("%s", text)


def _from_line(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        return record if record.pop(KEY) == checksum(record) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
