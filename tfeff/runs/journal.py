"""Rows of images that a resumed call need not compute again, as long as the model and the image files are unchanged."""

import hashlib
import json
import os
from itertools import chain
from pathlib import Path

import numpy as np

from tfeff.checked import each_line, read_json, to_line, write_lines
from tfeff.runs.results import Row
from tfeff.serving.detector import CHECKSUMS
from tfeff.serving.exported import SAVED_MODEL, files_of, located, read_metadata
from tfeff.serving.interface import ADVICE, FILES

MARK = ".predictions-"
"""How the names of journals begin. A folder with one holds predictions."""
_KEY = "rows_of"


class Journal:
    """A file with one line per image, appended as soon as its row is known; damaged lines are dropped.

    Args:
        folder: where predictions are written. It can have journals of several keys.
        key: everything that the rows depend on besides the image.
    """

    def __init__(self, folder: Path, key: str) -> None:
        path = folder / f"{MARK}{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.jsonl"
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
    def keys(folder: Path) -> list[str]:
        """Returns the keys of the journals in a folder, the last one written first; damaged ones are left out."""
        keys = list[str]()
        for path in sorted(folder.glob(f"{MARK}*.jsonl"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                with path.open("rb") as lines:
                    keys.append(str(json.loads(lines.readline())[_KEY]))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return keys

    def remove_others(self) -> None:
        """Removes the journals of other keys, when the results in the folder are those of this one."""
        for path in self._path.parent.glob(f"{MARK}*.jsonl"):
            if path != self._path:
                path.unlink(missing_ok=True)

    def get(self, name: str, file: Path) -> Row | None:
        """Returns the row of an image (see `compact`); None if it is unknown, or the file has changed or is gone."""
        state, row = self._rows.get(name, (None, None))
        return row if state is not None and state == file_state(file) else None

    def add(self, name: str, file: Path, row: Row) -> None:
        """Saves the row of an image, JSON-serializable but for what `compact` changes, unless the file is gone."""
        if (state := file_state(file)) is not None:
            with self._path.open("a") as lines:
                lines.write(to_line(_record(name, state, row)))


def compact(row: Row) -> Row:
    """Returns a row with its vector, if it has one, as float32, which takes an eighth of the memory of a list."""
    return {**row, "vector": np.array(row["vector"], np.float32)} if "vector" in row else row


def _record(name: str, state: list[int], row: Row) -> Row:
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in row.items()}
    return {"image": name, "file": state, "row": plain}


def model_state(path: Path) -> str:
    """Returns what changes with an exported model: its metadata and the checksums of its files.

    If the user has deleted the checksums: names, sizes and times of the files.

    Raises:
        UserError: there is no exported model, or its metadata are missing or damaged.
    """
    format, found = located(path)
    about = dict(read_metadata(found))
    if format == SAVED_MODEL and (found / CHECKSUMS).is_file():
        about[FILES] = read_json(found / CHECKSUMS, ADVICE)
    if FILES not in about:
        return state_of(*files_of(found))
    return hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def state_of(*paths: Path) -> str:
    """Returns names, sizes and modification times of files, and of all files in directories, to detect changes."""
    files = [
        (each.relative_to(path if path.is_dir() else path.parent), each)
        for path in paths
        for each in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if each.is_file()
    ]
    # Without the time of the change: a copy of a model is the same model.
    return json.dumps([[name.as_posix(), *(file_state(each) or ())[:2]] for name, each in files])


def file_state(file: Path) -> list[int] | None:
    """Returns the size and times; None if there is no such file, such as that of a dangling link.

    Archives set the time of modification, so different files can share it, but not that of their change.
    """
    try:
        status = os.stat(file)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
