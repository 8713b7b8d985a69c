"""SavedModels, loaded; those of detectors: from an image to detections.

`assets/detector.json` of a detector's SavedModel holds the class names, their ids in the dataset, the detection
threshold and whether classes suppress each other.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from absl import logging

from tfeff import checked
from tfeff.data.dataset import Id
from tfeff.data.images import decoding
from tfeff.errors import UserError
from tfeff.proposals.records import from_record

DETECTOR_FILE = "detector.json"
CHECKSUMS = "checksums.json"
"""CRC-32 of each file of a SavedModel, by its path, except JSON, which has its own."""


def load(directory: Path) -> Any:
    """Returns a SavedModel with the signatures of our exports.

    Raises:
        UserError: it is damaged.
    """
    if (directory / CHECKSUMS).is_file():  # as damaged weights would predict something else
        expected = checked.read_json(directory / CHECKSUMS, "export the model again")
        found = file_checksums(directory)
        if damaged := [name for name, crc in expected.items() if found.get(name) != crc]:
            raise UserError(
                f"{directory / damaged[0]}: damaged, edited or missing; export the model again, or delete {CHECKSUMS}"
            )
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # it warns that exported models have no gradients
    try:
        model = tf.saved_model.load(os.fspath(directory))
        for name in ("serving_default", "serving_bytes"):
            _ = model.signatures[name]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise UserError(f"{directory}: cannot read the SavedModel ({error}); export the model again") from error
    finally:
        logging.set_verbosity(verbosity)
    return model


def file_checksums(directory: Path) -> dict[str, str]:
    """Returns the contents of `CHECKSUMS`."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.suffix != ".json")
    return {path.relative_to(directory).as_posix(): f"{checked.file_crc32(path):08x}" for path in files}


class ImageDetector(Protocol):
    """An exported detector of any kind.

    Attributes:
        class_names: C.
        score: the detection threshold.
        class_agnostic: whether detections of different classes suppress each other.
    """

    class_names: tuple[str, ...]
    score: float
    class_agnostic: bool

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detects boxes_yxyx float32 [m, 4], labels int32 [m], scores float32 [m] in uint8 [height, width, 3]."""
        ...


class ExportedDetector:
    """The SavedModel of a detector, with its proposal method, if it needs one.

    Args:
        directory: directory of the SavedModel.

    Attributes:
        class_names: C.
        score: the detection threshold.
        class_agnostic: see `ImageDetector`.
        class_ids: the dataset's own ids of the classes; empty if it has none.

    Raises:
        UserError: the SavedModel is damaged.
    """

    def __init__(self, directory: Path) -> None:
        record = read_record(directory)
        self.class_names, self.score, self._channels = record.class_names, record.score, record.channels
        self.class_agnostic, self.class_ids = record.class_agnostic, record.class_ids
        self._model = load(directory)
        self._detect = self._model.signatures["serving_default"]
        try:
            self._propose = None if record.proposals is None else from_record(record.proposals)
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(directory, error) from error

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detects boxes_yxyx float32 [m, 4], labels int32 [m], scores float32 [m] in uint8 [height, width, 3]."""
        inputs = {"images": decoding.in_channels(pixels, self._channels)[None]}
        if self._propose is not None:
            boxes = self._propose(pixels).boxes_yxyx
            inputs |= {"proposals": boxes[None], "counts": np.array([len(boxes)], np.int32)}
        outputs = self._detect(**{name: tf.constant(value) for name, value in inputs.items()})
        found = {name: values.numpy()[0] for name, values in outputs.items()}
        count = found["count"]
        return found["boxes"][:count], found["labels"][:count], found["scores"][:count]


@dataclass(frozen=True)
class DetectorRecord:
    """The contents of `detector.json`.

    Attributes:
        class_names: C.
        score: the detection threshold.
        channels: channels of an image, 1 or 3.
        class_agnostic: see `ImageDetector`.
        proposals: the record of the proposal method (`proposals.records`); None: the detector takes images alone.
        class_ids: the dataset's own ids of the classes; empty if it has none.
    """

    class_names: tuple[str, ...]
    score: float
    channels: int
    class_agnostic: bool
    proposals: Mapping[str, Any] | None = None
    class_ids: tuple[Id, ...] = ()

    def to_json(self) -> str:
        """Returns JSON text that `read_record` reads."""
        proposals = {} if self.proposals is None else {"proposals": dict(self.proposals)}
        fields = {
            "class_names": list(self.class_names),
            "score": self.score,
            "gray": self.channels == 1,
            "class_agnostic": self.class_agnostic,
        }
        class_ids = {"class_ids": list(self.class_ids)} if self.class_ids else {}
        return checked.to_json(fields | class_ids | proposals)


def read_record(directory: Path) -> DetectorRecord:
    """Reads `detector.json` of a SavedModel.

    Raises:
        UserError: it is missing or damaged.
    """
    path = directory / "assets" / DETECTOR_FILE
    if not path.is_file():
        raise UserError(f"{directory}: not a detector; it must be a SavedModel from tfeff.train or tfeff.export")
    try:
        fields = checked.read_json(path, "export the detector again")
        proposals = None if fields.get("proposals") is None else dict(fields["proposals"])
        channels = 1 if fields["gray"] else 3
        names, class_ids = tuple(fields["class_names"]), tuple(fields.get("class_ids", ()))
        if class_ids and len(class_ids) != len(names):
            raise ValueError(f"{len(class_ids)} ids of {len(names)} classes")
        agnostic = bool(fields["class_agnostic"])
        return DetectorRecord(names, float(fields["score"]), channels, agnostic, proposals, class_ids)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(directory, error) from error


def damaged(directory: Path, error: Exception) -> UserError:
    """Returns the error for a `detector.json` that cannot be used."""
    return UserError(f"{directory / 'assets' / DETECTOR_FILE}: damaged ({error!r}); export the detector again")
