from pathlib import Path

import pytest

from tfeff.data.sources.listing import Tree
from tfeff.data.sources.yolo_labels import CONFIDENCE, KEYPOINTS, POLYGON, LabelFile, Labels

BOX = (0.5, 0.5, 0.25, 0.5)
POLYGON_OF_BOX = "0.375 0.5 0.5 0.25 0.625 0.5 0.5 0.75"


def read(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    return LabelFile.read(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        ("3 0.5 0.5 0.25 0.5", {}),
        ("3.0\t0.5   0.5\t0.25 0.5  ", {}),
        ("3 0,5 0,5 0,25 0,5", {}),
        ("3,0.5,0.5,0.25,0.5", {}),
        ("3, 0.5, 0.5, 0.25, 0.5", {}),
        ("3 5e-1 0.5 2.5E-1 .5", {}),
        ("3 0.5 0.5 0.25 0.5 0.97", {CONFIDENCE: 1}),
        ("3 0,5 0,5 0,25 0,5 1", {CONFIDENCE: 1}),
        (f"3 {POLYGON_OF_BOX}", {POLYGON: 1}),
        (f"3 {POLYGON_OF_BOX} 0.4", {POLYGON: 1, CONFIDENCE: 1}),
        ("3 0.375 0.25 0.625 0.25 0.5 0.75", {POLYGON: 1}),
    ],
)
def test_kinds_of_lines(tmp_path, line, kinds):
    found = read(tmp_path, f"\n{line}\r\n")
    assert found.rows == [(2, 3, pytest.approx(BOX))]
    assert found.kinds == kinds
    assert not found.invalid


@pytest.mark.parametrize(
    "line",
    [
        "",
        "3",
        "3 0.5 0.5 0.25",
        "3 0.5 0.5 0.25 0.5 45",  # neither a confidence nor a point
        "3 0.5 0.5 0.25 0.5 -0.1",
        "3 0.5 0.5 0.25 0.5 nan",
        "3 0.1 0.2 0.3 0.4 0.5 inf",
        "0.5 0.5 0.5 0.25 0.5",
        "cat 0.5 0.5 0.25 0.5",
        "1e9 0.5 0.5 0.25 0.5",
        "3;0.5;0.5;0.25;0.5",
    ],
)
def test_other_lines_are_invalid(tmp_path, line):
    found = read(tmp_path, f"0 0.5 0.5 0.25 0.5\n{line}\n0 0.5 0.5 0.25 0.5")
    assert [number for number, _, _ in found.rows] == [1, 3]
    assert found.invalid == ([(2, line)] if line else [])


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("images/Train/a.jpg", "labels/train/a.txt"),
        ("Images/val/a.jpg", "LABELS/validation/a.txt"),
        ("images/train/b/a.jpg", "labels/train/b/a.txt"),
        ("train/images/a.jpg", "train/labels/a.TXT"),
        ("train/a.jpg", "train/labels/a.txt"),
        ("train/a.jpg", "labels/train/a.txt"),
        ("train/a.jpg", "train/a.txt"),
        ("images/a.JPG", "labels/A.txt"),
        ("images/a.jpg", "images/a.txt"),
        ("a.jpg", "labels/a.txt"),
        ("images/images/a.jpg", "images/labels/a.txt"),
        ("a.b.jpg", "a.b.txt"),
    ],
)
def test_label_files_of_images(tmp_path, image, label):
    for name in (image, label):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    labels = Labels(tmp_path, Tree.of(tmp_path))
    assert labels.of([tmp_path / image, Path(tmp_path / image).with_name("other.jpg")]) == [tmp_path / label, None]
    assert labels.all() == [tmp_path / label]


def test_images_outside_the_dataset_have_their_labels_there(tmp_path):
    for name in ("set/x.txt", "photos/images/train/a.jpg", "photos/labels/train/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    labels = Labels(tmp_path / "set", Tree.of(tmp_path / "set"))
    assert labels.of([tmp_path / "photos/images/train/a.jpg"]) == [tmp_path / "photos/labels/train/a.txt"]


def test_the_exact_name_is_preferred(tmp_path):
    for name in ("images/A.jpg", "images/a.jpg", "labels/A.txt", "labels/a.txt", "labels/classes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = Labels(tmp_path, Tree.of(tmp_path)).of([tmp_path / "images/a.jpg", tmp_path / "images/A.jpg"])
    assert found == [tmp_path / "labels/a.txt", tmp_path / "labels/A.txt"]


@pytest.mark.parametrize(
    ("numbers", "rest", "kinds"),
    [
        (4, "0.1 0.2 0.3 0.4", {KEYPOINTS: 1}),
        (10, " ".join(["0.1"] * 10), {KEYPOINTS: 1}),
        (12, "0.1 0.2 2 " * 4, {KEYPOINTS: 1}),
        (51, "0 0 0 " * 17, {KEYPOINTS: 1}),
        (4, "0.1 0.2 0.3 0.4 0.9", {KEYPOINTS: 1, CONFIDENCE: 1}),
        (4, "", {}),
        (4, "0.9", {CONFIDENCE: 1}),
    ],
)
def test_boxes_with_keypoints(tmp_path, numbers, rest, kinds):
    (tmp_path / "a.txt").write_text(f"3 0.5 0.5 0.25 0.5 {rest}\n3 0.5 0.5 0.25 0.5 0.1 0.2\n")
    found = LabelFile.read(tmp_path / "a.txt", numbers)
    assert found.rows == [(1, 3, BOX)]
    assert found.kinds == kinds
    assert [number for number, _ in found.invalid] == [2]
