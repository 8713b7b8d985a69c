"""Detections of many images, kept one after the other, so that work that was stopped goes on."""

import json
import os
from pathlib import Path

import numpy as np

from tfeff.durable import write
from tfeff.evaluation import Detections


class Journal:
    """A file with a line an image, written as soon as its detections are known; a line that a kill cut off is dropped.

    Args:
        path: of the file. One that was begun with another `of` is begun anew.
        of: what detections depend on besides the image.
    """

    def __init__(self, path: Path, of: str) -> None:
        self._path, self._known = path, dict[str, tuple[list[int], Detections]]()
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        first = json.dumps({"of": of}).encode() + b"\n"
        kept = [first]
        if lines[:1] == kept:
            for line in lines[1:]:
                if not line.endswith(b"\n"):
                    break
                row = json.loads(line)
                boxes = np.array(row["boxes_yxyx"], np.float32).reshape(-1, 4)
                found = Detections(boxes, np.array(row["labels"], np.int32), np.array(row["scores"], np.float32))
                self._known[row["image"]] = row["file"], found
                kept.append(line)
        write(path, b"".join(kept).decode())

    def get(self, name: str, file: Path) -> Detections | None:
        """Those of an image, unless they are not known or its file has changed since."""
        state, found = self._known.get(name, (None, None))
        return found if state == _state(file) else None

    def add(self, name: str, file: Path, found: Detections) -> None:
        """Keeps those of an image."""
        row = {
            "image": name,
            "file": _state(file),
            "boxes_yxyx": found.boxes_yxyx.tolist(),
            "labels": found.labels.tolist(),
            "scores": found.scores.tolist(),
        }
        with self._path.open("a") as lines:
            lines.write(json.dumps(row) + "\n")


def state_of(directory: Path) -> str:
    """Sizes and times of all files of a directory: other ones are other contents."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return json.dumps([[path.relative_to(directory).as_posix(), *_state(path)] for path in files])


def _state(file: Path) -> list[int]:
    status = os.stat(file)
    return [status.st_size, status.st_mtime_ns]
