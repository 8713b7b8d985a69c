"""A comparison of two trained detectors, as files."""

import json
import re
import shutil

import pytest

from tests.rcnn.shapes import write_yolo
from tests.undrawn import undrawn
from tfeff import config, training
from tfeff.analysis import comparison
from tfeff.analysis.comparison.cost import measure_costs
from tfeff.analysis.comparison.detectors import predictions
from tfeff.analysis.comparison.run import open_runs
from tfeff.errors import UserError
from tfeff.reporting import figure
from tfeff.serving import run as serving

pytestmark = pytest.mark.slow

QUIET = training.Reporter(quiet=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """YOLO, and a copy of it whose weights have changed a little."""
    root = tmp_path_factory.mktemp("detectors")
    (root / "shapes").mkdir()
    settings = config.Experiment(
        task=config.YoloSettings(network=config.detector("yolo", neck="fpn", levels=("P3", "P4"), neck_channels=8)),
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), stem="7x7", resolution=64),
        data=config.Data(source=f"yolo:{write_yolo(root / 'shapes', 40)}", validation_fraction=0.5),
        training=config.Training(batch_size=8, epochs=1, precision="float32"),
    )
    run = training.train(settings, root / "first", tensorboard=False)
    serving.exportable(run).saved_model(run.saved_model)
    other = training.Workdir(shutil.copytree(run.path, root / "second"))
    arrays, record = training.checkpoint.load(other.final)
    changed = {name: value * 1.02 if name.endswith("kernel") else value for name, value in arrays.items()}
    training.checkpoint.save(other.final, changed, record)
    return run, other


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison") / "out"
    with undrawn():
        text = comparison.write([run.path for run in runs], out, reporter=QUIET)
    return out, text


def test_numbers_are_those_of_the_evaluation(written, runs, without_figures):
    numbers = json.loads((written[0] / "report.json").read_text())
    for run in runs:
        evaluated = training.evaluate_run(run, None, QUIET).report
        (row,) = [each for each in numbers["models"] if each["name"] == run.path.name]
        for key in ("mean_ap", "mean_ap_interval", "coco", "score_threshold"):
            assert row[key] == evaluated[key]
        errors = numbers["errors"][run.path.name]
        assert {kind: each["count"] for kind, each in errors.items()} == {
            kind: each["count_at_threshold"] for kind, each in evaluated["errors"].items()
        }
    assert numbers["summary"] in written[1]


def test_the_page_is_complete_and_loads_nothing(written):
    text = (written[0] / "report.html").read_text()
    shown = re.sub(r"base64,[\w+/=]+", "", text)
    assert not re.search(r"https?:|@import|url\(", shown)
    for heading in ("Detectors", "Differences", "Classes and sizes", "Errors", "Where they differ"):
        assert f">{heading}</h2>" in shown
    for name in ("accuracy_macs", "accuracy_latency_saved_model", "differences", "errors", "published", "confusion_1"):
        assert (written[0] / "figures" / f"{name}.png").is_file()
    assert "EfficientDet-D0" in shown


def test_detectors_of_two_kinds_share_a_page(runs, tmp_path, without_figures):
    """Fast R-CNN reads proposals, so it is not timed; that costs YOLO no figure."""
    changes = "task.name=fast_rcnn", "task.network.levels=P3", "task.network.hidden=8"
    proposals = f"task.proposals.directory={tmp_path / 'store'}", "task.proposals.max_proposals=20"
    settings = config.override(runs[0].config(), [*changes, *proposals])
    other = training.train(settings, tmp_path / "fast", tensorboard=False)
    out = tmp_path / "out"
    comparison.write([runs[0].path, other.path], out, reporter=QUIET)
    numbers = json.loads((out / "report.json").read_text())
    timed = {row["name"]: [*row["latencies"]] for row in numbers["models"]}
    assert timed == {"first": ["saved_model"], "fast": []}
    (difference,) = numbers["differences"]
    found = {row["name"]: row["mean_ap"] for row in numbers["models"]}
    assert difference["difference"] == found[difference["first"]] - found[difference["second"]]
    page = (out / "report.html").read_text()
    for cost in ("macs", "latency_saved_model", "size_saved_model"):
        assert (out / "figures" / f"accuracy_{cost}.svg").is_file()
    assert page.count("Not shown, as this cost is not known: fast.") == 3
    assert found["fast"] == training.evaluate_run(other, None, QUIET).report["mean_ap"]


def test_detectors_in_tiles_are_compared_on_whole_images(runs, tmp_path, without_figures):
    settings = config.override(runs[0].config(), ["data.tile=48", "data.tile_overlap=16"])
    tiled = training.train(settings, tmp_path / "tiled", tensorboard=False)
    text = comparison.write([runs[0].path, tiled.path], tmp_path / "out", reporter=QUIET)
    assert (
        "tiled detects in tiles (data.tile=48): its multiply-adds and latency, if shown, are those of one tile" in text
    )
    found = {row["name"]: row for row in json.loads((tmp_path / "out" / "report.json").read_text())["models"]}
    assert (found["tiled"]["macs"], found["tiled"]["latencies"]) == (None, {})  # of one of several tiles
    for run in (runs[0], tiled):
        evaluated = training.evaluate_run(run, None, QUIET).report
        for key in ("mean_ap", "mean_ap_interval", "coco"):
            assert found[run.path.name][key] == evaluated[key]


def test_a_second_call_detects_nothing(written, runs, tmp_path, monkeypatch):
    out = shutil.copytree(written[0], tmp_path / "out")
    monkeypatch.setattr(predictions, "_predict", None)
    monkeypatch.setattr(figure, "save", lambda drawn, path: (path.with_suffix(".png"), path.with_suffix(".png")))
    comparison.write([run.path for run in runs], out, reporter=QUIET)
    assert (out / "report.json").read_text() == (written[0] / "report.json").read_text()


def test_a_detector_that_stretches_images_is_timed_in_openvino(runs, tmp_path):
    """OpenVINO cannot run one that stretches images of any size itself."""
    copy = training.Workdir(shutil.copytree(runs[0].path, tmp_path / "stretched"))
    (copy.path / "config.json").write_text(config.to_json(config.override(copy.config(), ["task.stretch=true"])))
    (measured,) = measure_costs(open_runs([copy.path]), ["openvino"], tmp_path / "latency.json")
    assert measured.latencies["openvino"].size > 4 * measured.params


def test_one_detector_is_not_compared(runs, tmp_path):
    with pytest.raises(UserError, match="give at least two detectors"):
        comparison.write([runs[0].path], tmp_path / "out", reporter=QUIET)


def test_the_verb_names_wrong_formats(verbs, runs, tmp_path):
    flags = [f"--workdir={run.path}" for run in runs]
    verbs("analyze", *flags, f"--out={tmp_path / 'out'}", "--formats=onx").fails_with("--formats=onx", "onnx")
    verbs("analyze", flags[0], "--formats=onnx").fails_with("--formats requires several --workdir")
