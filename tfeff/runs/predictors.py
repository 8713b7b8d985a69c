"""Exported models behind one interface: encoded images -> rows that are JSON-ready, and drawings of them."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfeff.boxes import Tiling
from tfeff.data.images import decoding
from tfeff.errors import UserError
from tfeff.rcnn.savedmodel import ExportedRCNN
from tfeff.reporting.detections import draw_detections
from tfeff.serving.detector import DETECTOR_FILE, Detector, ExportedDetector
from tfeff.serving.loading import load
from tfeff.serving.savedmodel import CLASSES_FILE

TOP = 5
"""Classes listed for each image."""
Row = dict[str, Any]
"""What a model predicts for one image."""
BOX_COLUMNS = ("top", "left", "bottom", "right")
DETECTION_COLUMNS = ("label", "score", *BOX_COLUMNS)
"""Columns of a CSV file with one line per detected object."""


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
        self._model = load(directory)
        self._serve = self._model.signatures["serving_bytes"]
        names = (directory / "assets" / CLASSES_FILE).read_text(encoding="utf-8").splitlines()
        self.class_names = tuple(names)
        self.draws_boxes = "box" in self._serve.structured_outputs

    def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Row | UserError]:
        """See `Predictor`. One damaged file fails a whole call, so files that look damaged are tried alone."""
        complete = [decoding.looks_complete(encoded) for _, encoded in files]
        rows = iter(self._predict(list(itertools.compress(files, complete))))
        return [next(rows) if good else self._predict([file])[0] for file, good in zip(files, complete, strict=True)]

    def _predict(self, files: Sequence[tuple[str, bytes]]) -> list[Row | UserError]:
        """If the call fails, the halves of the files are tried."""
        if not files:
            return []
        try:
            outputs = self._serve(encoded=tf.constant([encoded for _, encoded in files]))
        except tf.errors.InvalidArgumentError as error:
            if len(files) > 1:
                half = len(files) // 2
                return self._predict(files[:half]) + self._predict(files[half:])
            return [UserError(f"{files[0][0]}: not an image, or damaged ({_reason(error)})")]
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


def _reason(error: tf.errors.OpError) -> str:
    """The reason within an error of a SavedModel, whose message also says in which node it occurred.

    >>> text = "Graph execution error:\\n\\nDetected at node x:\\nInput is empty.\\n\\t [[{{node x}}]] [Op:y]"
    >>> _reason(tf.errors.InvalidArgumentError(None, None, text))
    'Input is empty.'
    """
    lines = [line for line in str(error.message).splitlines() if line.strip() and not line.startswith("\t")]
    return lines[-1] if lines else type(error).__name__


class DetectorPredictor(Predictor):
    """A detector. Rows hold `labels`, `classes` (their names), `scores` and `boxes_yxyx` in pixels.

    Args:
        detector: the loaded SavedModel.
        score: detections below it are omitted; None: the threshold that was chosen on the validation images.
        tile: (height, width) in pixels; detect in overlapping tiles of this size. None: in the whole image.
        overlap: pixels that neighboring tiles share.
    """

    batch_size = 1
    draws_boxes = True

    def __init__(
        self,
        detector: Detector,
        score: float | None = None,
        tile: tuple[int, int] | None = None,
        overlap: int = 0,
    ) -> None:
        self._detector = detector
        self._score = detector.score if score is None else score
        self._tile, self._overlap = tile, overlap

    def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Row | UserError]:
        """See `Predictor`."""
        rows: list[Row | UserError] = []
        for name, encoded in files:
            try:
                rows.append(self.detect(decoding.decode(encoded, name)))
            except UserError as error:
                rows.append(error)
        return rows

    def detect(self, pixels: np.ndarray) -> Row:
        """The row of an image, uint8 [height, width, 3]."""
        size = pixels.shape[0], pixels.shape[1]
        tiling = Tiling(size, self._tile or size, self._overlap)
        found = [
            self._detect(np.ascontiguousarray(pixels[top:bottom, left:right]))
            for top, left, bottom, right in tiling.tiles_yxyx
        ]
        boxes, labels, scores = found[0] if len(found) == 1 else tiling.merge(*zip(*found, strict=True))
        return {
            "labels": labels.tolist(),
            "classes": [self._detector.class_names[label] for label in labels],
            "scores": scores.tolist(),
            "boxes_yxyx": boxes.tolist(),
        }

    def draw(self, pixels: np.ndarray, row: Row) -> np.ndarray:
        """See `Predictor`."""
        return draw_detections(pixels, row["boxes_yxyx"], row["classes"], row["scores"])

    def _detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes, labels, scores = self._detector.detect(pixels)
        kept = scores >= self._score
        return boxes[kept], labels[kept], scores[kept]


def detection_cells(row: Row) -> list[list[str]]:
    """The detections in a detector's row, each as the text of `DETECTION_COLUMNS`."""
    return [
        [label, f"{score:.6g}", *(f"{side:.2f}" for side in sides)]
        for label, score, sides in zip(row["classes"], row["scores"], row["boxes_yxyx"], strict=True)
    ]


def load_predictor(
    directory: Path,
    *,
    batch_size: int = 32,
    score: float | None = None,
    tile: tuple[int, int] | None = None,
    overlap: int = 0,
) -> Predictor:
    """Loads a SavedModel of `tfeff.train` or `tfeff.export`.

    Args:
        directory: of the SavedModel.
        batch_size: images in one call of a classifier or localizer.
        score: minimum score of detections; None: the threshold of the detector.
        tile: (height, width) of the tiles in which a detector detects, in pixels; None: in whole images.
        overlap: pixels that neighboring tiles share.

    Raises:
        UserError: there is no such SavedModel, it is damaged, or `score` or `tile` is given and it is not a detector.
    """
    if (directory / "assets" / DETECTOR_FILE).is_file():
        one_network = (directory / "assets" / CLASSES_FILE).is_file()  # R-CNN's SavedModels have no such file
        detector: Detector = ExportedDetector(directory) if one_network else ExportedRCNN(directory)
        return DetectorPredictor(detector, score, tile, overlap)
    if not (directory / "assets" / CLASSES_FILE).is_file():
        raise UserError(f"{directory}: no SavedModel of tfeff.train or tfeff.export there; write one with tfeff.export")
    if score is not None:
        raise UserError("--score requires a detector; remove it")
    if tile is not None:
        raise UserError("--tile requires a detector; remove it")
    return ClassifierPredictor(directory, batch_size)
