"""Saves the detections of many images one by one, so that an interrupted run can resume."""

import json
import os
from pathlib import Path

import numpy as np

from tfeff.durable import write
from tfeff.evaluation import Detections


class Journal:
    """A file with one line per image, appended as soon as its detections are known. A truncated last line is dropped.

    Args:
        path: the file. It starts empty if it was written with another key.
        key: everything that the detections depend on besides the image.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._detections = path, dict[str, tuple[list[int], Detections]]()
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        first = json.dumps({"of": key}).encode() + b"\n"
        kept = [first]
        if lines[:1] == kept:
            for line in lines[1:]:
                if not line.endswith(b"\n"):
                    break
                row = json.loads(line)
                boxes = np.array(row["boxes_yxyx"], np.float32).reshape(-1, 4)
                detections = Detections(boxes, np.array(row["labels"], np.int32), np.array(row["scores"], np.float32))
                self._detections[row["image"]] = row["file"], detections
                kept.append(line)
        write(path, b"".join(kept).decode())

    def get(self, name: str, file: Path) -> Detections | None:
        """The detections of an image; None if they are not known or the file has changed."""
        state, detections = self._detections.get(name, (None, None))
        return detections if state == _state(file) else None

    def add(self, name: str, file: Path, detections: Detections) -> None:
        """Saves the detections of an image."""
        row = {
            "image": name,
            "file": _state(file),
            "boxes_yxyx": detections.boxes_yxyx.tolist(),
            "labels": detections.labels.tolist(),
            "scores": detections.scores.tolist(),
        }
        with self._path.open("a") as lines:
            lines.write(json.dumps(row) + "\n")


def state_of(directory: Path) -> str:
    """Sizes and modification times of all files in a directory, to detect changed contents."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return json.dumps([[path.relative_to(directory).as_posix(), *_state(path)] for path in files])


def _state(file: Path) -> list[int]:
    status = os.stat(file)
    return [status.st_size, status.st_mtime_ns]
