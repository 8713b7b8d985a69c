"""Rows of images that a resumed call need not compute again, as long as the model and the image files are unchanged."""

import json
import os
from itertools import chain
from pathlib import Path

import numpy as np

from tfeff.checked import each_line, to_line, write_lines
from tfeff.runs.results import Row

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
        self._path, self._rows = path, dict[str, tuple[list[int], Row]]()
        first = {_KEY: key}
        lines = each_line(path, "the rows are computed again")
        known = whole = next(lines, None) == first
        for line in lines if known else ():
            if line is None or line.keys() != {"image", "file", "row"}:
                whole = False
            else:
                self._rows[line["image"]] = line["file"], compact(line["row"])
        if not whole:
            kept = (_record(name, file, row) for name, (file, row) in self._rows.items())
            write_lines(path, chain([first], kept))

    @staticmethod
    def key_of(path: Path) -> str | None:
        """Returns the key with which a file was written; None without a file, or if its first line is damaged."""
        try:
            with path.open("rb") as lines:
                key = json.loads(lines.readline())[_KEY]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return key if isinstance(key, str) else None

    def get(self, name: str, file: Path) -> Row | None:
        """Returns the row of an image (see `compact`); None if it is unknown, or the file has changed or is gone."""
        state, row = self._rows.get(name, (None, None))
        return row if state is not None and state == _state(file) else None

    def add(self, name: str, file: Path, row: Row) -> None:
        """Saves the row of an image, JSON-serializable but for what `compact` changes, unless the file is gone."""
        if (state := _state(file)) is not None:
            with self._path.open("a") as lines:
                lines.write(to_line(_record(name, state, row)))


def compact(row: Row) -> Row:
    """Returns a row with its vector, if it has one, as float32, which takes an eighth of the memory of a list."""
    return {**row, "vector": np.array(row["vector"], np.float32)} if "vector" in row else row


def _record(name: str, state: list[int], row: Row) -> Row:
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in row.items()}
    return {"image": name, "file": state, "row": plain}


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
