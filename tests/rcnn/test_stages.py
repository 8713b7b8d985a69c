"""A whole run on a small set of digits on photographs: trained, stopped, measured, exported, used."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, rcnn, training
from tfeff.boxes.formats import cyxhw_from_yxyx, relative_from_yxyx
from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.savedmodel import LoadedDetector
from tfeff.rcnn.stages import WINDOWS, Material

FORMS = ("joint", "classic", "sliding_window")
IMAGES = 60
CONFIG = """
from tfeff.config import *

def get_config():
    return RCNN(
        forms={forms!r},
        data=DetectionData(source="yolo:{root}"),
        proposals=Proposals(max_proposals=60),
        backbone=Experiment(
            model=Model(name="resnet", width=8, stage_blocks=(1, 1, 1, 1), resolution=16),
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
    """A YOLO data set without splits."""
    root = tmp_path_factory.mktemp("digits")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    source = catalog.load_annotated("embedded:placed_digits:64", "train")
    (root / "classes.txt").write_text("\n".join(source.class_names))
    for index in range(IMAGES):
        (root / "images" / f"{index:03}.png").write_bytes(source.encoded(index))
        objects = source.objects[index]
        size = decoding.encoded_size(source.encoded(index), "")
        rows = cyxhw_from_yxyx(relative_from_yxyx(objects.boxes_yxyx, size))
        lines = [f"{label} {x} {y} {w} {h}" for label, (y, x, h, w) in zip(objects.labels, rows, strict=True)]
        (root / "labels" / f"{index:03}.txt").write_text("\n".join(lines))
    return root


def command(verb: str, *flags: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", f"tfeff.{verb}", *flags], capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> rcnn.Workdir:
    """A finished run of all forms."""
    directory = tmp_path_factory.mktemp("run")
    (directory / "config.py").write_text(CONFIG.format(forms=FORMS, root=root))
    done = command("train", f"--config={directory / 'config.py'}", f"--workdir={directory / 'workdir'}")
    assert done.returncode == 0, done.stderr
    return rcnn.Workdir(directory / "workdir")


def test_a_run_leaves_what_its_workdir_promises(finished: rcnn.Workdir) -> None:
    for name in ("config.json", "joint.json", "result.json", "evaluation_test.json", "tensorboard", "backbone"):
        assert (finished.path / name).exists()
    for form in FORMS:
        assert (finished.saved_model(form) / "saved_model.pb").is_file()
        assert (finished.figures / f"test_{form}_precision_recall.png").is_file()
        results = json.loads((finished.path / f"detections_{form}_test.json").read_text())
        assert {"image_id", "category_id", "bbox", "score"} == set(results[0])
    result = json.loads((finished.path / "result.json").read_text())
    assert set(result["forms"]) == set(FORMS)


def test_the_same_command_again_trains_nothing(finished: rcnn.Workdir) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*.keras")}
    done = command(
        "train", f"--config={finished.path / 'config.json'}", f"--workdir={finished.path}", "--evaluate=false"
    )
    assert done.returncode == 0, done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in finished.path.rglob("*.keras")}


def test_evaluate_says_what_the_run_said(finished: rcnn.Workdir) -> None:
    before = json.loads((finished.path / "evaluation_test.json").read_text())
    done = command("evaluate", f"--workdir={finished.path}", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") :]) == before


@pytest.mark.parametrize("form", FORMS)
def test_the_export_finds_what_the_run_found(finished: rcnn.Workdir, form: str) -> None:
    settings = finished.settings()
    images = catalog.load_annotated(settings.data.source, "test")
    material = Material(settings, finished, training.Reporter(quiet=True))
    split = material.split("test", images, windows=form == WINDOWS)
    expected = Detector.load(finished, form)[0].detect(split)
    exported = LoadedDetector(finished.saved_model(form))
    assert exported.class_names == images.class_names
    for index in range(len(images)):
        pixels, boxes, labels, scores = exported(images.encoded(index), images.ids[index])
        assert pixels.shape == (64, 64, 3)
        # Features are kept as half floats: equal scores may change places, and the last ones fall out.
        assert abs(len(scores) - len(expected[index])) <= 3
        first = min(5, len(scores), len(expected[index]))
        np.testing.assert_allclose(scores[:first], np.sort(expected[index].scores)[::-1][:first], atol=5e-3)
        for box, label, score in zip(boxes[:first], labels[:first], scores[:first], strict=True):
            near = np.abs(expected[index].boxes_yxyx - box).max(axis=1) < 0.5
            assert (near & (expected[index].labels == label) & (np.abs(expected[index].scores - score) < 5e-3)).any()


def test_the_export_takes_an_image_without_proposals(finished: rcnn.Workdir) -> None:
    model = tf.saved_model.load(str(finished.saved_model("joint")))
    found = model.signatures["serving_default"](
        image=tf.zeros((30, 40, 3), tf.uint8), proposals=tf.zeros((0, 4), tf.float32)
    )
    assert found["boxes"].shape == (0, 4)


def test_detect_draws_and_lists(finished: rcnn.Workdir, root: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    (tmp_path / "in" / "one.png").write_bytes((root / "images" / "000.png").read_bytes())
    (tmp_path / "in" / "deeper" / "two.png").write_bytes((root / "images" / "001.png").read_bytes())
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    out = tmp_path / "in" / "drawn"
    for _ in range(2):  # the second time what was drawn lies among the images
        done = command(
            "detect", f"--workdir={finished.path}", f"--images={tmp_path / 'in'}", f"--out={out}", "--score=0"
        )
        assert done.returncode == 0, done.stderr
        assert "broken.jpg" in done.stderr
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
        (("--model={root}",), "no detector there"),
        (("--workdir={root}",), "no config.json"),
        (("--workdir={workdir}", "--out={root}"), "the folder of the images themselves"),
    ],
)
def test_mistakes_end_with_a_message(
    finished: rcnn.Workdir, root: Path, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    given = [flag.format(workdir=finished.path, root=root) for flag in flags]
    if not any(flag.startswith("--images") for flag in given):
        given.append(f"--images={root}")
    if not any(flag.startswith("--out") for flag in given):
        given.append(f"--out={tmp_path}")
    done = command("detect", *given)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert message in done.stderr


def test_a_head_of_another_backbone_is_refused(finished: rcnn.Workdir, tmp_path: Path) -> None:
    path, reporter = finished.point("joint"), training.Reporter(quiet=True)
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | {"backbone": "0" * 32}))
        for use in (
            lambda: rcnn.export(finished, "joint", tmp_path / "model"),
            lambda: rcnn.sweep(finished, reporter),
            lambda: rcnn.assess(finished, "test", reporter),
        ):
            with pytest.raises(UserError, match="the backbone has changed since joint was trained"):
                use()
    finally:
        path.write_text(before)


def test_what_has_to_be_trained_first_is_named_and_not_trained(finished: rcnn.Workdir, tmp_path: Path) -> None:
    copy = rcnn.Workdir(tmp_path / "workdir")
    shutil.copytree(finished.path, copy.path)
    shutil.rmtree(copy.backbone)
    with pytest.raises(UserError, match="backbone"):
        rcnn.export(copy, "joint", tmp_path / "model")
    assert not copy.backbone.exists()


def test_images_that_came_since_are_noticed(finished: rcnn.Workdir, root: Path) -> None:
    image, label = root / "images" / "more.png", root / "labels" / "more.txt"
    image.write_bytes((root / "images" / "000.png").read_bytes())
    label.write_bytes((root / "labels" / "000.txt").read_bytes())
    try:
        done = command("evaluate", f"--workdir={finished.path}")
    finally:
        image.unlink()
        label.unlink()
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "put them back" in done.stderr


def test_a_damaged_export_is_named(finished: rcnn.Workdir, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(finished.saved_model("joint"), copy)
    (copy / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"model: the SavedModel cannot be read"):
        LoadedDetector(copy)
    (copy / "assets" / "detector.json").write_text('{"class_names": ')
    with pytest.raises(UserError, match=r"detector\.json"):
        LoadedDetector(copy)


def test_a_killed_run_ends_as_if_it_had_not_been(finished: rcnn.Workdir, tmp_path: Path) -> None:
    flags = [f"--config={finished.path / 'config.json'}", f"--workdir={tmp_path}", "--evaluate=false"]
    features = tmp_path / "features" / "train" / "index.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "tfeff.train", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (features.is_file() and features.read_text().count("\n") > 10):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "heads" / "joint.json").is_file()
    done = command("train", *flags)
    assert done.returncode == 0, done.stderr
    for form in FORMS:
        one, other = (Detector.load(workdir, form)[0].head for workdir in (finished, rcnn.Workdir(tmp_path)))
        for first, second in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(first, second)


def test_a_workdir_belongs_to_one_config(finished: rcnn.Workdir) -> None:
    done = command(
        "train",
        f"--config={finished.path / 'config.json'}",
        f"--workdir={finished.path}",
        "--config.features.grid=1",
    )
    assert done.returncode == 2
    assert "features.grid: saved 2, now 1" in done.stderr


def test_a_network_that_cannot_be_is_told_at_once(finished: rcnn.Workdir, tmp_path: Path) -> None:
    done = command(
        "train",
        f"--config={finished.path / 'config.json'}",
        f"--workdir={tmp_path}",
        "--config.backbone.model.stage_blocks=1,1",
    )
    assert done.returncode == 2
    assert "stage_blocks" in done.stderr
    assert not (tmp_path / "proposals").exists()


def test_sweep_measures_each_point_once(finished: rcnn.Workdir, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfeff.rcnn import sweeps as module

    monkeypatch.setattr(module, "JOINT", {"positives": (32, 100)})
    monkeypatch.setattr(module, "CLASSIC", {"ridge": (10.0, 1000.0)})
    first = rcnn.sweep(finished, training.Reporter(quiet=True))
    assert [(point.form, point.key, point.value) for point in first] == [
        ("joint", "positives", 32),
        ("joint", "positives", 100),
        ("classic", "ridge", 10.0),
        ("classic", "ridge", 1000.0),
    ]
    assert all(0 <= value <= 1 for point in first for value in point.measures.values())
    monkeypatch.setattr(module, "measure", lambda *_: pytest.fail("measured again"))
    assert rcnn.sweep(finished, training.Reporter(quiet=True)) == first
    assert (finished.figures / "sweep.png").is_file()


def test_the_config_survives_json() -> None:
    settings = config.RCNN(forms=("classic",), joint=config.Joint(hidden=(8, 8)))
    assert config.from_json(config.to_json(settings), config.RCNN) == settings
