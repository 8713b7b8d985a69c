"""Predictions of models in other formats are those of the SavedModel."""

import json
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from tests.serving.random_detectors import shared_detector
from tests.thoroughness import thorough
from tfeff import config, models, runs
from tfeff.errors import UserError
from tfeff.serving import interface, savedmodel
from tfeff.serving.exportable import FORMATS
from tfeff.serving.fitting import Fitting
from tfeff.tasks import ClassificationTask, EmbeddingTask, ImageTask, LocalizationTask
from tfeff.tasks.task import ImageReading

NAMES = ["a", "b", "c"]
STORED, SIZE = (72, 80), (64, 64)
SIDES = ((90, 130), (70, 64), (70, 64), (200, 40))
PACKAGES = {"litert": (), "onnx": ("onnxruntime", "tf2onnx"), "openvino": ("openvino",)}


class Cropped(ClassificationTask):
    @property
    def reading(self) -> ImageReading:
        return ImageReading("crop")


def build(kind: str) -> tuple[keras.Model, ImageTask]:
    if kind == "detector":
        task, model = shared_detector("yolo")
        return model, task
    described = models.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=SIZE[0])
    task = {
        "classifier": ClassificationTask(config.ClassificationSettings()),
        "cropped": Cropped(config.ClassificationSettings()),
        "localizer": LocalizationTask(config.LocalizationSettings()),
        "embedder": EmbeddingTask(config.EmbeddingSettings(dimension=8)),
    }[kind]
    keras.utils.set_random_seed(0)
    model = task.predictor(task.network(described, num_classes=3, channels=3))
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:  # far from what training starts with, so that images differ
        if weight.path.endswith("kernel"):
            weight.assign(rng.normal(0, 1.5 / np.sqrt(np.prod(weight.shape[:-1])), weight.shape))
    return model, task


@pytest.fixture(scope="module")
def images() -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (5, 7, 3), np.uint8) for _ in SIDES]
    smooth = [
        cv2.resize(each, sides[::-1], interpolation=cv2.INTER_CUBIC) for each, sides in zip(coarse, SIDES, strict=True)
    ]
    return [(str(number), image) for number, image in enumerate(smooth)]


KINDS = ("classifier", "cropped", "localizer", "embedder", "detector")


@pytest.fixture(scope="module")
def network(request: pytest.FixtureRequest) -> tuple[keras.Model, ImageTask]:
    return build(request.param)


@pytest.fixture(scope="module")
def saved(network: tuple[keras.Model, ImageTask], tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, task = network
    sizes = {"image_size": STORED, "size": SIZE, "channels": 3}
    path = tmp_path_factory.mktemp("saved") / "model"
    return savedmodel.export(model, NAMES, path, task=task, score=0.0, class_ids=[7, 5, 3], **sizes)


def export(network: tuple[keras.Model, ImageTask], format: str, *, fit: bool, folder: Path) -> Path:
    """Returns the folder of an export, as `tfeff.export` writes it."""
    model, task = network
    fitting = Fitting(task.reading, STORED, SIZE, 3) if fit else None
    for file, contents in FORMATS[format].convert(model, task, fitting=fitting).items():
        (folder / file).write_bytes(contents)
    size = None if fit else SIZE
    sizes = {"channels": 3, "image_size": STORED, "size": size}
    about = interface.metadata(task, NAMES, 0.0, class_ids=[7, 5, 3], **sizes)
    (folder / "metadata.json").write_text(about)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "format", "fit"),
    [
        *((kind, "onnx", True) for kind in KINDS),
        *((kind, "openvino", False) for kind in ("classifier", "embedder", "detector")),
        *((kind, "litert", False) for kind in ("classifier", "detector")),
        *(thorough(kind, "openvino", False) for kind in ("cropped", "localizer")),
        *(thorough(kind, "litert", False) for kind in ("cropped", "localizer", "embedder")),
        *(thorough(kind, format, fit) for kind in KINDS for format, fit in (("onnx", False), ("openvino", True))),
    ],
    indirect=["network"],
)
def test_predictions_are_those_of_the_saved_model(network, saved, images, format, fit, tmp_path) -> None:
    for package in PACKAGES[format]:
        pytest.importorskip(package)
    expected = runs.load_predictor(saved)
    found = runs.load_predictor(export(network, format, fit=fit, folder=tmp_path))
    assert (found.draws_boxes, found.class_ids) == (expected.draws_boxes, expected.class_ids)
    files = [(name, cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()) for name, pixels in images]
    files.insert(1, ("bad", b"no image"))
    ways = [
        (found.predict_pixels(images), expected.predict_pixels(images)),
        (found.predict(files), expected.predict(files)),
    ]
    for here, there in ways:
        assert [type(each) for each in here] == [type(each) for each in there]
        for one, other in zip(here, there, strict=True):
            if isinstance(one, UserError):
                assert str(one) == str(other)
                continue
            assert (one.name, one.class_names, one.dark) == (other.name, other.class_names, other.dark)
            for name in ("probabilities", "box_yxyx", "vector", "boxes_yxyx", "scores"):
                if hasattr(other, name):
                    atol = 0.05 if "box" in name else 2e-3
                    np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol, rtol=0)
            if hasattr(other, "labels"):
                np.testing.assert_array_equal(one.labels, other.labels)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a classifier to LiteRT."""
    return export(build("classifier"), "litert", fit=False, folder=tmp_path_factory.mktemp("classifier"))


def test_a_single_file_with_its_metadata(classifier, images, tmp_path) -> None:
    folder = shutil.copytree(classifier, tmp_path / "folder")
    expected = runs.load_predictor(folder).predict_pixels(images)
    file = tmp_path / "mine.tflite"
    shutil.copy(folder / "model.tflite", file)
    with pytest.raises(UserError, match=r"mine\.tflite\.json: missing; export the model again"):
        runs.load_predictor(file)
    shutil.copy(folder / "metadata.json", tmp_path / "mine.tflite.json")
    for one, other in zip(runs.load_predictor(file).predict_pixels(images), expected, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    inside = folder / "model.tflite"
    about = json.loads((folder / "metadata.json").read_text())
    del about["crc32"]
    other = shutil.copy(inside, tmp_path / "model.tflite")
    (tmp_path / "model.tflite.json").write_text(json.dumps({**about, "class_names": ["x", "y", "z"]}))
    (tmp_path / "metadata.json").write_text("that of another model")
    assert runs.load_predictor(other).class_names == ("x", "y", "z")
    file.write_bytes(b"no model")
    with pytest.raises(UserError, match=r"mine\.tflite: cannot read the model"):
        runs.load_predictor(file)


def test_mistakes(classifier, tmp_path) -> None:
    with pytest.raises(UserError, match="no exported model"):
        runs.load_predictor(tmp_path)
    alone = tmp_path / "keras" / "model.keras"
    alone.parent.mkdir()
    alone.touch()
    for path in (alone, alone.parent):
        with pytest.raises(UserError, match=r"the network alone, .*; export another format"):
            runs.load_predictor(path)
    shutil.copytree(classifier, tmp_path, dirs_exist_ok=True)
    with pytest.raises(UserError, match="--score requires a detector"):
        runs.load_predictor(tmp_path, score=0.5)
    with pytest.raises(TypeError, match="no option treshold; there are score, tile"):
        runs.load_predictor(tmp_path, treshold=0.5)
    (tmp_path / "detector").mkdir()
    (tmp_path / "detector" / "model.onnx").touch()
    about = json.loads((tmp_path / "metadata.json").read_text())
    del about["crc32"]
    detects = {"boxes": "yxyx", "score": 0.5, "class_agnostic": False}
    (tmp_path / "detector" / "metadata.json").write_text(json.dumps(about | detects))
    with pytest.raises(UserError, match="--score=50: scores are between 0 and 1"):
        runs.load_predictor(tmp_path / "detector", score=50)
    with pytest.raises(UserError, match=r"no model of task\.name=embedding"):
        runs.load_predictor(tmp_path, gallery=tmp_path)
    del about["fit"]
    (tmp_path / "metadata.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"metadata\.json"):
        runs.load_predictor(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps({**about, "fit": "stretch", "input": [64, 64]}))
    with pytest.raises(UserError, match=r"metadata\.json: input, class_ids, score or class_agnostic is damaged"):
        runs.load_predictor(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps({**about, "fit": "stretch", "proposals": {}}))
    with pytest.raises(UserError, match="takes region proposals"):
        runs.load_predictor(tmp_path)
