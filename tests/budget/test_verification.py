"""The exported network is evaluated by its own runtime, and compared with the trained one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.budget.test_study import study_of
from tests.rcnn.voc_digits import write_voc
from tests.serving.test_batch_predictors import DETECTOR
from tfeff import config, training
from tfeff.budget.delivery import _export
from tfeff.budget.verification import IMAGES, Loss, export_loss, verify
from tfeff.data.dataset import Dataset, Objects, evenly_spaced
from tfeff.data.images.storage import PixelArrays
from tfeff.data.input.cache import ImageCache
from tfeff.data.sources import catalog
from tfeff.reports.detection import DetectionEvaluator
from tfeff.serving import openvino
from tfeff.serving import run as serving
from tfeff.serving.timing import time_exported
from tfeff.tasks.task import BatchPredictor, Predictions

CLASSIFIER = config.Experiment(
    model=config.architecture("resnet", width=8, stage_blocks=(1, 1), resolution=8),
    data=config.Data(source="embedded:digits", channels=1, validation_fraction=0.0),
    training=config.Training(epochs=3, batch_size=32, precision="float32"),
)

STUDY = study_of()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> training.Workdir:
    return training.train(CLASSIFIER, tmp_path_factory.mktemp("run"), tensorboard=False)


def split(run: training.Workdir, name: str) -> ImageCache:
    plan = training.Plan.opened(run)
    return training.split_images(run, plan.images, name, training.Reporter(quiet=True)).images


def right_by_hand(file: Path, images: ImageCache) -> np.ndarray:
    """Returns which images a LiteRT model classifies correctly."""
    interpreter = tf.lite.Interpreter(str(file))
    interpreter.allocate_tensors()
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    (pixels,) = images.chunks(len(images))
    found = []
    for image in pixels:
        interpreter.set_tensor(given["index"], image[np.newaxis].astype(np.float32))
        interpreter.invoke()
        found.append(interpreter.get_tensor(output["index"])[0].argmax())
    return np.array(found) == images.dataset.labels


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_accuracy_is_that_of_the_exported_file(
    classifier: training.Workdir, precision: str, tmp_path: Path
) -> None:
    model, out = training.trained_model(classifier), tmp_path / "litert"
    exported = serving.exportable(classifier, model).portable(out, "litert", fit=False, precision=precision)
    found = verify(classifier, model, exported, "test", training.Reporter(quiet=True))
    assert found.report is not None
    right = right_by_hand(exported / "model.tflite", split(classifier, "test"))
    assert found.report["top1"] == pytest.approx(right.mean())
    assert found.report["examples"] == len(right)
    assert found.loss.images == min(IMAGES, len(split(classifier, "train")))
    network = training.evaluate_run(classifier, "test", training.Reporter(quiet=True)).report
    if precision == "int8":
        assert found.report["log_loss"] != network["log_loss"]
    else:
        assert found.report["top1"] == network["top1"]
        assert found.report["log_loss"] == pytest.approx(network["log_loss"], rel=1e-4)
        assert found.loss.value == pytest.approx(0.0)
        assert not found.loss.matters(STUDY)


@pytest.mark.slow
def test_a_budget_in_bfloat16_is_exported_timed_and_evaluated_in_it(
    classifier: training.Workdir, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    if not openvino.has_bfloat16():
        pytest.skip("OpenVINO has no bfloat16 on this CPU")
    budget = config.Limits(format="openvino", precision="bfloat16", threads=1)
    model = training.trained_model(classifier)
    exported = _export(serving.exportable(classifier, model), classifier, budget)
    assert time_exported(exported, threads=1, rounds=1).precision == "bfloat16"
    found = verify(classifier, model, exported, "test", training.Reporter(quiet=True)).report
    images = split(classifier, "test")
    (pixels,) = images.chunks(len(images))
    losses = dict[str, float]()
    for precision in ("f32", "bf16"):
        settings = {"INFERENCE_PRECISION_HINT": precision}
        run = openvino.core().compile_model(exported / "model.xml", "CPU", settings)
        probabilities = run({"images": pixels.astype(np.float32)})["probabilities"]
        losses[precision] = -np.log(probabilities[np.arange(len(images)), images.dataset.labels]).mean()
    assert found is not None
    assert found["log_loss"] == pytest.approx(losses["bf16"], rel=1e-5)
    assert found["log_loss"] != pytest.approx(losses["f32"], rel=1e-5)
    assert found["log_loss"] == pytest.approx(losses["f32"], rel=0.02)


@pytest.mark.slow
def test_a_saved_model_is_as_good_as_its_network(classifier: training.Workdir, tmp_path: Path) -> None:
    model = training.trained_model(classifier)
    exported = serving.exportable(classifier, model).saved_model(tmp_path / "saved_model")
    found = verify(classifier, model, exported, "test", training.Reporter(quiet=True))
    network = training.evaluate_run(classifier, "test", training.Reporter(quiet=True)).report
    assert found.report is not None
    assert found.report["top1"] == network["top1"]
    assert not found.loss.matters(STUDY)


@pytest.mark.slow
def test_an_export_with_damaged_weights_loses_accuracy(classifier: training.Workdir, tmp_path: Path) -> None:
    model = training.trained_model(classifier)
    damaged = training.trained_model(classifier)
    for weight in damaged.trainable_weights[-2:]:
        weight.assign(np.roll(weight.numpy(), 1, axis=-1))  # each class is called like the next one
    exported = serving.exportable(classifier, damaged).portable(tmp_path / "litert", "litert", fit=False)
    found = verify(classifier, model, exported, None, training.Reporter(quiet=True))
    assert found.report is None
    train, plan = split(classifier, "train"), training.Plan.opened(classifier)
    train = train.take(evenly_spaced(len(train), IMAGES))
    predicted = BatchPredictor(model, plan.task)(plan.evaluation_pipeline(train, model.size))["probabilities"]
    accuracy = (predicted.argmax(axis=1) == train.dataset.labels).mean()
    lost = accuracy - right_by_hand(exported / "model.tflite", train).mean()
    assert found.loss.value == pytest.approx(lost, abs=0.005)
    assert found.loss.matters(STUDY)


@pytest.mark.slow
def test_detectors_are_verified_by_their_mean_average_precision(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", {"train": range(24), "test": range(24, 32)})
    changes = [f"data.source=voc:{tmp_path / 'voc'}", "data.validation_fraction=0.0", "training.epochs=15"]
    settings = config.override(DETECTOR, [*changes, "optimizer.name=adamw", "optimizer.learning_rate=0.01"])
    run = training.train(settings, tmp_path / "run", tensorboard=False)
    model, reporter = training.trained_model(run), training.Reporter(quiet=True)
    network = training.evaluate_run(run, "test", reporter, model).report
    for format in ("litert", "saved_model"):
        exportable = serving.exportable(run, model)
        if format == "litert":
            exported = exportable.portable(tmp_path / format, format, fit=False)
        else:
            exported = exportable.saved_model(tmp_path / format)
        found = verify(run, model, exported, "test", reporter)
        assert found.report is not None
        key = "mean_ap"
        result = DetectionEvaluator().result(found.report)[key]
        assert result == pytest.approx(DetectionEvaluator().result(network)[key], abs=1e-3)
        assert found.loss.value == pytest.approx(0.0, abs=1e-3)
        assert found.loss.images == 24


@pytest.fixture(scope="module")
def images() -> Dataset:
    return catalog.open_labels("embedded:digits").load("train").take(np.arange(500))


def predictions(images: Dataset, wrong: int) -> Predictions:
    """Returns predictions that are wrong for the first images."""
    return {"probabilities": np.eye(10)[(images.labels + (np.arange(500) < wrong)) % 10]}


@pytest.mark.parametrize(("wrong", "clear"), [(0, False), (3, False), (6, True), (25, True)])
def test_of_500_images_a_loss_of_one_point_is_clear(images: Dataset, wrong: int, clear: bool) -> None:
    trained, exported = predictions(images, 0), predictions(images, wrong)
    found, gain = export_loss(trained, exported, images), export_loss(exported, trained, images)
    assert found.value == pytest.approx(wrong / 500, abs=0.002)
    assert found.matters(STUDY) is clear
    assert (gain.value, gain.low, gain.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_images_of_a_group_count_as_one(images: Dataset) -> None:
    trained, exported = predictions(images, 0), predictions(images, 50)
    assert export_loss(trained, exported, images).matters(STUDY)
    grouped = export_loss(trained, exported, dataclasses.replace(images, groups=np.arange(500) // 100))
    assert grouped.value == pytest.approx(0.1)
    assert not grouped.matters(STUDY)


def test_images_without_objects_do_not_make_a_loss_of_detectors_certain() -> None:
    """The export misses the object of four of eight images."""
    none, box = np.zeros(1, bool), np.array([[0, 0, 8, 8]], np.float32)
    one = Objects(box, np.zeros(1, np.int32), none, none)

    def loss(empty: int) -> Loss:
        count = 8 + empty
        objects = [one] * 8 + [one.take(np.zeros(0, np.int64))] * empty
        ids = [f"{image}" for image in range(count)]
        images = Dataset(
            "test", ("cell",), ids, PixelArrays(np.zeros((count, 8, 8, 1), np.uint8), "none"), objects=objects
        )

        def found(first: int) -> Predictions:
            return {
                "boxes": np.repeat(box[None], count, axis=0),
                "labels": np.zeros((count, 1), np.int32),
                "scores": np.ones((count, 1), np.float32),
                "count": ((np.arange(count) >= first) & (np.arange(count) < 8)).astype(np.int32),
                "image_size": np.full((count, 2), 8, np.int32),
                "window_yxyx": np.tile(np.float32([0, 0, 8, 8]), (count, 1)),
            }

        return export_loss(found(0), found(4), images)

    alone, among_others = loss(0), loss(400)
    assert alone.value == among_others.value == 0.5
    assert among_others.low <= alone.low
