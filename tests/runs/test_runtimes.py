"""Another runtime predicts if it is faster and predicts the same."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfeff
from tests.serving.random_detectors import detector
from tests.thoroughness import thorough
from tests.training.tracking.small_run import SETTINGS
from tests.undrawn import undrawn
from tfeff import cli, training
from tfeff.boxes import Tiling
from tfeff.data.images import decoding
from tfeff.errors import UserError
from tfeff.runs import runtimes
from tfeff.runs.equality import DIFFERENCE, difference
from tfeff.runs.run import Run
from tfeff.runs.runtimes import RUNTIMES, Runtimes
from tfeff.serving import exported
from tfeff.serving import run as serving
from tfeff.serving.batch_predictors import RuntimePredictor
from tfeff.serving.exportable import FORMATS
from tfeff.tasks import ClassificationTask
from tfeff.tasks.task import BatchPredictor

pytestmark = pytest.mark.usefixtures("without_figures")
PACKAGES = {"litert": (), "onnx": ("onnxruntime", "tf2onnx"), "openvino": ("openvino",)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with undrawn():
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


@pytest.mark.slow
@pytest.mark.parametrize("runtime", FORMATS)
def test_every_runtime_predicts_and_evaluates_alike(run: Run, images: np.ndarray, runtime: str) -> None:
    for package in PACKAGES[runtime]:
        pytest.importorskip(package)
    for one, other in zip(values(run, images, runtime), values(run, images, "tensorflow"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    here, there = (run.evaluate(runtime=each, quiet=True).report for each in (runtime, "tensorflow"))
    assert here.keys() == there.keys()
    numbers = {key: value for key, value in there.items() if isinstance(value, float)}
    assert "top1" in numbers
    assert {key: here[key] for key in numbers} == pytest.approx(numbers, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [format if format == "litert" else thorough(format) for format in FORMATS])
def test_detectors_are_compared_image_by_image(runtime: str, tmp_path: Path) -> None:
    for package in PACKAGES[runtime]:
        pytest.importorskip(package)
    rng = np.random.default_rng(0)
    batch = {"image": tf.constant(rng.uniform(0, 255, (3, 64, 64, 3)), tf.float32)}
    task, network = detector("yolo", batch["image"].numpy()[:1])
    predictor = task.predictor(network)
    for name, content in FORMATS[runtime].convert(predictor, task).items():
        (tmp_path / name).write_bytes(content)
    expected = BatchPredictor(predictor, task).decoded(batch)
    found = RuntimePredictor.open(tmp_path).decoded(batch)
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in expected.items()
    }
    here, there = (list(runtimes._single(each)) for each in (found, expected))
    assert len(here) == 3
    assert difference(here, there) < DIFFERENCE
    assert difference(here, there[::-1]) > DIFFERENCE


def test_the_fastest_is_chosen_once(run: Run, images: np.ndarray, measured: None, monkeypatch) -> None:
    said = list[str]()
    choice = run.choose_runtime("auto", images, len(images), say=said.append)
    assert choice.runtime in FORMATS
    assert choice.note.startswith(f"{choice.runtime} predicts: ")
    assert {*said} <= {f"converting the network for {each}, once" for each in FORMATS}
    np.testing.assert_allclose(values(run, images, "auto")[0], values(run, images, "tensorflow")[0], atol=1e-4)
    monkeypatch.setattr(serving, "exportable", lambda *_: pytest.fail("converted again"))
    assert run.choose_runtime("auto", images, len(images)) == choice


@pytest.mark.parametrize("error", [OSError("no space"), UserError("No space left on device"), KeyError("tf2onnx")])
def test_what_fails_is_no_error_and_is_tried_again_if_it_can_change(
    run: Run, images: np.ndarray, measured: None, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    kept = list[str]()
    monkeypatch.setattr(Runtimes, "_known", lambda self: {})
    monkeypatch.setattr(Runtimes, "_keep", lambda self, purpose, choice: kept.append(purpose))
    monkeypatch.setattr(Runtimes, "model", fail)
    choice = run.choose_runtime("auto", images, len(images))
    assert choice.runtime == "tensorflow"
    assert "litert fails (" in choice.note
    assert kept == (["images"] if isinstance(error, KeyError) else [])


def test_networks_that_read_more_than_images_stay_with_tensorflow(
    run: Run, images: np.ndarray, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(run.config.task), "CUTS_REGIONS", True, raising=False)
    monkeypatch.setattr(ClassificationTask, "proposals", property(lambda self: object()), raising=False)
    assert run.choose_runtime("auto", images, len(images)) == runtimes.Choice("tensorflow")
    pipeline: Any = None  # which batches of features need not be looked at
    predictor: Any = object()
    for wanted in ("auto", "tensorflow"):
        assert Runtimes(run._files).for_batches(wanted, predictor, pipeline, 1000)[0] is predictor
    with pytest.raises(UserError, match=r"--runtime=onnx: task\.name=classification takes region proposals"):
        run.choose_runtime("onnx", images, len(images))


def test_long_work_alone_is_measured(run: Run, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "exportable", lambda *_: pytest.fail("converted"))
    monkeypatch.setattr(Runtimes, "_known", lambda self: {})
    assert run.choose_runtime("auto", images, 10).runtime == "tensorflow"
    assert run.choose_runtime("auto", images, 300).runtime == "tensorflow"


def test_no_image_is_decoded_twice_for_short_work(
    run: Run, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0.png").write_bytes(b"no image")
    for number, pixels in enumerate(images, 1):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    decode, decoded = decoding.decode, list[str]()
    monkeypatch.setattr(decoding, "decode", lambda encoded, name: decoded.append(name) or decode(encoded, name))
    with pytest.warns(UserWarning, match="skipped 1 images"):
        assert len(run.predict(tmp_path, corrupt_images="skip")) == 3
    assert sorted(decoded) == [str(tmp_path / f"{number}.png") for number in range(4)]


def test_the_tiles_of_the_first_image_count(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    considered = list[int]()
    monkeypatch.setattr(Runtimes, "_is_considered", lambda self, count: considered.append(count))
    (tmp_path / "0.png").write_bytes(b"no image")
    Image.new("RGB", (40, 30)).save(tmp_path / "1.png")
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    opened: Any = None  # nothing is opened
    for given in (paths, paths[:1], [np.zeros((30, 40, 3), np.uint8)], []):
        found = Runtimes(run._files).for_images("auto", opened, given, 7, lambda size: Tiling(size, (10, 10), 0))
        assert found == runtimes.Choice("tensorflow")
    assert considered == [7 * 12, 7 * 12]


@pytest.mark.slow
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
    run = Run(run.workdir)
    choice = run.choose_runtime("auto", images, len(images))
    assert choice.runtime == "tensorflow"
    assert "litert predicts something else than tensorflow (by " in choice.note
    given = run.choose_runtime("litert", images, len(images))
    assert given.differs
    assert given.note.startswith("warning: litert predicts something else than tensorflow (by ")
    assert "litert predicts something else" in str(run.evaluate(runtime="litert", quiet=True).report["notes"])


def test_where_nothing_is_detected_nothing_is_said_of_equality_and_nothing_is_kept(
    run: Run, images: np.ndarray, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "scores": np.zeros(0)}
    kept = list[str]()
    monkeypatch.setattr(runtimes, "_outputs", lambda model, sample: [nothing] * len(sample))
    monkeypatch.setattr(Runtimes, "_known", lambda self: {})
    monkeypatch.setattr(Runtimes, "_keep", lambda self, purpose, choice: kept.append(purpose))
    reason = "could not be compared with tensorflow, because nothing is detected in the first images"
    assert run.choose_runtime("litert", images, len(images)) == runtimes.Choice("litert", f"litert {reason}")
    choice = run.choose_runtime("auto", images, len(images))
    assert choice.runtime == "tensorflow"
    assert f"litert {reason}" in choice.note
    assert not kept


def test_other_weights_are_converted_again(run: Run, images: np.ndarray) -> None:
    first = Runtimes(run._files).model("litert")
    assert Runtimes(run._files).model("litert") == first
    os.utime(run._files.final, ns=(1, 1))
    second = Runtimes(run._files).model("litert")
    assert second != first
    assert not first.exists()


def test_a_damaged_model_is_converted_again(run: Run) -> None:
    file = Runtimes(run._files).model("litert") / "model.tflite"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    said = list[str]()
    assert Runtimes(run._files, said.append).model("litert") == file.parent
    assert said == ["converting the network for litert, once"]
    exported.check(file)


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


def test_a_damaged_record_is_measured_again(tmp_path: Path) -> None:
    files = training.Workdir(tmp_path)
    files.final.parent.mkdir()
    files.final.write_bytes(b"weights")
    made = Runtimes(files)
    made._keep("images", runtimes.Choice("onnx", "why"))
    assert Runtimes(files)._known() == {"images": runtimes.Choice("onnx", "why")}
    record = json.loads(made._record.read_text())
    made._record.write_text(json.dumps(record | {"here": {}}))
    assert Runtimes(files)._known() == {}
    for damaged in (
        "{",
        json.dumps(record | {"choices": {"images": {"name": "onnx"}}}),
        json.dumps(record | {"choices": 3}),
    ):
        made._record.write_text(damaged)
        assert Runtimes(files)._known() == {}


def test_predictions_are_continued_in_their_runtime(run: Run, verbs, tmp_path: Path) -> None:
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    command = "predict", f"--workdir={run.workdir}", f"--images={tmp_path}", f"--out={tmp_path / 'out'}", "--nodraw"
    assert "3 images (0 from an earlier call)" in verbs(*command, "--runtime=litert").succeeds().out
    assert "3 images (3 from an earlier call)" in verbs(*command).succeeds().out
    assert "3 images (0 from an earlier call)" in verbs(*command, "--runtime=tensorflow").succeeds().out


def test_another_runtime_continues_if_that_of_the_earlier_call_is_gone(run: Run, verbs, tmp_path: Path) -> None:
    workdir, photos = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(run.workdir, workdir)
    photos.mkdir()
    Image.new("RGB", (20, 20), (90, 90, 90)).save(photos / "a.png")
    command = "predict", f"--workdir={workdir}", f"--images={photos}", f"--out={tmp_path / 'out'}", "--nodraw"
    verbs(*command, "--runtime=litert").succeeds()
    (made,) = (workdir / "runtimes").glob("*/litert")
    shutil.rmtree(made)
    made.touch()  # the model cannot be converted again
    done = verbs(*command).succeeds()
    assert "litert predicted in the earlier call and fails now" in done.err
    assert "1 image (0 from an earlier call)" in done.out


def test_an_image_that_the_model_refuses_decides_nothing(
    run: Run, images: np.ndarray, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise tf.errors.InvalidArgumentError(None, None, "too thin")

    monkeypatch.setattr(runtimes, "_outputs", refuse)
    assert run.choose_runtime("auto", images, len(images)) == runtimes.Choice("tensorflow")
    assert run.choose_runtime("litert", images, len(images)) == runtimes.Choice("litert")
