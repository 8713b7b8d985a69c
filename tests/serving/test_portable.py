"""Exports to LiteRT, ONNX and OpenVINO, run by their own runtimes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tests.same_detections import assert_same_detections
from tests.serving.random_detectors import IMAGE, shared_detector
from tests.thoroughness import thorough
from tfeff import config, runs, tasks, training
from tfeff.errors import UserError
from tfeff.serving import litert, openvino, portable, savedmodel
from tfeff.serving.exportable import FORMATS
from tfeff.serving.fitting import Fitting
from tfeff.tasks.task import ImageReading

CONVERTERS = {"onnx": "tf2onnx", "openvino": "openvino"}
"""Packages of the extras."""
DETECTORS = ("yolo", *map(thorough, ("efficientdet", "retinanet", "anchor_yolo", "grid", "fast_rcnn", "faster_rcnn")))


@cache
def files_of_a_detector(format: str, name: str, *overrides: str, fitted: bool = False) -> dict[str, bytes]:
    """Returns the exported predictor of a shared detector."""
    task, network = shared_detector(name, *overrides)
    fitting = Fitting(task.reading, (64, 64), (64, 64), 3) if fitted else None
    return FORMATS[format].convert(task.predictor(network), task, fitting=fitting)


def write(files: dict[str, bytes], directory: Path) -> None:
    for file, contents in files.items():
        (directory / file).write_bytes(contents)


def inputs(task: tasks.ImageTask, image: np.ndarray) -> dict[str, np.ndarray]:
    """Returns an image, and proposals if the task needs them, with padding that is not zero."""
    if task.proposals is None:
        return {"images": image}
    corners = np.sort(np.random.default_rng(2).uniform(0, 64, (1, 40, 2, 2)), axis=2).astype(np.float32)
    return {"images": image, "proposals": corners.reshape(1, 40, 4), "counts": np.array([30], np.int32)}


def runner(format: str, directory: Path) -> Callable[..., dict]:
    """An exported model as a function of its inputs by name, in float32; the test is skipped without its runtime."""
    file = directory / FORMATS[format].FILE
    if format == "litert":
        interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(file))
        return interpreter.get_signature_runner()
    if format == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda **given: dict(zip(names, session.run(None, given), strict=True))
    pytest.importorskip("openvino")
    compiled = FORMATS[format].core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda **given: {port.any_name: value for port, value in compiled(given).items()}


def skip_without_converter(format: str) -> None:
    """LiteRT's converter is part of TensorFlow."""
    if format in CONVERTERS:
        pytest.importorskip(CONVERTERS[format])


def test_slices_have_at_most_five_axes_which_litert_requires() -> None:
    """LiteRT fails when it loads others; whether its converter replaces them depends on their shapes."""
    task, network = shared_detector("faster_rcnn")
    traced = portable.function(task.predictor(network), task, batch_size=1)
    graph = traced.get_concrete_function(tf.TensorSpec((1, *network.size, 3), tf.float32)).graph
    ranks = [each.outputs[0].shape.rank for each in graph.get_operations() if each.type == "StridedSlice"]
    assert 0 < max(ranks) <= 5


# tests/serving/test_exported.py compares the other formats with the SavedModel.
@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("format", [format if format == "onnx" else thorough(format) for format in FORMATS])
def test_detectors_return_the_same_detections(format: str, name: str, tmp_path: Path) -> None:
    skip_without_converter(format)
    task, network = shared_detector(name)
    given = inputs(task, IMAGE)
    expected = portable.function(network, task, batch_size=1)(*given.values())
    write(files_of_a_detector(format, name), tmp_path)
    found = runner(format, tmp_path)(**given)
    assert found["count"] == expected["count"] > 0
    image_of = (tuple(each[name][0] for name in ("boxes", "labels", "scores")) for each in (found, expected))
    assert_same_detections(*image_of, box_atol=1e-3)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> training.Workdir:
    settings = config.override(
        config.Experiment(),
        [
            *("task.name=embedding", "task.dimension=12", "data.channels=1", "data.train_examples=300"),
            *("model.width=4", "model.stage_blocks=1,1", "model.resolution=16"),
            *("training.epochs=1", "training.batch_size=32", "training.precision=float32", "schedule.warmup_epochs=0"),
        ],
    )
    return training.train(
        settings, tmp_path_factory.mktemp("embedder"), tensorboard=False, reporter=training.Reporter(quiet=True)
    )


@pytest.mark.parametrize("format", [format if format == "litert" else thorough(format) for format in FORMATS])
def test_embedders_return_the_same_vectors_of_length_1(format: str, embedder: training.Workdir, tmp_path: Path) -> None:
    skip_without_converter(format)
    workdir = embedder
    runs.open_run(workdir.path).export(tmp_path / "exported", format=format, fit=False)
    about = json.loads((tmp_path / "exported" / "metadata.json").read_text())
    assert about["embedding"].startswith("a vector of length 1")
    assert about["threshold"] == workdir.validated(["similarity_threshold"])["similarity_threshold"]
    names = {str(size): f"unknown_threshold_{size}" for size in (1, 8)}  # 30 validation images
    found = workdir.validated(list(names.values()))
    assert about["unknown_thresholds"] == {size: found[name] for size, name in names.items()}
    network, image = training.trained_model(workdir), np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 1))
    vectors = network(image.astype(np.float32))["vector"].numpy()
    found = runner(format, tmp_path / "exported")(images=image.astype(np.float32))
    assert list(found) == ["embedding"]
    np.testing.assert_allclose(found["embedding"], vectors / np.linalg.norm(vectors), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "peaks"),
    [
        ("saved_model", "task.network.end_to_end=true"),
        ("litert", ""),
        ("litert", "task.suppression.kind=peaks"),
        ("openvino", "task.network.end_to_end=true"),
        *(thorough(*case) for case in [("saved_model", ""), ("litert", "task.network.end_to_end=true")]),
        *(thorough(format, "task.suppression.kind=peaks") for format in ("saved_model", "openvino")),
        *(thorough("onnx", setting) for setting in ("", "task.network.end_to_end=true", "task.suppression.kind=peaks")),
    ],
)
def test_peaks_are_not_suppressed(format: str, peaks: str, tmp_path: Path) -> None:
    skip_without_converter(format)
    overrides = (peaks,) if peaks else ()
    task, network = shared_detector("yolo", *overrides)
    predictor = task.predictor(network)
    assert ("one_to_many_logits" in network.output) == ("end_to_end" in peaks)
    assert "one_to_many_logits" not in predictor.output
    if format == "saved_model":
        savedmodel.export(
            predictor, ["a", "b", "c"], tmp_path / "model", image_size=None, size=(64, 64), channels=3, task=task
        )
        suppresses = b"NonMaxSuppression" in (tmp_path / "model/saved_model.pb").read_bytes()
        loaded = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
        pixels = IMAGE.astype(np.uint8)
        found = loaded(images=tf.constant(pixels))
        expected = portable.function(predictor, task, batch_size=1)(pixels.astype(np.float32))
        expected["boxes"] = tf.clip_by_value(expected["boxes"], 0.0, 64.0)
    else:
        files = files_of_a_detector(format, "yolo", *overrides)
        write(files, tmp_path)
        suppresses = any(b"NonMaxSuppression" in contents for contents in files.values())
        if format == "litert":
            made = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(tmp_path / litert.FILE))
            suppresses = any("NON_MAX_SUPPRESSION" in each["op_name"] for each in made._get_ops_details())
        found = runner(format, tmp_path)(images=IMAGE)
        expected = portable.function(predictor, task, batch_size=1)(IMAGE)
    assert suppresses == (not peaks)
    assert found["count"] == expected["count"] > 0
    image_of = (tuple(each[name][0] for name in ("boxes", "labels", "scores")) for each in (found, expected))
    assert_same_detections(*image_of, box_atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("end_to_end", [False, thorough(True)])
def test_int8_detectors_decode_in_float32(end_to_end: bool, tmp_path: Path) -> None:
    task, network = shared_detector("yolo", *(("task.network.end_to_end=true",) if end_to_end else ()))
    network = task.predictor(network)
    write(litert.convert(network, task, lambda: iter([{"images": IMAGE}])), tmp_path)
    found = runner("litert", tmp_path)(images=IMAGE)
    expected = portable.function(network, task, batch_size=1)(IMAGE)
    boxes, wanted = found["boxes"][0, : int(found["count"][0])], expected["boxes"][0, : int(expected["count"][0])]
    distances = np.abs(boxes[:, np.newaxis] - wanted).max(axis=-1).min(axis=0)
    # With one scale for all coordinates, they would differ by 10 pixels.
    assert np.median(distances) < 3


SMALL = {  # gelu and layer normalization; h-swish; convolutions in groups
    "convnext-tiny": {"width_coefficient": 0.1, "depth_coefficient": 0.3, "layer_scale": 0.5},
    "mobilenet-v3-small": {"width_coefficient": 0.35},
    "regnet-y-400mf": {"width_coefficient": 0.25, "depth_coefficient": 0.5},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "name"),
    [
        (format, name) if first == second else thorough(format, name)
        for first, format in enumerate(FORMATS)
        for second, name in enumerate(SMALL)
    ],
)
def test_layers_of_each_family_are_exported(format: str, name: str, tmp_path: Path) -> None:
    skip_without_converter(format)
    described = config.architecture(name, resolution=64, **SMALL[name])
    task = tasks.create(config.ClassificationSettings())
    network = task.network(described, num_classes=3, channels=3)
    write(FORMATS[format].convert(network, task), tmp_path)
    expected = tf.nn.softmax(network(IMAGE, training=False))
    np.testing.assert_allclose(runner(format, tmp_path)(images=IMAGE)["probabilities"], expected, atol=1e-5)


def test_openvino_keeps_the_order_of_equal_scores_only_for_the_highest_one() -> None:
    # With the order of all, OpenVINO needs seconds for the scores of EfficientDet.
    skip_without_converter("openvino")
    files = files_of_a_detector("openvino", "yolo", "task.suppression.class_agnostic=true")
    graph = ElementTree.fromstring(files[openvino.FILE])
    stable = {True: set[str](), False: set[str]()}
    for layer in graph.iter("layer"):
        if layer.get("type") == "TopK":
            last = layer.findall("output/port")[0].findall("dim")[-1]
            stable[last.text == "1"].update(data.attrib["stable"] for data in layer.iter("data"))
    assert stable == {True: {"true"}, False: {"false"}}


@pytest.mark.parametrize("format", FORMATS)
def test_an_operator_that_a_format_lacks_is_named(format: str) -> None:
    skip_without_converter(format)

    class SingularValues(tasks.ClassificationTask):
        def decode(self, outputs):
            return {"probabilities": tf.linalg.svd(outputs[:, :, None], compute_uv=False)}

    task = SingularValues()
    described = config.architecture("resnet", resolution=16, width=4, stage_blocks=(1, 1))
    network = task.network(described, num_classes=3, channels=3)
    message = {"litert": "LiteRT cannot run", "onnx": "ONNX cannot express", "openvino": "OpenVINO cannot express"}
    with pytest.raises(UserError, match=rf"{message[format]} this network: (?s:.)*Svd"):
        FORMATS[format].convert(network, task)


def test_an_error_in_example_images_is_not_one_of_the_network() -> None:
    task = tasks.create(config.ClassificationSettings())
    described = config.architecture("resnet", resolution=16, width=4, stage_blocks=(1, 1))
    network = task.network(described, num_classes=3, channels=3)

    def examples() -> Iterator[dict[str, np.ndarray]]:
        yield {"images": np.zeros((1, 16, 16, 3), np.float32)}
        raise UserError("images: no such folder")

    with pytest.raises(UserError, match=r"^images: no such folder"):
        FORMATS["litert"].convert(network, task, examples=examples)


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


def test_the_extra_of_a_missing_converter_is_named(
    run: training.Workdir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for format, package in CONVERTERS.items():
        monkeypatch.setitem(sys.modules, package, None)  # importing it fails
        with pytest.raises(UserError, match=rf'format={format} requires .*pip install "tfeff\[{format}\]"'):
            runs.open_run(run.path).export(tmp_path / format, format)
        assert not (tmp_path / format).exists()


@pytest.mark.slow
@pytest.mark.parametrize(("format", "precision"), [*((format, "float32") for format in FORMATS), ("litert", "int8")])
def test_an_exported_classifier_predicts_alike(
    run: training.Workdir, tmp_path: Path, format: str, precision: str
) -> None:
    skip_without_converter(format)
    out, int8 = tmp_path / format, precision == "int8"
    runs.open_run(run.path).export(out, format, fit=False, precision=precision)
    call = runner(format, out)
    about = json.loads((out / "metadata.json").read_text())
    assert (about["input"], about["fit"], len(about["class_names"])) == ([16, 16, 1], "stretch", 10)
    digits = load_digits().images[-100:, :, :, None].astype(np.float32) * (255 / 16)
    images = tf.image.resize(digits, (16, 16)).numpy()
    network = training.trained_model(run)
    expected = tf.nn.softmax(network(images, training=False)).numpy()
    one_by_one = np.concatenate([call(images=image[None])["probabilities"] for image in images])
    if not int8:
        np.testing.assert_allclose(one_by_one, expected, atol=1e-4)
    if format != "litert":
        np.testing.assert_allclose(call(images=images)["probabilities"], expected, atol=1e-4)
    if int8:
        # The mean, because a single image near a rounding boundary can differ by much more: 0.0012 in four trainings.
        assert np.abs(one_by_one - expected).mean() < 0.01
        runs.open_run(run.path).export(tmp_path / "float", "litert")
        sizes = [(each / "model.tflite").stat().st_size for each in (out, tmp_path / "float")]
        assert sizes[0] < 0.5 * sizes[1]


SIZES = (40, 60), (100, 30), (24, 20), (64, 64)


FITS = {"litert": ("whole", "stretch"), "onnx": ("crop", "original"), "openvino": ("whole", "crop")}
"""Of each format, those that even a quick test compares: operators are converted alike, whatever they compute."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "fit"),
    [
        (format, fit) if fit in FITS[format] else thorough(format, fit)
        for format in FORMATS
        for fit in ("stretch", "crop", "whole", "original")
    ],
)
def test_images_of_any_size_are_fitted_by_the_model(format: str, fit: str, tmp_path: Path) -> None:
    skip_without_converter(format)
    task = tasks.create(config.ClassificationSettings(center_crop=0.8, interpolation="bicubic"))
    reading = ImageReading(fit) if fit in ("stretch", "crop") else task.reading
    fitting = Fitting(reading, None if fit == "original" else (24, 20), (16, 12), 3)
    inputs = keras.Input((16, 12, 3))
    spread = keras.initializers.RandomNormal(stddev=0.3)
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64, -2.0)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer=spread)(flat))
    write(FORMATS[format].convert(network, task, fitting=fitting), tmp_path)
    rng, differences = np.random.default_rng(0), list[float]()
    call = runner(format, tmp_path)
    for size in SIZES:
        images = rng.integers(0, 256, (1 if format == "litert" else 3, *size, 3), np.uint8)
        fitted = fitting.resize(tf.stack([fitting.fit(tf.constant(image)) for image in images]))
        expected = tf.nn.softmax(network(fitted, training=False)).numpy()
        found = call(images=images)["probabilities"]
        assert found.shape == expected.shape
        differences.append(np.abs(found - expected).max())
    # A few pixels in ten thousand are rounded to the next level, here of 480.
    assert max(differences) < 0.02
    assert sorted(differences)[1] < 1e-5


@pytest.fixture(scope="module", params=["yolo", thorough("fast_rcnn")])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a detector, and its SavedModel."""
    task, network = shared_detector(request.param)
    sizes, path = {"image_size": (64, 64), "size": (64, 64), "channels": 3}, tmp_path_factory.mktemp("saved") / "model"
    return request.param, savedmodel.export(network, ["0", "1", "2"], path, task=task, **sizes)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_boxes_of_images_of_any_size_are_in_their_pixels(format: str, saved: tuple[str, Path], tmp_path: Path) -> None:
    skip_without_converter(format)
    name, path = saved
    task, _ = shared_detector(name)
    write(files_of_a_detector(format, name, fitted=True), tmp_path)
    call = runner(format, tmp_path)
    served = tf.saved_model.load(path).signatures["serving_default"]
    for height, width in ((96, 64), (64, 64), (50, 100)):
        # Enlarged blocks of constant pixels: hardly any mean of theirs is halfway between two levels.
        given = inputs(task, np.kron(IMAGE[:, ::8, ::8].round(), np.ones((1, 16, 16, 1)))[:, :height, :width])
        given["images"] = given["images"].astype(np.uint8)
        expected = served(**{key: tf.constant(value) for key, value in given.items()})
        found = call(**given)
        assert found["count"] == expected["count"] > 0
        image_of = (tuple(each[key][0] for key in ("boxes", "labels", "scores")) for each in (found, expected))
        assert_same_detections(*image_of, box_atol=0.05, score_atol=3e-3)


def test_onnx_runtime_warns_of_nothing(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    skip_without_converter("onnx")
    write(files_of_a_detector("onnx", "yolo", fitted=True), tmp_path)
    capfd.readouterr()
    runner("onnx", tmp_path)(images=IMAGE.astype(np.uint8))  # with the runtime's own level of messages
    assert capfd.readouterr().err == ""


def test_an_export_is_not_overwritten_by_mistake(run: training.Workdir, tmp_path: Path) -> None:
    opened = runs.open_run(run.path)
    opened.export(tmp_path / "out", "keras")
    with pytest.raises(UserError, match="is an earlier export"):
        opened.export(tmp_path / "out", "keras")
    opened.export(tmp_path / "out", "keras", overwrite=True)


CTRL_C_AFTER_OPENVINO = """
import signal, sys
from pathlib import Path
import numpy as np
import openvino
from openvino import opset13
from tfeff.serving.openvino import load

given = opset13.parameter([1], np.float32, name="given")
openvino.save_model(openvino.Model([opset13.relu(given)], [given]), sys.argv[1])
loaded = [load(Path(sys.argv[1]), threads=1) for _ in range(2)]
while loaded:
    loaded.pop(0)  # in the order in which they were loaded
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.slow
def test_signals_are_handled_after_models_in_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    program = [sys.executable, "-c", CTRL_C_AFTER_OPENVINO, str(tmp_path / openvino.FILE)]
    ended = subprocess.run(program, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr
