"""The file of latencies of another machine."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tfeff import models
from tfeff.errors import UserError
from tfeff.serving.latencies import Latencies, TimedNetwork, this_machine
from tfeff.serving.timing import Timing

TIMING = Timing((3.0, 1.0, 2.0, 4.0, 5.0), (), 1234, "onnx", "float32", 2, "onnxruntime 1.0")
NETWORK = TimedNetwork.of(models.architecture("resnet", width_coefficient=0.5, resolution=24), 7, TIMING)
FOUND = Latencies.here(TIMING, [NETWORK])


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    FOUND.write(tmp_path / "a.json")
    read = Latencies.read(tmp_path / "a.json")
    assert read == FOUND
    assert read.machine == this_machine()
    (network,) = read.networks
    assert network == TimedNetwork("resnet", None, 7, 24, 0.5, 1.0, 3.0, 2.0, 4.0, 1.0, 1234)
    assert network.description == models.architecture("resnet", width_coefficient=0.5, resolution=24)
    assert network.cost == models.estimate(network.description, num_classes=7)


@pytest.mark.parametrize("backbone", [None, "resnet", "efficientnet-lite0"])
def test_a_detector_keeps_its_backbone_with_its_coefficients(backbone: str | None) -> None:
    described = models.detector("yolo", backbone=backbone, resolution=64, depth_coefficient=0.5)
    network = TimedNetwork.of(described, 3, TIMING)
    assert network.description == described
    assert network.backbone == backbone


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"format": "litert"}, "measured with format=onnx; use another file for --format=litert --threads=2"),
        ({"format": "litert", "precision": "int8"}, "measured with format=onnx"),
        (
            {"precision": "bfloat16"},
            "measured with precision=float32; .* --format=onnx --precision=bfloat16 --threads=2",
        ),
        ({"threads": None}, "measured with threads=2; use another file for --format=onnx, "),
    ],
)
def test_latencies_measured_otherwise_are_refused(wanted: dict[str, Any], words: str) -> None:
    FOUND.check(Path("a.json"), format="onnx", precision="float32", threads=2)
    with pytest.raises(UserError, match=f"a.json: {words}"):
        FOUND.check(Path("a.json"), **{"format": "onnx", "precision": "float32", "threads": 2, **wanted})


def test_later_latencies_replace_those_of_the_same_network() -> None:
    other = dataclasses.replace(NETWORK, resolution=32)
    again = dataclasses.replace(NETWORK, seconds=9.0)
    both = FOUND.added(dataclasses.replace(FOUND, networks=(again, other)), Path("a.json"))
    assert both.networks == (again, other)
    for change, words in (
        ({"machine": {"cores": 1}}, "with other machine"),
        ({"versions": {}}, "with other versions"),
        ({"threads": 1}, "with threads=2"),
    ):
        with pytest.raises(UserError, match=words):
            FOUND.added(dataclasses.replace(FOUND, **change), Path("a.json"))


def test_latencies_of_another_machine_or_tensorflow_are_refused() -> None:
    FOUND.check_here(Path("a.json"))
    for change, words in (
        ({"machine": {**FOUND.machine, "processor": "other"}}, "measured with other machine"),
        ({"versions": {**FOUND.versions, "tensorflow": "1.0"}}, "measured with other versions"),
    ):
        with pytest.raises(UserError, match=f"a.json: {words}.*; give another --out"):
            dataclasses.replace(FOUND, **change).check_here(Path("a.json"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("seconds", value) for value in (0, -1.0, "fast", None, True, float("inf"))),
        *(("size", value) for value in (0, 1.5, None)),
        *(("name", value) for value in ("resnet-x", 3)),
        *(("backbone", value) for value in ("resnet-x", "resnet")),
        *(("resolution", value) for value in (2, "large")),
        ("width_coefficient", -1.0),
        ("unknown", 1),
    ],
)
def test_damaged_networks_are_refused(key: str, value: object, tmp_path: Path) -> None:
    FOUND.write(tmp_path / "a.json")
    record = json.loads((tmp_path / "a.json").read_text())
    del record["crc32"]
    record["networks"][0][key] = value
    (tmp_path / "a.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"a\.json: .*; measure again with tfeff\.summary --latency --out"):
        Latencies.read(tmp_path / "a.json")


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    FOUND.write(path)
    text = path.read_text()
    for damaged in (text.replace("1234", "1235"), text[:-20], "[]", text.replace('"threads": 2', '"threads": "2"')):
        path.write_text(damaged)
        with pytest.raises(UserError, match="measure again with"):
            Latencies.read(path)
    for wrong in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UserError, match=r"missing|cannot be read"):
            Latencies.read(wrong)
    with pytest.raises(UserError, match="cannot be written"):
        FOUND.write(tmp_path / "missing" / "a.json")
