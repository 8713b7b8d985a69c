"""Exports to LiteRT and ONNX, run by their own runtimes."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.same_detections import assert_same_detections
from tests.thoroughness import thorough
from tfeff import config, runs, tasks, training
from tfeff.errors import UserError
from tfeff.serving import litert, onnx, portable
from tfeff.training import build

DETECTORS = ("yolo", *map(thorough, ("efficientdet", "anchor_yolo", "grid", "fast_rcnn", "faster_rcnn")))
OPTIONS = {"width": 4, "stage_blocks": (1, 1, 1, 1), "levels": ("P3", "P4", "P5"), "neck": "fpn", "neck_channels": 8}


OWN = {"fast_rcnn": ("task.member=fast-rcnn-fpn", "task.proposals.max_proposals=40")}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)


def inputs(task: tasks.ImageTask, image: np.ndarray) -> dict[str, np.ndarray]:
    """An image, and proposals if the task needs them, with padding that is not zero."""
    if task.proposals is None:
        return {"images": image}
    corners = np.sort(np.random.default_rng(2).uniform(0, 64, (1, 40, 2, 2)), axis=2).astype(np.float32)
    return {"images": image, "proposals": corners.reshape(1, 40, 4), "counts": np.array([30], np.int32)}


def detector(name: str, image: np.ndarray) -> tuple:
    """A detector whose best scores differ by more than the runtimes do, so that their order is certain."""
    settings = config.override(
        config.Experiment(),
        [
            *(f"task.name={name}", "task.suppression.minimum_score=0.0", "task.suppression.detections=20"),
            *OWN.get(name, ()),
        ],
    )
    task = tasks.create(settings.task)
    network = task.network("resnet", num_classes=3, channels=3, resolution=64, **OPTIONS)
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    # Batch normalization takes over the statistics of this image.
    network([image, np.zeros((1, 1, 4), np.float32)] if network.regions else image, training=True)
    rng = np.random.default_rng(1)
    for variable in network.trainable_variables:
        last = any(name in variable.path for name in ("predict", "rpn_objectness", "rpn_codes", "logits"))
        if last and variable.path.endswith("kernel"):
            scale = 3 if "class" in variable.path or "logits" in variable.path else 1
            variable.assign(rng.normal(0, scale / math.sqrt(math.prod(variable.shape[:-1])), variable.shape))
    return task, network


def assert_same(found: dict, expected: dict) -> None:
    assert found["count"] == expected["count"] > 0
    image = [tuple(each[name][0] for name in ("boxes", "labels", "scores")) for each in (found, expected)]
    assert_same_detections(*image, box_atol=1e-3)


@pytest.mark.parametrize("name", DETECTORS)
def test_litert_returns_the_same_detections(name: str, image: np.ndarray) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    task, network = detector(name, image)
    given = inputs(task, image)
    expected = portable.function(network, task, batch_size=1)(*given.values())
    run = interpreter.Interpreter(model_content=litert.convert(network, task))
    run.allocate_tensors()
    assert_same(run.get_signature_runner()(**given), expected)


@pytest.mark.parametrize("name", DETECTORS)
def test_onnx_returns_the_same_detections(name: str, image: np.ndarray) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    task, network = detector(name, image)
    given = inputs(task, image)
    expected = portable.function(network, task, batch_size=1)(*given.values())
    session = onnxruntime.InferenceSession(onnx.convert(network, task), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, given), strict=True))
    assert_same(found, expected)


def test_an_operator_that_litert_lacks_is_named(image: np.ndarray) -> None:
    class SingularValues(tasks.Classification):
        def decode(self, outputs):
            return {"probabilities": tf.linalg.svd(outputs[:, :, None], compute_uv=False)}

    task = SingularValues()
    network = task.network("resnet", num_classes=3, channels=3, resolution=16, width=4, stage_blocks=(1, 1))
    with pytest.raises(UserError, match=r"LiteRT cannot run this network: (?s:.)*Svd"):
        litert.convert(network, task)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> training.Workdir:
    settings = config.override(
        config.Experiment(),
        [
            *("data.channels=1", "data.train_examples=300", "model.width=8", "model.stage_blocks=1,1,1,1"),
            *("model.resolution=16", "training.epochs=4", "training.batch_size=20", "training.precision=float32"),
            "schedule.warmup_epochs=0.5",
        ],
    )
    return training.train(settings, tmp_path_factory.mktemp("run"), tensorboard=False)


@pytest.mark.parametrize("int8", [False, True])
def test_a_classifier_exported_to_litert_predicts_alike(run: training.Workdir, tmp_path: Path, int8: bool) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    out = tmp_path / "litert"
    runs.open_run(run.path).export_portable(out, "litert", int8=int8)
    metadata = json.loads((out / "metadata.json").read_text())
    assert (metadata["input"], metadata["fit"], len(metadata["class_names"])) == ([16, 16, 1], "stretch", 10)
    images = np.random.default_rng(0).uniform(0, 255, (30, 16, 16, 1)).astype(np.float32)
    network = build.trained_model(run)
    expected = tf.nn.softmax(network(images, training=False)).numpy()
    model = interpreter.Interpreter(model_path=str(out / "model.tflite"))
    model.allocate_tensors()
    call = model.get_signature_runner()
    found = np.concatenate([call(images=image[None])["probabilities"] for image in images])
    np.testing.assert_allclose(found, expected, atol=0.15 if int8 else 1e-4)
    if int8:
        runs.open_run(run.path).export_portable(tmp_path / "float", "litert")
        sizes = [(each / "model.tflite").stat().st_size for each in (out, tmp_path / "float")]
        assert sizes[0] < 0.5 * sizes[1]


def test_an_export_is_not_overwritten_by_mistake(run: training.Workdir, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    opened = runs.open_run(run.path)
    opened.export_portable(tmp_path / "out", "litert")
    with pytest.raises(UserError, match="is an earlier export"):
        opened.export_portable(tmp_path / "out", "litert")
    opened.export_portable(tmp_path / "out", "litert", overwrite=True)
