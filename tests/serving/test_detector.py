"""Detections of a SavedModel on images of any size, against its network on images fitted here."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests.same_detections import assert_same_detections
from tests.serving.random_detectors import detector
from tfeff import models, tasks
from tfeff.errors import UserError
from tfeff.proposals import SelectiveSearch
from tfeff.runs.predictors import open_model
from tfeff.serving import portable
from tfeff.serving.detector import ExportedDetector
from tfeff.serving.exportable import Exportable
from tfeff.serving.savedmodel import export

SIDE = 64
NAMES = ("a", "b", "c")
Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Boxes, labels and scores."""


def random_tiles(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Returns squares of random colors, uint8."""
    rng = np.random.default_rng(height)
    tiles = rng.integers(0, 256, (height // 8, width // 8, channels), np.uint8)
    return tiles.repeat(8, axis=0).repeat(8, axis=1)


def written(task: tasks.ImageTask, network: models.Network, directory: Path) -> Path:
    """Returns the SavedModel."""
    channels = network.inputs[0].shape[-1]
    sizes: Any = {"image_size": None, "size": (SIDE, SIDE), "channels": channels}
    return export(network, NAMES, directory / "model", task=task, score=0.25, **sizes)


def expected(
    predict: Any, fitted: np.ndarray, native: tuple[int, int], covered: tuple[int, int], *given: np.ndarray
) -> Found:
    """Returns the detections of the network, with boxes in pixels of the original image.

    Args:
        predict: of `portable.function`.
        fitted: the network's input.
        native: height and width of the original image.
        covered: height and width that it has in `fitted`.
        given: further inputs.
    """
    found = {name: values.numpy()[0] for name, values in predict(fitted[np.newaxis].astype(np.float32), *given).items()}
    scale = np.tile(np.array(native, np.float32) / covered, 2)
    boxes = np.clip(found["boxes"] * scale, 0, np.tile(native, 2))
    count = found["count"]
    return boxes[:count], found["labels"][:count], found["scores"][:count]


@pytest.mark.slow
@pytest.mark.parametrize("stretch", [False, True])
def test_boxes_are_in_pixels_of_the_original_image(stretch: bool, tmp_path: Path) -> None:
    task, network = detector("yolo", random_tiles(SIDE, SIDE)[None], f"task.stretch={stretch}")
    out = written(task, network, tmp_path)
    exported = ExportedDetector(out)
    assert (exported.class_names, exported.score) == (NAMES, 0.25)
    predict = portable.function(network, task, batch_size=1)
    from_bytes = tf.saved_model.load(str(out)).signatures["serving_bytes"]
    for height, width in ((128, 128), (48, 64), (64, 40), (96, 128)):
        image = random_tiles(height, width)
        longer = max(height, width)
        covered = (SIDE, SIDE) if stretch else (height * SIDE // longer, width * SIDE // longer)
        fitted = np.full((SIDE, SIDE, 3), 128, np.float32)
        fitted[: covered[0], : covered[1]] = np.round(tf.image.resize(image, covered, antialias=True))
        wanted = expected(predict, fitted, (height, width), covered)
        assert len(wanted[0]) > 5
        assert_same_detections(exported.detect(image), wanted, box_atol=1e-2)
        encoded = tf.constant([cv2.imencode(".png", image[..., ::-1])[1].tobytes()])
        found = {name: values.numpy()[0] for name, values in from_bytes(encoded=encoded).items()}
        found = {name: values[: found["count"]] for name, values in found.items() if name != "count"}
        assert_same_detections((found["boxes"], found["labels"], found["scores"]), wanted, box_atol=1e-2)
        assert [NAMES[label].encode() for label in found["labels"]] == found["names"].tolist()


@pytest.mark.slow
def test_color_images_are_converted_for_a_grayscale_detector(tmp_path: Path) -> None:
    task, network = detector("yolo", random_tiles(SIDE, SIDE, 1)[None])
    exported = ExportedDetector(written(task, network, tmp_path))
    gray = random_tiles(SIDE, SIDE, 1)
    wanted = expected(portable.function(network, task, batch_size=1), gray, (SIDE, SIDE), (SIDE, SIDE))
    assert_same_detections(exported.detect(gray.repeat(3, axis=2)), wanted, box_atol=1e-2)


@pytest.mark.slow
def test_the_export_computes_missing_proposals(tmp_path: Path) -> None:
    task, network = detector("fast_rcnn", random_tiles(SIDE, SIDE)[None])
    exported = ExportedDetector(written(task, network, tmp_path))
    image = random_tiles(SIDE, 40)
    boxes = SelectiveSearch("fast", 40)(image).boxes_yxyx
    assert 5 < len(boxes) <= 40
    padded = np.zeros((1, 40, 4), np.float32)
    padded[0, : len(boxes)] = boxes
    fitted = np.full((SIDE, SIDE, 3), 128, np.uint8)
    fitted[:, :40] = image
    predict = portable.function(network, task, batch_size=1)
    wanted = expected(predict, fitted, (SIDE, 40), (SIDE, 40), padded, np.array([len(boxes)], np.int32))
    assert_same_detections(exported.detect(image), wanted, box_atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["saved_model", "litert"])
def test_edited_metadata_apply_in_every_format(format: str, tmp_path: Path) -> None:
    task, network = detector("yolo", random_tiles(SIDE, SIDE)[None])
    exportable = Exportable(task, network, NAMES, None, 3, score=0.25, class_ids=(7, "b", 2.0))
    out = tmp_path / "model"
    exportable.saved_model(out) if format == "saved_model" else exportable.portable(out, format)
    about = json.loads((out / "metadata.json").read_text())
    del about["crc32"]
    changed = {"score": 0.5, "class_names": ["x", "y", "z"], "class_agnostic": not about["class_agnostic"]}
    (out / "metadata.json").write_text(json.dumps(about | changed))
    found = open_model(out, {})
    assert (found.score, found.class_names, found.class_ids) == (0.5, ("x", "y", "z"), (7, "b", 2.0))
    assert found.class_agnostic == changed["class_agnostic"]
    for wrong in ({"score": "0.5"}, {"class_ids": [1]}, {"class_agnostic": None}, {"input": [3]}, {"fit": 3}):
        (out / "metadata.json").write_text(json.dumps(about | wrong))
        with pytest.raises(UserError, match=r"metadata\.json: .*damaged.*; export the model again"):
            open_model(out, {})
    (out / "metadata.json").unlink()
    with pytest.raises(UserError, match=r"metadata\.json: missing; export the model again"):
        open_model(out, {})
