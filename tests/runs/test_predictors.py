"""Detection in tiles, and in images of different kinds."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.runs.bright_squares import SquaresPredictor, squares
from tfeff.boxes.tiling import Grid, Tiling
from tfeff.errors import UserError
from tfeff.runs.predictors import DetectorPredictor
from tfeff.runs.results import Detection


def found(detected: Detection) -> list[tuple[list[float], str]]:
    """Returns boxes and classes, in a fixed order."""
    return sorted(zip(detected.boxes_yxyx.tolist(), detected.classes, strict=True))


@pytest.mark.parametrize(("tile", "overlap"), [((70, 70), 14), ((50, 200), 12), ((300, 100), 20), ((300, 400), 20)])
def test_tiles_find_the_objects_of_the_whole_image(tile: tuple[int, int], overlap: int) -> None:
    pixels = squares(230, 310)
    whole, tiled = SquaresPredictor(), SquaresPredictor(tile, overlap)
    objects = found(whole.detect(pixels))
    assert len(objects) > 50
    assert found(tiled.detect(pixels)) == objects
    assert whole.squares.calls == 1
    assert (tiled.squares.calls == 1) == (tile == (300, 400))


def test_an_object_on_the_border_of_four_tiles_is_found_once() -> None:
    pixels = np.zeros((110, 110, 3), np.uint8)
    pixels[49:61, 49:61, 1] = 255
    row = SquaresPredictor((60, 60), 10).detect(pixels)  # the tiles overlap from 50 to 60
    assert found(row) == [([49.0, 49.0, 61.0, 61.0], "green")]


class Listed:
    """A detector that returns given detections, one list for each tile in order."""

    class_names = ("a", "b")
    score = 0.5

    def __init__(self, found: list[tuple[np.ndarray, np.ndarray, np.ndarray]], *, class_agnostic: bool = False) -> None:
        self._found, self.class_agnostic = iter(found), class_agnostic

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return next(self._found)


def test_a_part_below_the_threshold_extends_an_object() -> None:
    parts = [
        (np.array([[5, 10, 35, 60]], np.float32), np.array([0]), np.array([0.6], np.float32)),
        (np.array([[5, 0, 35, 50]], np.float32), np.array([0]), np.array([0.4], np.float32)),  # from 40 on
    ]
    detected = DetectorPredictor(Listed(parts), 0.5, Grid((40, 60), 20)).detect(np.zeros((40, 100, 3), np.uint8))
    assert detected.boxes_yxyx.tolist() == [[5, 10, 35, 90]]
    assert detected.scores.tolist() == pytest.approx([0.6])


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_the_threshold_is_that_of_merged_detections(class_agnostic: bool) -> None:
    """As in the evaluation and in the choice of the threshold, which merge all detections."""
    size, tile, overlap = (80, 110), (50, 60), 20
    tiling, rng = Tiling(size, tile, overlap), np.random.default_rng(0)
    for _ in range(50):
        found = []
        for _ in tiling.tiles_yxyx:
            corners = rng.integers(0, 30, (12, 2)).astype(np.float32)
            boxes = np.concatenate([corners, np.minimum(corners + rng.integers(8, 40, (12, 2)), tile)], axis=1)
            found.append((boxes.astype(np.float32), rng.integers(0, 2, 12), rng.uniform(0, 1, 12).astype(np.float32)))
        boxes, labels, scores = tiling.merge(*zip(*found, strict=True), class_agnostic=class_agnostic)
        for score in (0.0, 0.3, 0.5, 0.8):
            listed = Listed(found, class_agnostic=class_agnostic)
            detected = DetectorPredictor(listed, score, Grid(tile, overlap)).detect(np.zeros((*size, 3), np.uint8))
            above = scores >= score
            np.testing.assert_array_equal(detected.boxes_yxyx, boxes[above])
            np.testing.assert_array_equal(detected.labels, labels[above])
            np.testing.assert_array_equal(detected.scores, scores[above])


def test_an_image_without_objects_has_an_empty_row() -> None:
    detected = SquaresPredictor((20, 20), 5).detect(np.zeros((50, 40, 3), np.uint8))
    assert detected.row == {"labels": [], "classes": [], "scores": [], "boxes_yxyx": []}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_boxes_refer_to_the_upright_image() -> None:
    """Gray images become RGB. The EXIF orientation is applied, as in training."""
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[8:24, 40:56] = 255
    image = Image.fromarray(pixels)
    orientation = Image.Exif()
    orientation[0x0112] = 6  # rotate by 90 degrees
    files = [
        ("rgb.png", encoded(image, "PNG")),
        ("gray.png", encoded(image.convert("L"), "PNG")),
        ("rotated.jpg", encoded(image, "JPEG", quality=95, exif=orientation)),
    ]
    predictor = SquaresPredictor((50, 50), 20)
    for detected in predictor.predict(files):
        assert isinstance(detected, Detection)
        assert sorted(detected.classes) == ["blue", "green", "red"]
        box = [40, 36, 56, 52] if detected.name == "rotated.jpg" else [8, 40, 24, 56]
        np.testing.assert_array_equal(detected.boxes_yxyx, [box] * 3)


def test_a_truncated_image_has_an_error_instead_of_a_prediction() -> None:
    file = encoded(Image.fromarray(squares(100, 100)), "JPEG")
    found = SquaresPredictor((50, 50), 20).predict([("cut.jpg", file[: len(file) // 2]), ("whole.jpg", file)])
    assert isinstance(found[0], UserError)
    assert str(found[0]).startswith("cut.jpg: ")
    assert isinstance(found[1], Detection)
