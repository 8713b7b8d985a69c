"""SavedModels, loaded; those of detectors: from an image to detections."""

import os
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
from tfeff.serving import interface

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
        UserError: the SavedModel, or its metadata, is missing or damaged.
    """

    def __init__(self, directory: Path) -> None:
        about = interface.read(directory / interface.METADATA)
        self.class_names: tuple[str, ...] = tuple(about["class_names"])
        self.class_ids: tuple[Id, ...] = tuple(about.get("class_ids", ()))
        self.score, self.class_agnostic, self._channels = about["score"], about["class_agnostic"], about["input"][2]
        self._model = load(directory)
        self._detect = self._model.signatures["serving_default"]
        try:
            self._propose = from_record(about["proposals"]) if "proposals" in about else None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            path = directory / interface.METADATA
            raise UserError(f"{path}: proposals are damaged ({error!r}); {interface.ADVICE}") from error

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
