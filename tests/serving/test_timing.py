"""Exported models of all formats, timed. What is timed, not how long it takes."""

import dataclasses
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
import tensorflow as tf

from tests.thoroughness import thorough
from tfeff import config, models, runs, training
from tfeff.config.tasks import TASKS
from tfeff.errors import UserError
from tfeff.serving import openvino as vino
from tfeff.serving import timing
from tfeff.serving.exportable import FORMATS
from tfeff.serving.portable import Loaded

SMALL = config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=16)
FLOAT = ("saved_model", *FORMATS)
OTHERS = {"int8": "litert", "bfloat16": "openvino"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A classifier in all formats, and in the other precisions."""
    folder = tmp_path_factory.mktemp("exported")
    found = {
        format: timing.export_untrained(SMALL, folder / format, num_classes=10, channels=1, format=format)
        for format in FLOAT
    }
    for precision, format in OTHERS.items():
        found[precision] = timing.export_untrained(
            SMALL, folder / precision, num_classes=10, channels=1, format=format, precision=precision
        )
    return found


def test_every_round_times_every_model(exported: dict[str, Path]) -> None:
    names = [name for name in exported if name != "bfloat16" or vino.has_bfloat16()]
    found = timing.time_alternately([exported[name] for name in names], rounds=4)
    assert [each.format for each in found] == [OTHERS.get(name, name) for name in names]
    assert [each.precision for each in found] == [name if name in OTHERS else "float32" for name in names]
    runtimes = ["tensorflow", "LiteRT", "onnxruntime", "openvino", "LiteRT", "openvino"]
    assert [each.runtime.split()[0] for each in found] == runtimes[: len(names)]
    for each in found:
        assert len(each.rounds) == 4
        assert 0 < min(each.rounds) <= each.quartiles[0] <= each.seconds <= each.quartiles[1] <= max(each.rounds)
        assert each.threads is None
    size = exported["openvino"] / "model.xml", exported["openvino"] / "model.bin"
    assert found[3].size == sum(file.stat().st_size for file in size)
    assert found[4].size < found[1].size


def test_other_load_shows_in_the_median() -> None:
    for rounds, processor, undisturbed, expected in (
        ((1.0, 1.4, 9.0), (), 1.0, False),
        ((1.0, 1.6, 1.6), (), 1.0, True),
        ((1.0, 1.6, 1.6), (0.5, 1.1, 1.5), 1.1, False),
        ((1.0, 1.6, 1.6), (0.5, 1.0, 1.5), 1.0, True),
    ):
        found = timing.Timing(rounds, processor, 1, "onnx", "float32", 1, "none")
        assert (found.undisturbed, found.is_disturbed) == (undisturbed, expected)


def test_the_processor_is_timed_with_one_thread(exported: dict[str, Path]) -> None:
    for threads, count in ((1, 3), (2, 0)):
        found = timing.time_exported(exported["litert"], threads=threads, rounds=3)
        assert len(found.processor) == count


def test_bfloat16_is_not_timed_where_it_is_float32(exported: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vino, "has_bfloat16", lambda: False)
    with pytest.raises(UserError, match="precision=bfloat16: OpenVINO computes in float32 on this CPU"):
        timing.time_exported(exported["bfloat16"], rounds=1)
    assert timing.time_exported(exported["openvino"], rounds=1).precision == "float32"


def test_a_file_is_timed_like_its_folder(exported: dict[str, Path]) -> None:
    for format, name in (("litert", "model.tflite"), ("onnx", "model.onnx"), ("openvino", "model.xml")):
        found = timing.time_exported(exported[format] / name, rounds=1)
        assert (found.format, found.size) == (format, timing.bytes_of(exported[format]))


def test_metadata_is_not_part_of_the_size(tmp_path: Path) -> None:
    for name, length in (("model.onnx", 7), ("metadata.json", 100), ("checksums.json", 10), ("assets/x.txt", 5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(length))
    assert timing.bytes_of(tmp_path) == 12


@pytest.mark.slow
def test_a_network_with_random_weights_is_exported_like_that_of_a_run(
    exported: dict[str, Path], tmp_path: Path
) -> None:
    settings = config.Experiment(
        model=SMALL,
        data=config.Data(channels=1, train_examples=64),
        training=config.Training(epochs=1, batch_size=32, precision="float32"),
    )
    workdir = training.train(settings, tmp_path / "run", tensorboard=False)
    workdir.write_dataset(
        {**workdir.dataset(), "image_size": None}
    )  # an untrained network has no size of loaded images
    run = runs.open_run(workdir.path)
    for format in FLOAT:
        of_run = run.export(tmp_path / f"run-{format}", format, fit=None if format == "saved_model" else False)
        random = exported[format]
        if format == "saved_model":  # it contains names of other folders and nodes
            random = timing.export_untrained(SMALL, tmp_path / format, num_classes=10, channels=1, format=format)
        sizes = [size_without_numbers(path) for path in (of_run, random)]
        assert sizes[0] == pytest.approx(sizes[1], abs=100), format  # names of classes, numbers as text
    found = timing.time_alternately([of_run, tmp_path / "run-saved_model"], rounds=1)
    assert [each.format for each in found] == ["openvino", "saved_model"]


def size_without_numbers(exported: Path) -> int:
    """Returns the bytes of an export without the numbers in OpenVINO's names, which a process counts up."""
    graph = exported / "model.xml"
    numbers = re.findall(r"(?<=_)\d+", graph.read_text()) if graph.is_file() else []
    return timing.bytes_of(exported) - sum(map(len, numbers))


SCALED = {"resolution": 64, "width_coefficient": 0.1, "depth_coefficient": 0.1}
TINY = {
    "backbone": config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), stem="7x7", resolution=64),
    "neck": "fpn",
    "levels": ("P3", "P4"),
    "neck_channels": 8,
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("yolo", TINY), thorough("efficientdet-lite0", SCALED)])
def test_a_detector_is_timed_with_its_decoding(name: str, options: dict[str, Any]) -> None:
    described = models.detector(name, **options)
    augmentation = config.BoxAugmentation(brightness=0.1)
    task = next(each for each in TASKS.values() if name.startswith(each.name))
    task = dataclasses.replace(task, plain_epochs=15, augmentation=augmentation)  # more than the default's epochs
    found = timing.export_and_time(described, num_classes=3, format="litert", threads=1, rounds=2, task=task)
    assert len(found.rounds) == 2
    assert found.size > 4 * models.estimate(described, num_classes=3).trainable_params * 0.9
    assert pickle.loads(pickle.dumps(found)) == found


def test_threads_are_passed_to_each_runtime(exported: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = dict[str, int]()
    interpreter, session, compile_model = tf.lite.Interpreter, onnxruntime.InferenceSession, openvino.Core.compile_model

    def litert(**arguments: Any) -> Any:
        seen["litert"] = arguments["num_threads"]
        return interpreter(**arguments)

    def onnx(path: str, options: Any, providers: list[str]) -> Any:
        seen["onnx"] = options.intra_op_num_threads
        return session(path, options, providers)

    def compile_in_openvino(core: openvino.Core, path: Path, device: str, settings: dict[str, Any]) -> Any:
        seen["openvino"] = settings["INFERENCE_NUM_THREADS"]
        return compile_model(core, path, device, settings)

    monkeypatch.setattr(tf.lite, "Interpreter", litert)
    monkeypatch.setattr(onnxruntime, "InferenceSession", onnx)
    monkeypatch.setattr(openvino.Core, "compile_model", compile_in_openvino)
    paths = [exported[format] for format in FORMATS]
    timing.time_alternately(paths, threads=3, rounds=1)
    assert seen == dict.fromkeys(FORMATS, 3)
    monkeypatch.setattr(timing.resources, "cores", lambda: 5)
    timing.time_alternately(paths, rounds=1)
    assert seen == dict.fromkeys(FORMATS, 5)


def test_tensorflow_cannot_change_its_threads_once_it_has_started(
    exported: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tf.constant(1)
    started = tf.config.threading.get_intra_op_parallelism_threads()
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "5")
    monkeypatch.setattr(timing.resources, "cores", lambda: 5)
    timing.set_tensorflow_threads(5)
    timing.set_tensorflow_threads(None)
    with pytest.raises(UserError, match=r"with 5 threads and cannot change to 4; .* TF_NUM_INTRAOP_THREADS=4"):
        timing.time_exported(exported["saved_model"], threads=4)
    assert tf.config.threading.get_intra_op_parallelism_threads() == started


def test_a_call_is_one_image_of_the_input_and_always_the_same() -> None:
    given = list[np.ndarray]()
    model = Loaded({"images": (None, 5, 7, 3)}, (), lambda inputs: given.append(inputs["images"]), "none")
    for _ in range(2):
        timing._call(model, Path("x"))()
    assert given[0].shape == (1, 5, 7, 3)
    assert given[0].dtype == np.float32
    assert 0 <= given[0].min() < 50
    assert 200 < given[0].max() <= 255
    np.testing.assert_array_equal(*given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "onix"}, "--format=onix: give one of saved_model, litert, onnx, openvino"),
        ({"format": "onnx", "precision": "int8"}, "--precision=int8 requires --format=litert"),
        ({"format": "litert", "precision": "bfloat16"}, "--precision=bfloat16 requires --format=openvino"),
        ({"format": "litert", "threads": 0}, "--threads=0: give 1 or more"),
    ],
)
def test_impossible_requests_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        timing.export_and_time(SMALL, num_classes=3, channels=1, **options)


def test_models_that_take_proposals_are_refused() -> None:
    described = dataclasses.replace(models.detector("fast-rcnn"), backbone=SMALL)
    with pytest.raises(UserError, match="fast-rcnn: its predictions take region proposals"):
        timing.export_and_time(described, num_classes=3, format="onnx")
    with pytest.raises(UserError, match="x: takes counts, proposals besides images"):
        timing._call(
            Loaded({"images": (1, 8, 8, 3), "counts": (1,), "proposals": (1, 2, 4)}, (), print, "none"), Path("x")
        )


def test_missing_and_damaged_models_are_refused(exported: dict[str, Path], tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.onnx", exported["onnx"] / "model.pb"):
        with pytest.raises(UserError, match="no exported model; give a folder"):
            timing.time_exported(path)
    for format, module in FORMATS.items():
        damaged = tmp_path / module.FILE
        damaged.write_bytes((exported[format] / module.FILE).read_bytes()[:300])
        with pytest.raises(UserError, match=f"{module.FILE}: cannot read the model"):
            timing.time_exported(damaged)
