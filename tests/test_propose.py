"""The propose verb: killed, resumed, with unreadable images; and evaluation of its stores."""

import json
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.thoroughness import THOROUGH, only_thorough
from tests.verbs import Process, Verbs
from tfeff.proposals import ProposalStore

IMAGES = 60
KILLS = THOROUGH or 3
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A VOC dataset of rectangles on noise; one file is truncated, two are identical."""
    folder = tmp_path_factory.mktemp("voc")
    (folder / "Annotations").mkdir()
    (folder / "JPEGImages").mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = rng.integers(0, 60, (150, 200, 3), np.uint8)
        top, left = rng.integers(0, 80, 2)
        pixels[top : top + 60, left : left + 70] += 120
        Image.fromarray(pixels).save(folder / f"JPEGImages/{number:03}.jpg", quality=95)
        text = OBJECT.format("box", left + 1, top + 1, left + 70, top + 60)
        (folder / f"Annotations/{number:03}.xml").write_text(f"<annotation>{text}</annotation>")
    (folder / "JPEGImages/010.jpg").write_bytes((folder / "JPEGImages/011.jpg").read_bytes())
    whole = (folder / "JPEGImages/020.jpg").read_bytes()
    (folder / "JPEGImages/020.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def start(verbs: Verbs, root: Path, out: Path, *flags: str) -> Process:
    return verbs.start("propose", f"--dataset=voc:{root}", f"--out={out}", *flags)


def finish(verbs: Verbs, root: Path, out: Path, *flags: str, code: int = 0) -> str:
    done = start(verbs, root, out, *flags).done()
    text = done.out + done.err
    assert done.code == code, text
    assert "Traceback" not in text
    return text


def content(out: Path) -> dict[str, bytes]:
    store = ProposalStore(out)
    return {name: store[name].boxes_yxyx.tobytes() for name in sorted(store)}


@pytest.fixture(scope="module")
def whole(verbs, root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("stores") / "whole"
    text = finish(verbs, root, out)
    assert f"{IMAGES - 2} computed, 0 already stored, 1 copied from identical images, 1 unreadable" in text
    assert "skipped: 020: " in text
    return out


def test_all_readable_images_have_proposals(root, whole):
    store = ProposalStore(whole)
    assert len(store) == IMAGES - 1
    assert "020" not in store
    assert np.array_equal(store["010"].cells, store["011"].cells)
    for name in store:
        boxes = store[name].boxes_yxyx
        assert (boxes[:, 2:] <= [150, 200]).all()


def test_a_dataset_without_readable_images_is_an_error(verbs, root, tmp_path):
    broken = tmp_path / "broken"
    for folder, name in (("Annotations", "020.xml"), ("JPEGImages", "020.jpg")):
        (broken / folder).mkdir(parents=True)
        shutil.copy(root / folder / name, broken / folder / name)
    text = finish(verbs, broken, tmp_path / "store", code=2)
    assert "skipped: 020: " in text
    assert "no image could be read" in text


def test_rerunning_computes_only_changed_images(verbs, root, whole, tmp_path):
    before = content(whole)
    assert f"0 computed, {IMAGES - 1} already stored" in finish(verbs, root, whole)
    assert content(whole) == before
    image = root / "JPEGImages/030.jpg"
    old = image.read_bytes()
    try:
        Image.new("RGB", (50, 40), (200, 0, 0)).save(image)
        assert f"1 computed, {IMAGES - 2} already stored" in finish(verbs, root, whole)
        assert ProposalStore(whole)["030"].boxes_yxyx.tolist() == [[0, 0, 40, 50]]
    finally:
        image.write_bytes(old)
    finish(verbs, root, whole)
    assert content(whole) == before


@only_thorough
def test_threads_and_a_cluster_give_the_same_boxes(verbs, root, whole, tmp_path):
    finish(verbs, root, tmp_path / "one", "--threads=1")
    assert content(tmp_path / "one") == content(whole)
    pytest.importorskip("ray")
    finish(verbs, root, tmp_path / "ray", "--executor=ray")
    assert content(tmp_path / "ray") == content(whole)


@pytest.mark.slow
def test_a_killed_run_resumes_without_computing_twice(verbs, root, whole, tmp_path):
    out, moments, known = tmp_path / "store", random.Random(3), 0
    for _ in range(KILLS):
        # One thread, so that the run is slow enough to be killed midway.
        process = start(verbs, root, out, "--mode=fast", "--threads=1")
        wanted = min(known + moments.randint(0, max(1, IMAGES // KILLS)), IMAGES - 3)
        while process.poll() is None and (len(content(out)) if (out / "parameters.json").exists() else 0) < wanted:
            time.sleep(0.01)
        process.kill()
        known = len(content(out)) if (out / "parameters.json").exists() else 0
    text = finish(verbs, root, out)
    assert f" {known} already stored" in text
    assert content(out) == content(whole)
    # One record per image: a second one would have a later revision.
    store = ProposalStore(out)
    assert {store.revision(name) for name in store} == {1}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--mode=fsat"], ["mode"]),
        (["--max_proposals=100"], ["max_proposals", "saved 2000, now 100"]),
        (["--split=tset"], ["tset", "did you mean"]),
        (["--executor=ray", "--threads=2"], ["--threads"]),
        (["--engine=windows", "--mode=quality"], ["--mode"]),
        (["--seed=-1"], ["seed"]),
        (["--dataset=folder:x"], ["voc:<directory>"]),
        (["--dataset=voc:/nowhere"], ["/nowhere", "does not exist"]),
    ],
)
def test_user_errors(verbs, root, whole, flags, words):
    text = finish(verbs, root, whole, *flags, code=2)
    for word in words:
        assert word in text


def test_two_stores_are_compared(verbs, root, whole, tmp_path):
    windows = tmp_path / "seed=1/windows"
    finish(verbs, root, windows, "--engine=windows", "--seed=1")
    flags = [f"--proposals=ours={whole}", f"--proposals={windows}", f"--dataset=voc:{root}"]
    verbs("evaluate", *flags, f"--out={tmp_path / 'report'}", figures=True).succeeds()
    report = json.loads((tmp_path / "report/proposals.json").read_text())
    assert set(report["proposers"]) == {"ours", "windows"}
    assert report["left_out"] == ["020"]
    at = report["counts"].index(100)
    assert report["proposers"]["ours"]["recall"]["0.7"][at] > 0.9 > report["proposers"]["windows"]["recall"]["0.7"][at]
    assert (tmp_path / "report/proposals.png").stat().st_size > 20_000


def test_outdated_proposals_are_rejected(verbs, root, whole, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(root, other)
    Image.new("RGB", (200, 150), (9, 9, 9)).save(other / "JPEGImages/005.jpg")
    verbs("evaluate", f"--proposals={whole}", f"--dataset=voc:{other}").fails_with("005")
