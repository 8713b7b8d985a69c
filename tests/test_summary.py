"""The verb `summary`, as a process."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.verbs import Verbs
from tfeff import models
from tfeff.models.cost.exported_size import exported_bytes
from tfeff.serving import timing
from tfeff.serving.exportable import Exportable
from tfeff.serving.latencies import Latencies, this_machine
from tfeff.tasks import ClassificationTask


def test_a_network_as_json(verbs: Verbs) -> None:
    done = verbs("summary", "--model=mobilenet-v2", "--resolution=65", "--num_classes=7", "--json")
    cost = models.complexity.count(models.build("mobilenet-v2", resolution=65, num_classes=7))
    assert json.loads(done.out) == {
        "name": "mobilenet-v2",
        "resolution": 65,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "params": cost.params,
        "trainable_params": cost.trainable_params,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes,
    }


def test_a_network_without_classes_is_refused(verbs: Verbs) -> None:
    verbs("summary", "--model=mobilenet-v2", "--num_classes=0").fails_with("num_classes", "positive integer")


def test_a_family_as_a_table(verbs: Verbs) -> None:
    done = verbs("summary", "--family=mobilenet", "--width_coefficient=0.5", "--resolution=32")
    for name in models.names("mobilenet"):
        params = models.build(name, width_coefficient=0.5, resolution=32).count_params()
        row = next(line for line in done.out.splitlines() if name in line)
        assert f"{params:,}" in row


SCALING = {"resolution": 16, "width_coefficient": 0.1, "depth_coefficient": 0.1}
SMALL = (*(f"--{name}={value}" for name, value in SCALING.items()), "--num_classes=4")


@pytest.mark.slow
def test_latencies_are_written_for_another_machine(verbs: Verbs, tmp_path: Path) -> None:
    out = tmp_path / "latencies.json"
    flags = ("--latency", "--format=litert", "--threads=1", f"--out={out}", "--json", *SMALL)
    row = json.loads(verbs("summary", "--model=mobilenet-v2", "--relative_to=resnet", *flags).out)
    scaling = {"resolution": 16, "width_coefficient": 0.1, "depth_coefficient": 0.1}
    cost = models.estimate(models.architecture("mobilenet-v2", **scaling), num_classes=4)
    base = models.estimate(models.architecture("resnet"), num_classes=4)
    assert (row["macs"], row["relative_macs"]) == (cost.macs, cost.macs / base.macs)
    assert row["relative_params"] == cost.params / base.params
    assert row["relative_latency"] > 0
    assert 0 < row["latency_low_s"] <= row["latency_s"] <= row["latency_high_s"]
    verbs("summary", "--model=resnet", *flags).succeeds()
    found = Latencies.read(out)
    assert (found.format, found.precision, found.threads) == ("litert", "float32", 1)
    assert [each.name for each in found.networks] == ["mobilenet-v2", "resnet"]
    first = found.networks[0]
    assert first.network == ("mobilenet-v2", None, 4, 16, 0.1, 0.1)
    assert (first.seconds, first.low, first.high, first.size) == tuple(
        row[key] for key in ("latency_s", "latency_low_s", "latency_high_s", "exported_bytes")
    )
    assert first.cost == cost
    verbs("summary", "--model=resnet", "--latency", f"--out={out}").fails_with("measured with format=litert")


@pytest.mark.parametrize("change", [{"machine": {"cores": 0}}, {"versions": {"tensorflow": "1.0"}}])
def test_a_file_of_another_machine_or_tensorflow_is_refused_before_networks_are_timed(
    verbs: Verbs, tmp_path: Path, change: dict[str, Any]
) -> None:
    versions = {"tensorflow": tf.__version__, "runtime": f"LiteRT of tensorflow {tf.__version__}"}
    found = Latencies("litert", "float32", 1, this_machine(), versions, ())
    dataclasses.replace(found, **change).write(tmp_path / "a.json")
    flags = ("--latency", "--format=litert", "--threads=1", f"--out={tmp_path / 'a.json'}", *SMALL)
    done = verbs("summary", "--model=mobilenet-v2", *flags)
    done.fails_with(f"measured with other {next(iter(change))}", "give another --out")
    assert "latency [s]" not in done.out  # the table of timed networks


FAILING = """
from tfeff import cli, summary
from tfeff.errors import UserError
from tfeff.serving import timing

time_networks = timing.time_networks

def fail(*networks, **options):
    raise UserError("the second one fails")

def first(*networks, **options):
    timing.time_networks = fail
    return time_networks(*networks, **options)

timing.time_networks = first
summary.define_flags()
cli.run(summary.main)
"""


@pytest.mark.slow
def test_latencies_are_kept_if_that_of_a_later_network_fails(tmp_path: Path) -> None:
    out = tmp_path / "latencies.json"
    flags = ("--family=mobilenet", "--latency", "--format=litert", "--threads=1", f"--out={out}", "--json", *SMALL)
    done = subprocess.run([sys.executable, "-c", FAILING, *flags], capture_output=True, text=True)
    assert done.returncode == 2
    assert "the second one fails" in done.stderr
    name = models.names("mobilenet")[0]
    assert [each.name for each in Latencies.read(out).networks] == [row["name"] for row in json.loads(done.stdout)]
    assert [row["name"] for row in json.loads(done.stdout)] == [name]


def test_detectors_with_the_backbones_of_a_family(verbs: Verbs) -> None:
    rows = json.loads(verbs("summary", "--detector=yolo", "--family=efficientnet-lite", *SMALL, "--json").out)
    assert [row["backbone"] for row in rows] == list(models.names("efficientnet-lite"))
    for row in rows:
        described = models.detector("yolo", backbone=row["backbone"], **SCALING)
        assert row["macs"] == models.estimate(described, num_classes=4).macs
    verbs("summary", "--detector=yolo", "--family=yolo").fails_with("needs backbones in --model or --family")
    verbs("summary", "--detector=yolox", "--model=resnet").fails_with('did you mean "yolo"')


def test_a_saved_model_is_the_default_and_gets_its_threads(verbs: Verbs, tmp_path: Path) -> None:
    """TensorFlow is told before it starts; tests let it use another number."""
    threads = 1 + int(os.environ["TF_NUM_INTRAOP_THREADS"])
    out = tmp_path / "latencies.json"
    flags = ("--latency", f"--threads={threads}", f"--out={out}")
    verbs("summary", "--model=resnet", *flags, *SMALL).succeeds()
    found = Latencies.read(out)
    assert (found.format, found.threads, found.versions["runtime"]) == (
        "saved_model",
        threads,
        f"tensorflow {tf.__version__}",
    )


def test_exported_models_are_timed_in_turn(verbs: Verbs, tmp_path: Path) -> None:
    small = models.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=16)
    paths = [
        timing.export_untrained(small, tmp_path / format, num_classes=3, format=format) for format in ("litert", "onnx")
    ]
    flags = [f"--exported={path}" for path in paths]
    rows = json.loads(verbs("summary", *flags, "--threads=1", "--json").out)
    assert [(row["path"], row["format"]) for row in rows] == [(str(paths[0]), "litert"), (str(paths[1]), "onnx")]
    assert [row["exported_bytes"] for row in rows] == list(map(timing.bytes_of, paths))
    assert all(row["latency_low_s"] <= row["latency_s"] <= row["latency_high_s"] for row in rows)


@pytest.mark.slow
def test_a_model_that_fits_images_itself_is_named(verbs: Verbs, tmp_path: Path) -> None:
    network = models.build(models.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=16), num_classes=2)
    exportable = Exportable(ClassificationTask(), network, ["a", "b"], None, 3)
    paths = [exportable.portable(tmp_path / str(fit), "litert", fit=fit) for fit in (True, False)]
    done = verbs("summary", *(f"--exported={path}" for path in paths), "--threads=1").succeeds()
    assert [line.split(":")[0] for line in done.err.splitlines() if "fits images itself" in line] == [str(paths[0])]


def test_a_format_without_latency_adds_the_estimated_size(verbs: Verbs) -> None:
    cost = models.estimate(models.architecture("resnet50"))
    for precision in ("float32", "int8"):
        done = verbs("summary", "--model=resnet50", "--format=litert", f"--precision={precision}", "--json")
        assert json.loads(done.out)["exported_bytes"] == exported_bytes(cost, "litert", precision)


@pytest.mark.slow
def test_a_detector_is_timed_like_a_classifier(verbs: Verbs) -> None:
    flags = "--detector=efficientdet-lite0", "--model=resnet", "--relative_to=resnet", *SMALL
    row = json.loads(verbs("summary", *flags, "--latency", "--json").out)
    assert 0 < row["latency_low_s"] <= row["latency_s"] <= row["latency_high_s"]
    assert row["relative_latency"] > 0
    described = models.detector("efficientdet-lite0", backbone="resnet", **SCALING)
    assert row["macs"] == models.estimate(described, num_classes=4).macs
    assert row["exported_bytes"] > 4 * row["params"]


def test_a_family_of_detectors_has_the_classes_of_coco(verbs: Verbs) -> None:
    rows = json.loads(verbs("summary", "--family=efficientdet", "--json").out)
    assert [row["name"] for row in rows] == list(models.detector_names("efficientdet"))
    assert rows[0]["params"] == 3_927_203


def test_the_resolutions_of_d6_are_named(verbs: Verbs) -> None:
    done = verbs("summary", "--model=efficientdet-d6", "--json")
    assert json.loads(done.out)["resolution"] == 1280
    assert "arXiv:1911.09070v1" in done.err
    assert "--resolution=1408" in done.err


def test_user_errors_exit_with_code_2_and_without_traceback(verbs: Verbs) -> None:
    for flags, message in (
        ((), "--model=NAME or --family=NAME"),
        (("--model=mobilenet-v3",), "did you mean"),
        (("--family=efficientdat",), 'did you mean "efficientdet"'),
        (("--model=resnet", "--relative_to=resnet5"), 'no network "resnet5"'),
        (("--model=resnet", "--precision=int8"), "--precision=int8 requires --format=litert"),
        (("--model=resnet", "--format=onnx", "--precision=bfloat16"), "bfloat16 requires --format=openvino"),
        (("--model=resnet", "--threads=1"), "--threads requires --latency"),
        (("--model=resnet", "--out=x.json"), "--out requires --latency"),
        (("--model=resnet", "--latency", "--out=missing/x.json"), "no folder missing"),
        (("--exported=missing",), "missing: no exported model; give a folder"),
        (("--exported=x", "--format=onnx"), "--format has no effect with --exported"),
        (("--model=fast-rcnn", "--latency"), "region proposals"),
    ):
        verbs("summary", *flags).fails_with(message)


@pytest.mark.slow
def test_a_reader_that_stops_is_no_error() -> None:
    """Such as `head`."""
    command = [sys.executable, "-m", "tfeff.summary", "--model=resnet50"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert b"Error" not in process.communicate()[1]
    assert process.returncode == 128 + signal.SIGPIPE


def test_detectors_are_shown_with_their_backbone_neck_and_heads(verbs):
    """arXiv:1911.09070, table 1."""
    rows = json.loads(verbs("summary", "--family=efficientdet", "--json").out)[:8]
    assert [row["resolution"] for row in rows] == [512, 640, 768, 896, 1024, 1280, 1280, 1536]
    assert [row["neck_channels"] for row in rows] == [64, 88, 112, 160, 224, 288, 384, 384]
    assert [row["neck_repeats"] for row in rows] == [3, 4, 5, 6, 7, 7, 8, 8]
    assert [row["head_repeats"] for row in rows] == [3, 3, 3, 4, 4, 4, 5, 5]
    assert rows[3]["backbone"] == "efficientnet-b3"


def test_stages_are_rows(verbs):
    done = verbs("summary", "--model=efficientnet-b0", "--stages").succeeds()
    assert "stage4  conv 1x1, depthwise 3x3, squeeze-and-excite, conv 1x1  14x14" in done.out
    verbs("summary", "--model=yolo", "--stages").fails_with("--stages requires a backbone")
    verbs("summary", "--family=efficientnet", "--stages").fails_with("--family", "--stages")
