"""Rows of images that a resumed call need not compute again, as long as the model and the image files are unchanged."""

import json
import os
from pathlib import Path
from typing import Any

from tfeff.checked import read_lines, to_line, write_lines

NAME = ".predictions.jsonl"
"""The journal of a folder of predictions."""
_KEY = "rows_of"


class Journal:
    """A file with one line per image, appended as soon as its row is known; damaged lines are dropped.

    Args:
        path: the file. It starts empty if it was written with another key.
        key: everything that the rows depend on besides the image.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._rows = path, dict[str, tuple[list[int], dict[str, Any]]]()
        first = {_KEY: key}
        lines = read_lines(path, "the rows are computed again")
        kept = [line for line in lines if line.keys() == {"image", "file", "row"}] if first in lines else []
        for line in kept:
            self._rows[line["image"]] = line["file"], line["row"]
        write_lines(path, [first, *kept])

    @staticmethod
    def key_of(path: Path) -> str | None:
        """Returns the key with which a file was written; None without a file, or if its first line is damaged."""
        try:
            with path.open("rb") as lines:
                key = json.loads(lines.readline())[_KEY]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return key if isinstance(key, str) else None

    def get(self, name: str, file: Path) -> dict[str, Any] | None:
        """Returns the row of an image; None if it is not known, or the file has changed or is gone."""
        state, row = self._rows.get(name, (None, None))
        return row if state is not None and state == _state(file) else None

    def add(self, name: str, file: Path, row: dict[str, Any]) -> None:
        """Saves the row of an image, JSON-serializable, unless the file is gone."""
        if (state := _state(file)) is not None:
            with self._path.open("a") as lines:
                lines.write(to_line({"image": name, "file": state, "row": row}))


def state_of(*paths: Path) -> str:
    """Returns names, sizes and modification times of files, and of all files in directories, to detect changes."""
    files = [
        (each.relative_to(path if path.is_dir() else path.parent), each)
        for path in paths
        for each in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if each.is_file()
    ]
    # Without the time of the change: a copy of a model is the same model.
    return json.dumps([[name.as_posix(), *(_state(each) or ())[:2]] for name, each in files])


def _state(file: Path) -> list[int] | None:
    """Returns the size and times; None if there is no such file, such as that of a dangling link.

    Archives set the time of modification, so different files can share it, but not that of their change.
    """
    try:
        status = os.stat(file)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
