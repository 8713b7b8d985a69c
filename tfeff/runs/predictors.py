"""Exported models behind one interface: encoded images -> rows that are JSON-ready, and drawings of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.rcnn.savedmodel import METADATA, LoadedDetector
from tfeff.reporting.detections import draw_detections
from tfeff.serving.savedmodel import CLASSES_FILE

TOP = 5
"""Classes listed for each image."""
Row = dict[str, Any]
"""What a model predicts for one image."""


class Predictor(ABC):
    """A model that predicts from image files.

    Attributes:
        batch_size: images in one call.
        draws_boxes: whether `draw` marks objects in the image.
    """

    batch_size: int
    draws_boxes: bool

    @abstractmethod
    def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Row | UserError]:
        """A row for each (name, encoded image), or why the image cannot be used."""

    @abstractmethod
    def draw(self, pixels: np.ndarray, row: Row) -> np.ndarray:
        """The image with its prediction, uint8 [height, width, 3]."""


class ClassifierPredictor(Predictor):
    """The SavedModel of a classifier or a localizer.

    Rows hold `label`, `probability` and `top`, the five most probable classes; those of a localizer also `box_yxyx` in
    pixels.

    Args:
        directory: of the SavedModel.
        batch_size: images in one call.

    Raises:
        UserError: the SavedModel is damaged.
    """

    def __init__(self, directory: Path, batch_size: int) -> None:
        self.batch_size = batch_size
        try:
            self._model = tf.saved_model.load(str(directory))
            self._serve = self._model.signatures["serving_bytes"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise UserError(f"{directory}: cannot read the SavedModel ({error}); export the model again") from error
        names = (directory / "assets" / CLASSES_FILE).read_text(encoding="utf-8").splitlines()
        self.class_names = tuple(names)
        self.draws_boxes = "box" in self._serve.structured_outputs

    def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Row | UserError]:
        """See `Predictor`. One corrupt file fails the whole call, so its files are then tried one by one."""
        try:
            outputs = self._serve(encoded=tf.constant([encoded for _, encoded in files]))
        except tf.errors.InvalidArgumentError as error:
            if len(files) > 1:
                return [row for file in files for row in self.predict([file])]
            return [UserError(f"{files[0][0]}: not an image, or damaged ({str(error.message).splitlines()[0]})")]
        probabilities = outputs["probabilities"].numpy()
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        rows: list[Row | UserError] = []
        for index, (chances, order) in enumerate(zip(probabilities, best, strict=True)):
            top = [(self.class_names[label], float(chances[label])) for label in order]
            row: Row = {"label": top[0][0], "probability": top[0][1], "top": top}
            if self.draws_boxes:
                row["box_yxyx"] = outputs["box"][index].numpy().tolist()
            rows.append(row)
        return rows

    def draw(self, pixels: np.ndarray, row: Row) -> np.ndarray:
        """See `Predictor`."""
        boxes = [row["box_yxyx"]] if self.draws_boxes else []
        return draw_detections(pixels, boxes, [row["label"]] * len(boxes), [row["probability"]] * len(boxes))


class DetectorPredictor(Predictor):
    """The SavedModel of a detector. Rows hold `labels`, `classes` (their names), `scores` and `boxes_yxyx` in pixels.

    Args:
        directory: of the SavedModel.
        score: detections below it are omitted; None: the threshold that was chosen on the validation images.

    Raises:
        UserError: the SavedModel is damaged.
    """

    batch_size = 1
    draws_boxes = True

    def __init__(self, directory: Path, score: float | None) -> None:
        self._detector = LoadedDetector(directory)
        self._score = self._detector.score if score is None else score

    def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Row | UserError]:
        """See `Predictor`."""
        return [self._detect(name, encoded) for name, encoded in files]

    def draw(self, pixels: np.ndarray, row: Row) -> np.ndarray:
        """See `Predictor`."""
        return draw_detections(pixels, row["boxes_yxyx"], row["classes"], row["scores"])

    def _detect(self, name: str, encoded: bytes) -> Row | UserError:
        try:
            _, boxes, labels, scores = self._detector(encoded, name)
        except UserError as error:
            return error
        kept = scores >= self._score
        return {
            "labels": labels[kept].tolist(),
            "classes": [self._detector.class_names[label] for label in labels[kept]],
            "scores": scores[kept].tolist(),
            "boxes_yxyx": boxes[kept].tolist(),
        }


def load_predictor(directory: Path, *, batch_size: int = 32, score: float | None = None) -> Predictor:
    """Loads a SavedModel of `tfeff.train` or `tfeff.export`.

    Args:
        directory: of the SavedModel.
        batch_size: images in one call of a classifier or localizer.
        score: minimum score of detections; None: the threshold of the detector.

    Raises:
        UserError: there is no such SavedModel, it is damaged, or `score` is given and it is not a detector.
    """
    if (directory / "assets" / METADATA).is_file():
        return DetectorPredictor(directory, score)
    if not (directory / "assets" / CLASSES_FILE).is_file():
        raise UserError(f"{directory}: no SavedModel of tfeff.train or tfeff.export there")
    if score is not None:
        raise UserError("--score requires a detector; remove it")
    return ClassifierPredictor(directory, batch_size)
