"""Saves the predictions for many images one by one, so that an interrupted run can resume."""

import json
import os
from pathlib import Path
from typing import Any

from tfeff.durable import write


class Journal:
    """A file with one line per image, appended as soon as its row is known; damaged lines and those after are dropped.

    Args:
        path: the file. It starts empty if it was written with another key.
        key: everything that the rows depend on besides the image.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._rows = path, dict[str, tuple[list[int], dict[str, Any]]]()
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        first = json.dumps({"rows_of": key}).encode() + b"\n"
        kept = [first]
        if lines[:1] == kept:
            for line in lines[1:]:
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    self._rows[entry["image"]] = entry["file"], entry["row"]
                except (ValueError, KeyError, TypeError):
                    break
                kept.append(line)
        write(path, b"".join(kept).decode())

    def get(self, name: str, file: Path) -> dict[str, Any] | None:
        """The row of an image; None if it is not known or the file has changed."""
        state, row = self._rows.get(name, (None, None))
        return row if state == _state(file) else None

    def add(self, name: str, file: Path, row: dict[str, Any]) -> None:
        """Saves the row of an image, JSON-serializable."""
        with self._path.open("a") as lines:
            lines.write(json.dumps({"image": name, "file": _state(file), "row": row}) + "\n")


def state_of(directory: Path) -> str:
    """Sizes and modification times of all files in a directory, to detect changed contents."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return json.dumps([[path.relative_to(directory).as_posix(), *_state(path)] for path in files])


def _state(file: Path) -> list[int]:
    status = os.stat(file)
    return [status.st_size, status.st_mtime_ns]
