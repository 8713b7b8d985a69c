"""Another runtime predicts if it is faster and predicts the same."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfeff
from tests.serving.random_detectors import detector
from tests.training.tracking.small_run import SETTINGS
from tfeff import cli, training
from tfeff.errors import UserError
from tfeff.runs import runtimes
from tfeff.runs.run import Run
from tfeff.runs.runtimes import RUNTIMES, RuntimePredictor, Runtimes, difference
from tfeff.serving import exported
from tfeff.serving import run as serving
from tfeff.tasks.task import BatchPredictor

PACKAGES = {"litert": (), "onnx": ("onnxruntime", "tf2onnx"), "openvino": ("openvino",)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tfeff.train(SETTINGS, tmp_path_factory.mktemp("run"), quiet=True)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `auto` measure even for short work, and use what is not much faster."""
    monkeypatch.setattr(runtimes, "WORTHWHILE_SECONDS", 0.0)
    monkeypatch.setattr(runtimes, "FEWEST", 1)
    monkeypatch.setattr(runtimes, "FASTER", 0.0)


def values(run: Run, images: np.ndarray, runtime: str) -> list[np.ndarray]:
    found: list[Any] = run.predict(images, runtime=runtime)
    return [each.probabilities for each in found]


@pytest.mark.parametrize("runtime", serving.FORMATS)
def test_every_runtime_predicts_and_evaluates_alike(run: Run, images: np.ndarray, runtime: str) -> None:
    for package in PACKAGES[runtime]:
        pytest.importorskip(package)
    for one, other in zip(values(run, images, runtime), values(run, images, "tensorflow"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    here, there = (run.evaluate(runtime=each, quiet=True).report for each in (runtime, "tensorflow"))
    assert here.keys() == there.keys()
    assert here["loss"] == pytest.approx(there["loss"], abs=1e-4)
    assert here["accuracy"] == there["accuracy"]


@pytest.mark.parametrize("runtime", serving.FORMATS)
def test_detectors_are_compared_image_by_image(runtime: str, tmp_path: Path) -> None:
    for package in PACKAGES[runtime]:
        pytest.importorskip(package)
    rng = np.random.default_rng(0)
    batch = {"image": tf.constant(rng.uniform(0, 255, (3, 64, 64, 3)), tf.float32)}
    task, network = detector("yolo", batch["image"].numpy()[:1])
    predictor = task.predictor(network)
    for name, content in serving.FORMATS[runtime].convert(predictor, task).items():
        (tmp_path / name).write_bytes(content)
    expected = BatchPredictor(predictor, task).decoded(batch)
    found = RuntimePredictor(tmp_path).decoded(batch)
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in expected.items()
    }
    here, there = (list(runtimes._single(each)) for each in (found, expected))
    assert len(here) == 3
    assert difference(here, there) < runtimes.DIFFERENCE
    assert difference(here, there[::-1]) == np.inf or difference(here, there[::-1]) > runtimes.DIFFERENCE


def test_the_fastest_is_chosen_once(run: Run, images: np.ndarray, measured: None, monkeypatch) -> None:
    said = list[str]()
    choice = run.choose_runtime("auto", images, len(images), said.append)
    assert choice.runtime in serving.FORMATS
    assert choice.note.startswith(f"{choice.runtime} predicts: ")
    np.testing.assert_allclose(values(run, images, "auto")[0], values(run, images, "tensorflow")[0], atol=1e-4)
    monkeypatch.setattr(serving, "export_portable", lambda *_, **__: pytest.fail("converted again"))
    assert run.choose_runtime("auto", images, len(images), said.append) == choice
    assert run.choose_runtime("auto", images, len(images), said.append) == choice


def test_long_work_alone_is_measured(run: Run, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "export_portable", lambda *_, **__: pytest.fail("converted"))
    monkeypatch.setattr(Runtimes, "_known", lambda self: {})
    assert run.choose_runtime("auto", images, 10).runtime == "tensorflow"
    assert run.choose_runtime("auto", images, 300).runtime == "tensorflow"


def test_one_that_differs_is_not_chosen_but_can_be_given(
    run: Run, images: np.ndarray, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = exported.load

    def wrong(*arguments: Any) -> Any:
        model = load(*arguments)

        def run(given: Any) -> dict[str, np.ndarray]:
            outputs = dict(model.run(given))
            return outputs | {"probabilities": np.roll(outputs["probabilities"], 1, axis=-1)}

        return dataclasses.replace(model, run=run)

    monkeypatch.setattr(exported, "load", wrong)
    monkeypatch.setattr(Runtimes, "_known", lambda self: {})
    said = list[str]()
    run = Run(run.workdir)
    choice = run.choose_runtime("auto", images, len(images), said.append)
    assert choice.runtime == "tensorflow", said
    assert any("litert predicts something else than TensorFlow: outputs differ by up to 0" in line for line in said)
    with pytest.warns(UserWarning, match="litert predicts something else than TensorFlow"):
        run.predict(images, runtime="litert")
    assert "litert predicts something else" in str(run.evaluate(runtime="litert", quiet=True).report["notes"])


def test_other_weights_are_converted_again(run: Run, images: np.ndarray) -> None:
    first = Runtimes(run._files).model("litert")
    assert Runtimes(run._files).model("litert") == first
    os.utime(run._files.final, ns=(1, 1))
    second = Runtimes(run._files).model("litert")
    assert second != first
    assert not first.exists()


def test_mistakes_are_named(run: Run, images: np.ndarray, verbs, tmp_path: Path) -> None:
    for call in (run.evaluate, lambda runtime: run.predict(images, runtime=runtime)):
        with pytest.raises(UserError, match=r"runtime=openvinoo: did you mean .openvino."):
            call(runtime="openvinoo")
    done = verbs("predict", f"--model={tmp_path}", f"--images={tmp_path}", f"--out={tmp_path}/o", "--runtime=onnx")
    done.fails_with("--runtime has no effect with --model")


def test_the_flag_has_all_runtimes() -> None:
    with pytest.MonkeyPatch.context() as patch:
        defined = list[Any]()
        patch.setattr(cli.flags, "DEFINE_enum", lambda *arguments: defined.extend(arguments))
        cli.define_runtime()
    assert defined[1] == RUNTIMES[0]
    assert tuple(defined[2]) == RUNTIMES


def detections(boxes: list[list[float]], labels: list[int], scores: list[float]) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.array(labels, np.int32),
        "scores": np.array(scores, np.float32),
    }


def test_detections_are_compared_with_the_most_similar_of_their_class() -> None:
    one = detections([[0, 0, 10, 10], [0, 0, 100, 50], [5, 5, 9, 9]], [0, 1, 0], [0.9, 0.8, 0.01])
    swapped = detections([[0, 0, 100, 50], [0, 0, 10, 10]], [1, 0], [0.8, 0.9])
    assert difference([one], [swapped]) == 0  # the faint one does not count
    moved = detections([[0, 0, 100, 51], [0, 0, 10, 10]], [1, 0], [0.8, 0.9])
    assert difference([one], [moved]) == pytest.approx(1 / 100)
    assert difference([moved], [one]) == pytest.approx(1 / 100)
    scored = detections([[0, 0, 100, 50], [0, 0, 10, 10]], [1, 0], [0.7, 0.9])
    assert difference([one], [scored]) == pytest.approx(0.1)
    for wrong in (
        detections([[0, 0, 10, 10]], [0], [0.9]),
        detections([], [], []),
        detections([[0, 0, 10, 10], [0, 0, 100, 50]], [0, 0], [0.9, 0.8]),
    ):
        assert difference([one], [wrong]) == difference([wrong], [one]) == np.inf
    assert difference([detections([], [], [])], [detections([[1, 1, 2, 2]], [0], [0.04])]) == 0


def test_numbers_are_compared_relative_to_the_largest() -> None:
    one = {
        "probabilities": np.array([[0.2, 0.8]]),
        "box": np.array([[0.0, 0.0, 200.0, 100.0]]),
        "names": np.array(["a"]),
    }
    other = one | {"probabilities": np.array([[0.25, 0.75]]), "box": one["box"] + 4}
    assert difference([one], [other]) == pytest.approx(0.05)
    assert difference([one], [one | {"box": one["box"] + 20}]) == pytest.approx(0.1)
    assert difference([one], [one | {"probabilities": np.array([[np.nan, 1.0]])}]) == np.inf
    assert difference([one, other], [one, one]) > 0


def test_a_damaged_record_is_measured_again(tmp_path: Path) -> None:
    files = training.Workdir(tmp_path)
    files.final.parent.mkdir()
    files.final.write_bytes(b"weights")
    made = Runtimes(files)
    made._keep("images", runtimes.Choice("onnx", "why"))
    assert Runtimes(files)._known() == {"images": {"runtime": "onnx", "note": "why", "differs": False}}
    record = json.loads(made._record.read_text())
    made._record.write_text(json.dumps(record | {"here": {}}))
    assert Runtimes(files)._known() == {}
    made._record.write_text("{")
    assert Runtimes(files)._known() == {}
