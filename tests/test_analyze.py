"""The verb `analyze`, as a process."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.analysis.diagnosis.drawn_objects import drawings, everywhere, write_voc
from tests.verbs import Verbs


@pytest.mark.slow
def test_a_dataset_before_training(verbs: Verbs, tmp_path: Path) -> None:
    splits = {"train": drawings(20, 1), "val": drawings(8, 2)}
    name = write_voc(tmp_path / "data", everywhere(splits, lambda each: each.boxes(lambda b: (b[1], b[0], b[3], b[2]))))
    small = [f"--config.{each}" for each in ("task.name=yolo", "model.name=mobilenet-v2", "model.resolution=96")]
    done = verbs("analyze", f"--dataset={name}", f"--out={tmp_path / 'out'}", *small, figures=True).succeeds()
    assert "First broken link: boxes" in done.out
    assert "ymin, xmin, ymax, xmax" in done.out
    assert "First broken link: boxes" in (tmp_path / "out" / "analysis.html").read_text()
    report = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert report["first_broken"] == "boxes"
    assert [link["name"] for link in report["links"]][-1] == "assignment"
    for figure in ("class_counts", "boxes"):
        assert Image.open(tmp_path / "out" / f"{figure}.png").width > 500
        assert f"{figure}.png" in done.out


def test_images_with_labels_get_the_checks_that_apply(verbs: Verbs, tmp_path: Path) -> None:
    for number, drawing in enumerate(drawings(24, 1)):
        path = tmp_path / "data" / ("train", "train", "val")[number % 3] / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawing.image // 128).save(path)
    done = verbs("analyze", f"--dataset=folder:{tmp_path / 'data'}", f"--out={tmp_path / 'out'}", "--json").succeeds()
    report = json.loads(done.out)
    assert report["first_broken"] == "preparation"
    assert "saved in [0, 1]" in report["links"][-1]["findings"][0]["what"]


def test_user_errors_exit_with_code_2_and_without_traceback(verbs: Verbs, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text("{}")
    for flags, words in (
        ((), ("--workdir=DIR", "--dataset=SOURCE")),
        ((f"--workdir={tmp_path}", "--dataset=voc:x"), ("either",)),
        ((f"--workdir={tmp_path}", f"--workdir={tmp_path}"), ("--out=DIR is missing",)),
        ((f"--workdir={tmp_path / 'gone'}",), ("no such directory",)),
        ((f"--workdir={tmp_path / 'empty'}",), ("no config.json",)),
        ((f"--workdir={tmp_path / 'begun'}",), ("has not begun to train", "--dataset=")),
        ((f"--workdir={tmp_path / 'empty'}", "--config.seed=1"), ("--config.KEY has no effect with --workdir",)),
        ((f"--workdir={tmp_path}", f"--workdir={tmp_path}", "--images=9"), ("--images has no effect with several",)),
        (("--dataset=voc:x", "--split=test"), ("--split has no effect with --dataset",)),
        (("--dataset=voc:x", "--statistics", "--images=9"), ("--images has no effect with --statistics",)),
        ((f"--dataset=voc:{tmp_path / 'empty'}",), ("no folder with XML annotations",)),
        ((f"--dataset=folder:{tmp_path / 'empty'}",), ("no class folders",)),
        (("--dataset=vok:x",), ("unknown scheme",)),
        ((f"--dataset=voc:{tmp_path / 'empty'}", "--config.task.nme=yolo"), ("nme",)),
    ):
        verbs("analyze", *flags).fails_with(*words)
