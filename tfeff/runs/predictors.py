"""Exported models behind one interface: images -> predictions."""

import itertools
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import numpy as np
import tensorflow as tf

from tfeff import checked
from tfeff.boxes.tiling import COMPARABLE, Grid, Tile, checked_tiles
from tfeff.data.dataset import Id
from tfeff.data.images import decoding, header
from tfeff.data.sources.files import find
from tfeff.errors import UserError, brief
from tfeff.reporting.spreadsheet import csv_text
from tfeff.runs.gallery import Gallery, read_gallery
from tfeff.runs.journal import file_state
from tfeff.runs.results import (
    Classification,
    Detection,
    Embedding,
    Localization,
    Prediction,
    Recognition,
    Row,
)
from tfeff.serving.detector import ExportedDetector, ImageDetector
from tfeff.serving.exported import SAVED_MODEL, ExportedModel, located, read_metadata
from tfeff.serving.image_model import ImageModel, SavedImageModel
from tfeff.serving.interface import UNKNOWN_THRESHOLDS, grid_of
from tfeff.tasks.task import DIVERGED

T = TypeVar("T")
Files = list[tuple[str, bytes]]
"""Names and contents of image files."""
Model = ExportedDetector | SavedImageModel | ExportedModel
DECODED_BYTES = 2**28
"""Images that are decoded at once; models that fit images take several times as much."""
GALLERY = "gallery"
"""Key of the last gallery among loaded models."""
BOX_COLUMNS = ("top", "left", "bottom", "right")


class Predictor(ABC):
    """A model that predicts.

    Attributes:
        batch_size: images in one call.
        draws_boxes: whether its predictions mark objects in the image.
        class_ids: the own ids of the classes in the dataset that it was trained on; empty if that has none.
        score: minimum score of the detections of a detector.
    """

    batch_size: int
    draws_boxes: bool
    class_ids: tuple[Id, ...] = ()
    score: float = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What users should know about its predictions, one line each."""
        return ()

    @abstractmethod
    def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Prediction | UserError]:
        """Returns what is predicted for each (name, encoded image), or why the image cannot be used."""

    def predict_batches(self, batches: Iterator[Files]) -> Iterator[tuple[Files, list[Prediction | UserError]]]:
        """Yields each batch with what `predict` returns for it; a thread reads the next one meanwhile."""
        for files in _ahead(batches):
            yield files, self.predict(files)

    @abstractmethod
    def predict_pixels(self, images: Sequence[tuple[str, np.ndarray]]) -> list[Prediction | UserError]:
        """Returns what is predicted for each (name, image), uint8 [height, width, 3], or why the model refuses it."""


class ClassifierPredictor(Predictor):
    """A classifier or a localizer.

    Args:
        model: the exported model.
        batch_size: images in one call.
    """

    def __init__(self, model: ImageModel, batch_size: int) -> None:
        self.batch_size, self.class_names, self._model = batch_size, model.class_names, model
        self.draws_boxes = "box" in model.outputs

    def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Prediction | UserError]:
        """See `Predictor`. Files are decoded as in training."""
        found = list[Prediction | UserError]()
        with ThreadPoolExecutor() as threads:
            for part in _parts(files):
                decoded = list(threads.map(_decoded, part))
                pairs = list(zip(part, decoded, strict=True))
                good = [(name, pixels) for (name, _), pixels in pairs if isinstance(pixels, np.ndarray)]
                predicted = iter(self._each(good))
                for (_, encoded), pixels in pairs:
                    each = pixels if isinstance(pixels, UserError) else next(predicted)
                    found.append(each if isinstance(each, UserError) else replace(each, source=encoded))
        return found

    def predict_pixels(self, images: Sequence[tuple[str, np.ndarray]]) -> list[Prediction | UserError]:
        """See `Predictor`."""
        return [each for part in batched(images, self.batch_size) for each in self._each(part)]

    def _each(self, images: Sequence[tuple[str, np.ndarray]]) -> Sequence[Prediction | UserError]:
        """Returns what is predicted for each image, or why the model refuses it, such as for being too thin."""
        try:
            return self._predict(images) if images else []
        except tf.errors.InvalidArgumentError as error:
            if len(images) == 1:
                return [_refused(images[0][0], error)]
        return [found for image in images for found in self._each([image])]

    def _predict(self, images: Sequence[tuple[str, np.ndarray]]) -> list[Prediction | UserError]:
        outputs = self._model.predict([pixels for _, pixels in images])
        numbers = [values for values in outputs.values() if np.issubdtype(values.dtype, np.floating)]
        finite = np.all([np.isfinite(values).reshape(len(images), -1).all(axis=1) for values in numbers], axis=0)
        return [
            replace(each, dark=decoding.is_dark(pixels)) if good else UserError(f"{name}: {DIVERGED}")
            for each, (name, pixels), good in zip(self._predictions(images, outputs), images, finite, strict=True)
        ]

    def _predictions(
        self, images: Sequence[tuple[str, np.ndarray]], outputs: Mapping[str, np.ndarray]
    ) -> list[Prediction]:
        kind = Localization if self.draws_boxes else Classification
        values = [outputs[name] for name in ("probabilities", "box") if name in outputs]
        return [
            kind(name, self.class_names, source, *row) for (name, source), *row in zip(images, *values, strict=True)
        ]


class EmbeddingPredictor(ClassifierPredictor):
    """An embedder; arguments as for `ClassifierPredictor`.

    Attributes:
        gallery: the gallery in which images are recognized; None: images only get their vectors.
        unknown: `evaluation.unknown_thresholds` of the run, as far as it has found them.

    Raises:
        UserError: its `metadata.json` is missing or damaged.
    """

    gallery: Gallery | None = None

    def __init__(self, model: ImageModel, batch_size: int) -> None:
        super().__init__(model, batch_size)
        advice = "export the model again"
        about = checked.read_json(model.metadata, advice, {UNKNOWN_THRESHOLDS: dict})
        try:
            self.unknown = {int(images): float(each) for images, each in about[UNKNOWN_THRESHOLDS].items()}
        except (TypeError, ValueError):
            raise UserError(f"{model.metadata}: {UNKNOWN_THRESHOLDS} is damaged; {advice}") from None

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Predictor`."""
        return () if self.gallery is None else self.gallery.notes

    def read(
        self, directory: Path, *, neighbors: int, threshold: float | None, progress: Callable[[int], None]
    ) -> Gallery:
        """Returns a gallery, with the vectors of this embedder; arguments and errors as for `read_gallery`."""
        return read_gallery(
            directory,
            self._embed,
            neighbors=neighbors,
            threshold=threshold,
            unknown=self.unknown,
            together=self.batch_size,
            progress=progress,
        )

    def _embed(self, files: Sequence[tuple[str, bytes]]) -> np.ndarray:
        vectors = list[np.ndarray]()
        for found in self.predict(files):
            if isinstance(found, UserError):
                raise found
            assert isinstance(found, Embedding)
            vectors.append(found.vector)
        return np.stack(vectors)

    def _predictions(
        self, images: Sequence[tuple[str, np.ndarray]], outputs: Mapping[str, np.ndarray]
    ) -> list[Prediction]:
        vectors, gallery = outputs["embedding"], self.gallery
        if gallery is None:
            return [
                Embedding(name, self.class_names, source, vector)
                for (name, source), vector in zip(images, vectors, strict=True)
            ]
        return [
            Recognition(name, gallery.class_names, source, vector, similarities, gallery.threshold)
            for (name, source), vector, similarities in zip(images, vectors, gallery.similarities(vectors), strict=True)
        ]


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields lists of `size` items, the last one of what is left."""
    items = iter(items)
    while part := list(itertools.islice(items, size)):
        yield part


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """Yields the items; a thread computes the next one while one is in use."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item


def _refused(name: str, error: tf.errors.InvalidArgumentError) -> UserError:
    """Returns the error for an image that the model does not take, such as a very thin one."""
    return UserError(f"{name}: {brief(error)}")


def _parts(files: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Yields consecutive files whose images take up to `DECODED_BYTES` together, at least one."""
    part, total = list[tuple[str, bytes]](), 0
    for name, encoded in files:
        try:
            size = 3 * math.prod(header.read(encoded, name).size)
        except UserError:  # which decoding says
            size = 0
        if part and total + size > DECODED_BYTES:
            yield part
            part, total = [], 0
        part.append((name, encoded))
        total += size
    if part:
        yield part


def _decoded(file: tuple[str, bytes]) -> np.ndarray | UserError:
    """Returns the pixels of an image file, or why it cannot be used."""
    name, encoded = file
    try:
        return decoding.decode(encoded, name)
    except UserError as error:
        return error


class DetectorPredictor(Predictor):
    """A detector.

    Args:
        score: detections below it are omitted; None: the threshold that was chosen on the validation images.
        grid: the tiles in which it detects.
        class_ids: see `Predictor`.
    """

    batch_size = 1
    draws_boxes = True

    def __init__(
        self,
        detector: ImageDetector,
        score: float | None = None,
        grid: Grid = Grid(),  # noqa: B008
        class_ids: tuple[Id, ...] = (),
    ) -> None:
        self._detector, self.class_ids = detector, class_ids
        self.score = detector.score if score is None else score
        self._grid = grid

    def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Prediction | UserError]:
        """See `Predictor`."""
        return [self._each(name, _decoded((name, encoded))) for name, encoded in files]

    def predict_batches(self, batches: Iterator[Files]) -> Iterator[tuple[Files, list[Prediction | UserError]]]:
        """See `Predictor`; the thread also decodes the next batch."""
        for files, images in _ahead((files, list(map(_decoded, files))) for files in batches):
            yield files, [self._each(name, pixels) for (name, _), pixels in zip(files, images, strict=True)]

    def predict_pixels(self, images: Sequence[tuple[str, np.ndarray]]) -> list[Prediction | UserError]:
        """See `Predictor`."""
        return [self._each(name, pixels) for name, pixels in images]

    def _each(self, name: str, pixels: np.ndarray | UserError) -> Prediction | UserError:
        """Returns what is found in an image, or why it cannot be used."""
        if isinstance(pixels, UserError):
            return pixels
        try:
            return self.detect(pixels, name)
        except UserError as error:
            return error

    def detect(self, pixels: np.ndarray, name: str = "") -> Detection:
        """Returns what is found in an image, uint8 [height, width, 3].

        Raises:
            UserError: the model refuses it.
        """
        size = pixels.shape[0], pixels.shape[1]
        tiling = self._grid.of(size)
        try:
            found = [
                self._detect(np.ascontiguousarray(pixels[top:bottom, left:right]))
                for top, left, bottom, right in tiling.tiles_yxyx
            ]
        except tf.errors.InvalidArgumentError as error:
            raise _refused(name, error) from error
        agnostic = self._detector.class_agnostic
        boxes, labels, scores = (
            found[0] if len(found) == 1 else tiling.merge(*zip(*found, strict=True), class_agnostic=agnostic)
        )
        kept, dark = scores >= self.score, decoding.is_dark(pixels)
        return Detection(name, self._detector.class_names, pixels, boxes[kept], labels[kept], scores[kept], dark=dark)

    def _detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the detections in a tile that can be in the result, or change it when tiles are merged."""
        boxes, labels, scores = self._detector.detect(pixels)
        kept = scores >= COMPARABLE * self.score
        return boxes[kept], labels[kept], scores[kept]


def detections_csv(columns: Sequence[str], rows: Iterable[tuple[Sequence[object], Row]]) -> str:
    """Returns a CSV file with one line per detected object.

    Args:
        columns: titles of the columns before those of the object.
        rows: what stands there, and the row of a `Detection`.
    """
    lines: list[list[object]] = [[*columns, "label", "score", *BOX_COLUMNS]]
    for start, row in rows:
        for label, score, sides in zip(row["classes"], row["scores"], row["boxes_yxyx"], strict=True):
            lines.append([*start, label, f"{score:.6g}", *(f"{side:.2f}" for side in sides)])
    return csv_text(lines)


class Options(TypedDict, total=False):
    """What of a model's predictions is wanted, and how; None, or no value: the default.

    Attributes:
        score: detectors: minimum score of a detection. Default: the threshold chosen on the validation images.
        tile: detectors: detect in tiles of this size in pixels, a number or (height, width). Default: as the detector
            was trained (`data.tile`).
        tile_overlap: pixels that neighboring tiles share. Default: a quarter of the shorter side.
        gallery: embedders: recognize images by those of this folder, which has a folder of images for each class.
            Default: return their vectors.
        neighbors: nearest images of a class whose mean similarity counts. Default: 1.
        threshold: minimum similarity of a known class. Default: that of the model for a gallery of as many images.
    """

    score: float | None
    tile: Tile | None
    tile_overlap: int | None
    gallery: str | os.PathLike[str] | None
    neighbors: int | None
    threshold: float | None


def load_predictor(
    path: Path,
    *,
    batch_size: int = 32,
    progress: Callable[[int], None] = lambda done: None,
    loaded: dict[Any, Any] | None = None,
    **options: Unpack[Options],
) -> Predictor:
    """Loads an exported model, which takes seconds.

    Args:
        path: SavedModel of `tfeff.train` or `tfeff.export`, or a folder or file of another format of `tfeff.export`.
        batch_size: images in one call, except of a detector.
        progress: called with the number of images of the gallery that have been read.
        loaded: models that earlier calls have loaded, by path, and the last gallery; this one is added, and a gallery
            whose files have not changed is not read again.
        **options: see `Options`.

    Raises:
        UserError: the model is damaged, its runtime is not installed, `batch_size` is less than 1, or as in
            `check_options` and `read_gallery`.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: give a number of images")
    check_options(path, **options)
    loaded = {} if loaded is None else loaded
    model: Any = open_model(path, loaded)
    gallery, neighbors = options.get("gallery"), options.get("neighbors")
    if _is_detector(path):
        return DetectorPredictor(model, options.get("score"), tiles(path, **options), model.class_ids)
    if "embedding" in model.outputs:
        embedder = EmbeddingPredictor(model, batch_size)
        if gallery is not None:
            directory, threshold = Path(os.path.expanduser(gallery)), options.get("threshold")
            neighbors = 1 if neighbors is None else neighbors
            now = path, batch_size, directory, neighbors, threshold, _file_states(directory)
            if loaded.get(GALLERY, (None,))[0] != now:
                found = embedder.read(directory, neighbors=neighbors, threshold=threshold, progress=progress)
                loaded[GALLERY] = now, found
            embedder.gallery = loaded[GALLERY][1]
        return embedder
    if gallery is not None:
        raise UserError(f"--gallery={gallery}: {path} is no model of task.name=embedding; remove it")
    return ClassifierPredictor(model, batch_size)


def _file_states(directory: Path) -> list[tuple[str, list[int] | None]]:
    """Returns path, size and times of each image file of a gallery, to detect changes; empty if there is no folder."""
    if not directory.is_dir():
        return []
    found = find(directory)
    return [(path, file_state(directory / path)) for path in (*found.paths, *found.unusable)]


def check_options(path: Path, **options: Unpack[Options]) -> None:
    """Checks what can be known of the options before the model is loaded.

    Raises:
        UserError: there is no such model, tiles have no size or overlap too much, or an option requires another one, a
            detector or an embedder.
    """
    if unknown := options.keys() - Options.__annotations__.keys():  # types are checked, but not when it runs
        raise TypeError(f"no option {min(unknown)}; there are {', '.join(Options.__annotations__)}")
    given = {name for name, value in options.items() if value is not None}
    gallery = options.get("gallery")
    for name in ("neighbors", "threshold"):
        if name in given and gallery is None:
            raise UserError(f"--{name} requires --gallery; add it, or remove --{name}")
    detects = _is_detector(path)
    for name in ("score", "tile", "tile_overlap"):
        if name in given and not detects:
            raise UserError(f"--{name} requires a detector; remove it")
    score = options.get("score")
    if score is not None and not 0.0 <= score <= 1.0:
        raise UserError(f"--score={score:g}: scores are between 0 and 1")
    if detects and gallery is not None:
        raise UserError(f"--gallery={gallery}: {path} is a detector, not a model of task.name=embedding; remove it")
    checked_tiles(options.get("tile"), options.get("tile_overlap"))


def tiles(path: Path, **options: Unpack[Options]) -> Grid:
    """Returns the tiles in which a model detects: those of the options, or those in which it was trained.

    Raises:
        UserError: as in `checked_tiles`, or the metadata are missing or damaged.
    """
    tile, overlap = options.get("tile"), options.get("tile_overlap")
    if tile is None and overlap is None:
        return grid_of(read_metadata(located(path)[1]))
    return Grid(*checked_tiles(tile, overlap))


def _is_detector(path: Path) -> bool:
    """Whether an exported model is a detector, which its metadata tell before it is loaded.

    Raises:
        UserError: there is no exported model, or its metadata are missing or damaged.
    """
    return "boxes" in read_metadata(located(path)[1])


def open_model(path: Path, loaded: dict[Path, Any]) -> Model:
    """Returns a model that an earlier call has loaded, or loads it; errors as for `_open`."""
    if path not in loaded:
        loaded[path] = _open(path)
    model: Model = loaded[path]
    return model


def _open(path: Path) -> Model:
    """Loads an exported model of any format.

    Raises:
        UserError: it is damaged.
    """
    if located(path)[0] != SAVED_MODEL:
        return ExportedModel(path)
    return ExportedDetector(path) if _is_detector(path) else SavedImageModel(path)
