"""Complete runs on a few images of shapes: train, resume, evaluate, export, detect."""

import dataclasses
import io
import json
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from tests.rcnn.shapes import NAMES, SIDE, shapes
from tests.rcnn.voc_digits import write_voc
from tests.same_detections import assert_same_detections
from tests.thoroughness import only_thorough
from tests.verbs import Verbs
from tfeff import config, rcnn, runs, training
from tfeff.boxes import iou
from tfeff.boxes.formats import cyxhw_from_yxyx, relative_from_yxyx
from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.rcnn import assessment, images, regions, run_regions
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.run_regions import SLIDING_WINDOW, RunRegions
from tfeff.rcnn.savedmodel import ExportedRCNN
from tfeff.training import checkpoint, selection

KILLS = int(os.environ.get("TFEFF_KILLS", "1"))
FORMS = ("joint", "classic", "sliding_window")
IMAGES = 60
CONFIG = """
from tfeff.config import *

def get_config():
    return RCNN(
        forms={forms!r},
        data=DetectionData(source="yolo:{root}", validation_fraction=0.4),  # thresholds need some images
        proposals=Proposals(max_proposals=60),
        backbone=Experiment(
            model=Model(name="resnet", width=8, stage_blocks=(1, 1), resolution=16),
            data=Data(source="crops", image_size=16, test_split=None, normalization="dataset"),
            training=Training(epochs=2, batch_size=64, precision="float32"),
        ),
        features=RegionFeatures(grid=2),
        joint=Joint(epochs=3),
        classic=Classic(mining_rounds=2),
        windows=Windows(max_windows=40),
    )
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO dataset without splits."""
    root, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("\n".join(NAMES))
    for index in range(IMAGES):
        pixels, boxes, labels = shapes(rng)
        cv2.imwrite(str(root / "images" / f"{index:03}.png"), pixels[..., ::-1])
        rows = cyxhw_from_yxyx(relative_from_yxyx(boxes, (SIDE, SIDE)))
        lines = [f"{label} {x} {y} {w} {h}" for label, (y, x, h, w) in zip(labels, rows, strict=True)]
        (root / "labels" / f"{index:03}.txt").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def finished(verbs: Verbs, root: Path, tmp_path_factory: pytest.TempPathFactory) -> rcnn.Workdir:
    """A finished run of all forms."""
    directory = tmp_path_factory.mktemp("run")
    (directory / "config.py").write_text(CONFIG.format(forms=FORMS, root=root))
    verbs("train", f"--config={directory / 'config.py'}", f"--workdir={directory / 'workdir'}").succeeds()
    return rcnn.Workdir(directory / "workdir")


def test_a_run_writes_the_files_of_its_workdir(finished: rcnn.Workdir) -> None:
    for name in ("config.json", "joint.json", "result.json", "evaluation_test.json", "tensorboard", "backbone"):
        assert (finished.path / name).exists()
    for form in FORMS:
        assert (finished.saved_model(form) / "saved_model.pb").is_file()
        assert (finished.figures / f"test_{form}_precision_recall.png").is_file()
        results = json.loads((finished.path / f"detections_{form}_test.json").read_text())
        assert {"image_id", "category_id", "bbox", "score"} == set(results[0])
    result = json.loads((finished.path / "result.json").read_text())
    assert set(result["forms"]) == set(FORMS)


def test_each_form_has_its_own_head(finished: rcnn.Workdir) -> None:
    names = [Detector.load(finished, form)[0].head.name for form in FORMS]
    assert names == ["joint_detector", "classic_detector", "classifier_detector"]


def test_a_rerun_trains_nothing(verbs: Verbs, finished: rcnn.Workdir) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*.keras")}
    verbs(
        "train", f"--config={finished.path / 'config.json'}", f"--workdir={finished.path}", "--evaluate=false"
    ).succeeds()
    assert before == {path: path.stat().st_mtime_ns for path in finished.path.rglob("*.keras")}


@only_thorough
def test_evaluate_repeats_the_result_of_the_run(verbs: Verbs, finished: rcnn.Workdir) -> None:
    before = json.loads((finished.path / "evaluation_test.json").read_text())
    text = verbs("evaluate", f"--workdir={finished.path}", "--json").succeeds().out
    assert json.loads(text[text.index("{") :]) == before


@pytest.mark.parametrize("form", ["joint", "classic"])
def test_a_detector_learns(finished: rcnn.Workdir, form: str) -> None:
    """An untrained head has a mean average precision of about 0."""
    result = json.loads((finished.path / "result.json").read_text())
    assert result["forms"][form]["mean_ap"] > 0.6


@pytest.mark.parametrize("form", ["joint", "classic"])
def test_the_export_detects_objects_of_new_images(finished: rcnn.Workdir, form: str) -> None:
    """Above the detection threshold that the export carries: most objects, and few other things."""
    rng, exported = np.random.default_rng(1), ExportedRCNN(finished.saved_model(form))
    hits = objects = detections = 0
    for _ in range(20):
        pixels, boxes, labels = shapes(rng)
        encoded = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
        _, found, classes, scores = exported(encoded, "image")
        kept = scores >= exported.score
        overlaps = iou(boxes, found[kept]) * (labels[:, None] == classes[kept])
        hits += np.count_nonzero((overlaps > 0.5).any(axis=1))
        objects += len(boxes)
        detections += np.count_nonzero(kept)
    assert hits >= 0.6 * objects
    assert detections <= 2 * objects


@pytest.mark.parametrize("form", FORMS)
def test_the_export_detects_the_same_objects(finished: rcnn.Workdir, form: str) -> None:
    settings = finished.settings()
    dataset = rcnn.RunImages(settings).split("test")
    of_run = RunRegions(settings, finished, training.Reporter(quiet=True))
    of_split = of_run.region_set("test", dataset, windows=form == SLIDING_WINDOW)
    expected = Detector.load(finished, form)[0].detect(of_split)
    exported = ExportedRCNN(finished.saved_model(form))
    assert exported.class_names == dataset.class_names
    for index in range(len(dataset)):
        pixels, boxes, labels, scores = exported(dataset.encoded(index), dataset.ids[index])
        assert pixels.shape == (64, 64, 3)
        # Cached features are half floats, so equal scores may swap places and the last ones may be dropped.
        assert abs(len(scores) - len(expected[index])) <= 3
        first = min(5, len(scores), len(expected[index]))
        np.testing.assert_allclose(scores[:first], np.sort(expected[index].scores)[::-1][:first], atol=5e-3)
        for box, label, score in zip(boxes[:first], labels[:first], scores[:first], strict=True):
            near = np.abs(expected[index].boxes_yxyx - box).max(axis=1) < 0.5
            assert (near & (expected[index].labels == label) & (np.abs(expected[index].scores - score) < 5e-3)).any()


def test_the_export_accepts_an_image_without_proposals(finished: rcnn.Workdir) -> None:
    model = tf.saved_model.load(str(finished.saved_model("joint")))
    found = model.signatures["serving_default"](
        image=tf.zeros((30, 40, 3), tf.uint8), proposals=tf.zeros((0, 4), tf.float32)
    )
    assert found["boxes"].shape == (0, 4)


def test_variables_and_constants_give_the_same_detections(finished: rcnn.Workdir, root: Path, tmp_path: Path) -> None:
    variables = rcnn.export(finished, "joint", tmp_path / "model", freeze=False)
    pixels = decoding.decode((root / "images" / "000.png").read_bytes(), "000.png")
    found, expected = (ExportedRCNN(path).detect(pixels) for path in (finished.saved_model("joint"), variables))
    assert len(expected[0])
    assert_same_detections(found, expected, box_atol=1e-2)


def test_detect_draws_and_lists(verbs: Verbs, finished: rcnn.Workdir, root: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    (tmp_path / "in" / "one.png").write_bytes((root / "images" / "000.png").read_bytes())
    (tmp_path / "in" / "deeper" / "two.png").write_bytes((root / "images" / "001.png").read_bytes())
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    out = tmp_path / "in" / "drawn"
    for _ in range(2):  # The second run finds the drawings of the first among the images.
        done = verbs("detect", f"--workdir={finished.path}", f"--images={tmp_path / 'in'}", f"--out={out}", "--score=0")
        assert "broken.jpg" in done.succeeds().err
    assert len(list(out.rglob("*.png"))) == 2
    assert cv2.imread(str(out / "one.png.png")) is not None
    assert cv2.imread(str(out / "deeper" / "two.png.png")) is not None
    found = json.loads((out / "detections.json").read_text())
    assert {row["image_id"] for row in found} == {"one.png", "deeper/two.png"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "either --workdir=DIR"),
        (("--workdir={workdir}", "--images=nowhere"), "no such file or folder"),
        (("--workdir={workdir}", "--form=fast"), "joint and classic and sliding_window"),
        (("--model={root}",), "no SavedModel of tfeff.train"),
        (("--workdir={root}",), "no config.json"),
        (("--workdir={workdir}", "--out={root}"), "is the same folder as --images"),
    ],
)
def test_mistakes_are_reported_without_a_traceback(
    verbs: Verbs, finished: rcnn.Workdir, root: Path, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    given = [flag.format(workdir=finished.path, root=root) for flag in flags]
    if not any(flag.startswith("--images") for flag in given):
        given.append(f"--images={root}")
    if not any(flag.startswith("--out") for flag in given):
        given.append(f"--out={tmp_path}")
    verbs("detect", *given).fails_with(message)


def test_a_head_of_another_backbone_is_refused(finished: rcnn.Workdir, tmp_path: Path) -> None:
    path, reporter = finished.thresholds("joint"), training.Reporter(quiet=True)
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | {"backbone": "0" * 32}))
        for use in (
            lambda: rcnn.export(finished, "joint", tmp_path / "model"),
            lambda: rcnn.measure_sensitivity(finished, reporter),
            lambda: rcnn.assess(finished, "test", reporter),
        ):
            with pytest.raises(UserError, match="the backbone has changed since joint was trained"):
                use()
    finally:
        path.write_text(before)


def test_a_backbone_of_another_run_gives_the_same_detector(finished: rcnn.Workdir, tmp_path: Path) -> None:
    settings = dataclasses.replace(finished.settings(), forms=("classic",), backbone_workdir=str(finished.backbone))
    console = Console(file=io.StringIO(), width=200)
    alone = dataclasses.replace(settings, backbone=config.Experiment())
    workdir = rcnn.train(alone, tmp_path / "run", training.Reporter(console))
    assert not workdir.backbone.exists()
    expected, found = (json.loads(each.thresholds("classic").read_text()) for each in (finished, workdir))
    assert found.pop("backbone") == expected.pop("backbone")
    assert found == pytest.approx(expected, rel=1e-4)
    assert "backbone_workdir" not in console.file.getvalue()
    unknown = dataclasses.replace(settings, data=dataclasses.replace(settings.data, test_split="tset"))
    with pytest.raises(UserError, match="tset"):
        rcnn.train(unknown, tmp_path / "other", training.Reporter(console))
    assert "of the config section `backbone`, only" in console.file.getvalue()


def test_export_requires_a_trained_backbone(finished: rcnn.Workdir, tmp_path: Path) -> None:
    copy = rcnn.Workdir(tmp_path / "workdir")
    shutil.copytree(finished.path, copy.path)
    shutil.rmtree(copy.backbone)
    with pytest.raises(UserError, match="backbone"):
        rcnn.export(copy, "joint", tmp_path / "model")
    assert not copy.backbone.exists()


def test_new_images_are_noticed(verbs: Verbs, finished: rcnn.Workdir, root: Path) -> None:
    image, label = root / "images" / "more.png", root / "labels" / "more.txt"
    image.write_bytes((root / "images" / "000.png").read_bytes())
    label.write_bytes((root / "labels" / "000.txt").read_bytes())
    try:
        done = verbs("evaluate", f"--workdir={finished.path}")
    finally:
        image.unlink()
        label.unlink()
    done.fails_with("restore them")


def test_a_damaged_export_is_reported(finished: rcnn.Workdir, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(finished.saved_model("joint"), copy)
    (copy / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"model: cannot read the SavedModel"):
        ExportedRCNN(copy)
    (copy / "assets" / "detector.json").write_text('{"class_names": ')
    with pytest.raises(UserError, match=r"detector\.json"):
        ExportedRCNN(copy)


@only_thorough
def test_a_killed_run_resumes_to_the_same_heads(verbs: Verbs, finished: rcnn.Workdir, tmp_path: Path) -> None:
    flags = [f"--config={finished.path / 'config.json'}", f"--workdir={tmp_path}", "--evaluate=false"]
    features = tmp_path / "features" / "train" / "index.jsonl"
    process = verbs.start("train", *flags)
    while process.poll() is None and not (features.is_file() and features.read_text().count("\n") > 10):
        time.sleep(0.01)
    process.kill()
    assert not (tmp_path / "heads" / "joint.json").is_file()
    verbs("train", *flags).succeeds()
    for form in FORMS:
        one, other = (Detector.load(workdir, form)[0].head for workdir in (finished, rcnn.Workdir(tmp_path)))
        for first, second in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(first, second)


@only_thorough
def test_a_run_whose_joint_head_has_no_folder_is_complete(verbs: Verbs, finished: rcnn.Workdir, tmp_path: Path) -> None:
    """As earlier versions left it."""
    copy = rcnn.Workdir(tmp_path / "workdir")
    shutil.copytree(finished.path, copy.path)
    shutil.rmtree(copy.joint)
    before = copy.head("joint").read_bytes()
    flags = [f"--config={copy.path / 'config.json'}", f"--workdir={copy.path}", "--evaluate=false"]
    verbs("train", *flags).succeeds()
    assert copy.head("joint").read_bytes() == before
    assert not copy.joint.exists()
    opened = runs.open_run(copy.path)
    assert opened.forms == FORMS
    opened.export(tmp_path / "model", form="joint")


@only_thorough
def test_the_joint_head_is_bit_identical_after_kills(verbs: Verbs, finished: rcnn.Workdir, tmp_path: Path) -> None:
    settings = finished.settings()
    changes = ["training.deterministic=true", "training.checkpoint_seconds=0.05"]
    settings = dataclasses.replace(
        settings,
        forms=("joint",),
        backbone=config.override(settings.backbone, changes),
        joint=config.Joint(epochs=25, patience_epochs=25, positives=8, negatives=8),
    )

    def untrained(name: str) -> rcnn.Workdir:
        """A run with backbone and features, but no joint head."""
        run = rcnn.Workdir(tmp_path / name)
        shutil.copytree(finished.path, run.path, ignore=shutil.ignore_patterns("joint*", "saved_model"))
        (run.path / "config.json").write_text(config.to_json(settings))
        return run

    def flags(run: rcnn.Workdir) -> list[str]:
        return ["train", f"--config={run.path / 'config.json'}", f"--workdir={run.path}", "--evaluate=false"]

    whole = untrained("whole")
    verbs(*flags(whole)).succeeds()
    seconds = sum(row["seconds"] for row in training.Workdir(whole.joint).rows())
    rng, kills, attempts = random.Random(11), 0, 0
    while kills < KILLS:
        attempts += 1
        run = untrained(f"run{attempts}")
        checkpoints = training.Workdir(run.joint).checkpoints
        while kills < KILLS and not run.thresholds("joint").is_file():
            process, before = verbs.start(*flags(run)), checkpoints.latest()
            while checkpoints.latest() == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.3) * seconds)
            kills += process.poll() is None
            process.kill()
        verbs(*flags(run)).succeeds()
        assert_same_joint_head(whole, run)


def assert_same_joint_head(first: rcnn.Workdir, second: rcnn.Workdir) -> None:
    one, other = (training.Workdir(run.joint) for run in (first, second))
    assert one.checkpoints.latest().name == other.checkpoints.latest().name
    for name in ("final.npz", "best.npz", one.checkpoints.latest().name):
        expected, found = (checkpoint.load(run.joint / "checkpoints" / name) for run in (first, second))
        assert expected[1] == found[1]
        assert expected[0].keys() == found[0].keys()
        for key, array in expected[0].items():
            np.testing.assert_array_equal(found[0][key], array, err_msg=f"{name}: {key}")
    assert (first.path / "joint.json").read_text() == (second.path / "joint.json").read_text()
    assert first.thresholds("joint").read_text() == second.thresholds("joint").read_text()
    heads = [Detector.load(run, "joint")[0].head.get_weights() for run in (first, second)]
    for expected, found in zip(*heads, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_workdir_belongs_to_one_config(verbs: Verbs, finished: rcnn.Workdir) -> None:
    done = verbs(
        "train",
        f"--config={finished.path / 'config.json'}",
        f"--workdir={finished.path}",
        "--config.features.grid=1",
    )
    done.fails_with("features.grid: saved 2, now 1")


def test_an_invalid_network_is_reported_at_once(verbs: Verbs, finished: rcnn.Workdir, tmp_path: Path) -> None:
    done = verbs(
        "train",
        f"--config={finished.path / 'config.json'}",
        f"--workdir={tmp_path}",
        "--config.backbone.model.stage_blocks=1,0",
    )
    done.fails_with("stage_blocks")
    assert not (tmp_path / "proposals").exists()


def test_sensitivity_measures_each_setting_once(finished: rcnn.Workdir, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfeff.rcnn import sensitivity as module

    monkeypatch.setattr(module, "JOINT", {"positives": (32, 100)})
    monkeypatch.setattr(module, "CLASSIC", {"ridge": (10.0, 1000.0)})
    # Measurements of an earlier version lack intervals, so they are repeated.
    old = {"form": "joint", "key": "positives", "value": 32, "mAP@.5": 2.0}
    (finished.path / "sensitivity.json").write_text(json.dumps([old]))
    first = rcnn.measure_sensitivity(finished, training.Reporter(quiet=True))
    assert [(each.form, each.key, each.value) for each in first] == [
        ("joint", "positives", 32),
        ("joint", "positives", 100),
        ("classic", "ridge", 10.0),
        ("classic", "ridge", 1000.0),
    ]
    assert all(0 <= value <= 1 for each in first for value in each.metrics.values())
    for own in (first[1], first[3]):  # the run's own settings
        assert set(own.differences.values()) == {(0.0, 0.0, 0.0)}
    for other in (first[0], first[2]):
        for name, (difference, low, high) in other.differences.items():
            of_run = first[1 if other.form == "joint" else 3].metrics[name]
            assert difference == pytest.approx(other.metrics[name] - of_run)
            assert low <= high
    # The head of the run was measured, not another one with its settings.
    own_detector, own_thresholds = Detector.load(finished, "classic")
    validation = rcnn.RunImages(finished.settings()).training["validation"]
    run = RunRegions(finished.settings(), finished, training.Reporter(quiet=True))
    regions = run.region_set("validation", validation, windows=False)
    report = assessment.region_report(own_detector.scores(regions.features), own_thresholds.region, regions)
    assert first[3].metrics["background recall"] == report.background_recall
    monkeypatch.setattr(module, "measure", lambda *_: pytest.fail("measured again"))
    assert rcnn.measure_sensitivity(finished, training.Reporter(quiet=True)) == first
    assert (finished.figures / "sensitivity.png").is_file()


def test_the_config_survives_json() -> None:
    settings = config.RCNN(forms=("classic",), joint=config.Joint(hidden=(8, 8)))
    assert config.from_json(config.to_json(settings), config.RCNN) == settings


def voc_config(root: Path, **data: object) -> config.RCNN:
    """The classic form with a tiny backbone on a VOC dataset."""
    return config.RCNN(
        forms=("classic",),
        data=config.DetectionData(source=f"voc:{root}", validation_split="val", **data),
        proposals=config.Proposals(max_proposals=40),
        backbone=config.Experiment(
            model=config.Model(name="resnet", width=8, stage_blocks=(1, 1), resolution=16),
            data=config.Data(source="crops", image_size=16, test_split=None, normalization="dataset"),
            training=config.Training(epochs=1, batch_size=32, precision="float32"),
        ),
        features=config.RegionFeatures(grid=1),
        classic=config.Classic(mining_rounds=1),
    )


TRUNCATED = 3


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC dataset with the folders of a published one, a truncated JPEG, and no test split."""
    root = tmp_path_factory.mktemp("voc")
    splits = {"train": range(20), "val": range(20, 28)}
    write_voc(root, splits, annotations="annots", images="images", truncated=(TRUNCATED,))
    return root


class Opens:
    """Counts how often each stage opens each JPEG file."""

    def __init__(self) -> None:
        self.stage, self.enabled, self.counts = "", True, Counter[tuple[str, str]]()

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.enabled and event == "open" and str(arguments[0]).endswith(".jpg"):
            self.counts[self.stage, Path(str(arguments[0])).stem] += 1

    def during(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, as a stage."""

        def staged(*arguments: Any, **options: Any) -> Any:
            outer, self.stage = self.stage, stage
            try:
                return function(*arguments, **options)
            finally:
                self.stage = outer

        return staged

    def of_stage(self, stage: str) -> dict[str, int]:
        """File -> number of opens."""
        return {name: count for (own, name), count in self.counts.items() if own == stage}


@pytest.mark.usefixtures("without_figures")
def test_corrupt_images_are_skipped_and_each_stage_opens_a_file_once(
    voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = Opens()
    for stage, owner, name in (
        ("check", images, "corrupt_images"),
        ("proposals", run_regions, "propose"),
        ("crops", selection, "read"),
        ("features", regions.CachedExtractor, "region_set"),
        ("figures", assessment, "galleries"),
    ):
        monkeypatch.setattr(owner, name, opens.during(stage, getattr(owner, name)))
    monkeypatch.setattr(tf.io, "read_file", lambda path: pytest.fail("an open that is not counted"))
    sys.addaudithook(opens)
    try:
        settings = voc_config(voc, corrupt_images="skip")
        run_images = rcnn.RunImages(settings)
        workdir = rcnn.train(settings, tmp_path / "workdir", run_images=run_images)
        trained = capsys.readouterr()
        result = rcnn.conclude(workdir, run_images=run_images)
    finally:
        opens.enabled = False

    readable = {f"{number:03}" for number in range(28)} - {f"{TRUNCATED:03}"}
    assert opens.of_stage("") == dict.fromkeys({*readable, f"{TRUNCATED:03}"}, 1)  # headers
    assert opens.of_stage("check") == dict.fromkeys({*readable, f"{TRUNCATED:03}"}, 1)
    assert opens.of_stage("crops") == dict.fromkeys(readable, 1)
    assert opens.of_stage("features") == dict.fromkeys(readable, 1)
    validation = {f"{number:03}" for number in range(20, 28)}
    # The evaluation checks by content that the stored proposals are those of the validation images.
    assert opens.of_stage("proposals") == dict.fromkeys(readable - validation, 1) | dict.fromkeys(validation, 2)
    assert set(opens.of_stage("figures").values()) == {1}

    assert re.search(rf"skipped \S*{TRUNCATED:03}: .*corrupt", trained.out + trained.err)
    assert result is not None
    assert result.skipped == (f"{TRUNCATED:03}",)
    assert "has no test split: evaluated on the validation images" in result.to_text()
    saved = json.loads((workdir.path / "result.json").read_text())
    assert (saved["split"], len(saved["notes"])) == ("validation", 1)


def test_a_corrupt_image_stops_a_run_that_does_not_skip_it(voc: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{TRUNCATED:03} .*corrupt.*data\.corrupt_images") as error:
        rcnn.train(voc_config(voc), tmp_path, training.Reporter(quiet=True))
    assert str(voc) in str(error.value)


@pytest.mark.usefixtures("without_figures")
def test_any_split_can_test_a_run(finished: rcnn.Workdir, root: Path, tmp_path: Path) -> None:
    copy = rcnn.Workdir(tmp_path / "workdir")
    shutil.copytree(finished.path, copy.path)
    settings = finished.settings()
    data = dataclasses.replace(settings.data, test_split="val")
    settings = dataclasses.replace(settings, data=data, forms=("classic",))
    (copy.path / "config.json").write_text(config.to_json(settings))
    held_out = (copy.features / "validation" / "index.jsonl").read_text()
    result = rcnn.conclude(copy, training.Reporter(quiet=True))
    assert result is not None
    assert (result.split, result.notes) == ("validation", ())
    ids = [json.loads(line)["id"] for line in (copy.features / "test" / "index.jsonl").read_text().splitlines()]
    assert ids == list(catalog.open_objects(settings.data.source).load("validation").ids)
    assert (copy.features / "validation" / "index.jsonl").read_text() == held_out
