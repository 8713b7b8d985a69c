"""A detector's SavedModel, loaded: from an image to detections.

Next to the SavedModel's own files, `assets/detector.json` holds the class names and the detection threshold.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfeff.data.images import graph_decoding
from tfeff.errors import UserError

METADATA = "detector.json"


class Detector(Protocol):
    """An exported detector of any kind.

    Attributes:
        class_names: C.
        score: the detection threshold.
    """

    class_names: tuple[str, ...]
    score: float

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """boxes_yxyx float32 [m, 4], labels int32 [m], scores float32 [m] in an image, uint8 [height, width, 3]."""
        ...


class DenseDetector:
    """The SavedModel of a one-stage detector.

    Args:
        directory: of the SavedModel.

    Attributes:
        class_names: C.
        score: the detection threshold.

    Raises:
        UserError: the SavedModel is damaged.
    """

    def __init__(self, directory: Path) -> None:
        metadata = read_metadata(directory)
        try:
            self.class_names: tuple[str, ...] = tuple(metadata["class_names"])
            self.score = float(metadata["score"])
            self._channels = 1 if metadata["gray"] else 3
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{directory / 'assets' / METADATA}: damaged ({error!r}); export the detector again"
            ) from error
        self._model = load(directory)
        self._detect = self._model.signatures["serving_default"]

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """boxes_yxyx float32 [m, 4], labels int32 [m], scores float32 [m] in an image, uint8 [height, width, 3]."""
        images = tf.constant(graph_decoding.in_channels(pixels, self._channels)[None])
        found = {name: values.numpy()[0] for name, values in self._detect(images=images).items()}
        count = found["count"]
        return found["boxes"][:count], found["labels"][:count], found["scores"][:count]


def read_metadata(directory: Path) -> Mapping[str, Any]:
    """What `detector.json` says.

    Raises:
        UserError: it is missing or damaged.
    """
    path = directory / "assets" / METADATA
    if not path.is_file():
        raise UserError(f"{directory}: not a detector; it must be a SavedModel from tfeff.train or tfeff.export")
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error!r}); export the detector again") from error


def load(directory: Path) -> Any:
    """The SavedModel.

    Raises:
        UserError: it is damaged.
    """
    try:
        model = tf.saved_model.load(os.fspath(directory))
        _ = model.signatures["serving_default"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise UserError(f"{directory}: cannot read the SavedModel ({error}); export the detector again") from error
    return model
