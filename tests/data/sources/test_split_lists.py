"""Lists of images: where they are found, what they are called, and what a line means."""

from pathlib import Path

import pytest

from tfeff.data.sources.split_lists import Names, SplitLists
from tfeff.errors import UserError


def write(root: Path, **lists: str) -> None:
    for name, text in lists.items():
        path = root / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("folder", "names", "splits"),
    [
        ("ImageSets/Main", ("train", "val", "trainval", "test"), ("train", "validation", "trainval", "test")),
        ("ImageSets", ("Train", "VALID"), ("train", "validation")),
        ("imagesets/main", ("training", "dev"), ("train", "validation")),
        ("ImageSets/Layout", ("train2007", "validation"), ("train", "validation")),
        ("ImageSets/Main/2012", ("train",), ("train",)),
        ("splits", ("train", "test"), ("train", "test")),
        (".", ("TRAIN", "testing"), ("train", "test")),
    ],
)
def test_lists_are_found_by_name(tmp_path: Path, folder: str, names: tuple[str, ...], splits: tuple[str, ...]) -> None:
    write(tmp_path / folder, **{name: f"{name} \n" for name in names})
    found = SplitLists(tmp_path)
    assert tuple(found.files) == splits
    assert found.entries(splits[0]) == [names[0]]
    assert found.notes == ()


def test_lists_that_are_not_used_are_said(tmp_path: Path) -> None:
    write(tmp_path, train="a", README="a")
    write(tmp_path / "ImageSets/Main", train="b", dog_train="b 1", cat_train="b -1", minival="b")
    write(tmp_path / "ImageSets/Layout", test="c")
    (tmp_path / "ImageSets/Main/._train.txt").write_bytes(b"\0")
    found = SplitLists(tmp_path)
    assert found.entries("train") == ["b"]
    names = "ImageSets/Main/cat_train.txt, ImageSets/Main/dog_train.txt, ImageSets/Main/minival.txt and 2 more"
    assert found.notes == (f"{tmp_path}: ignored lists: {names}",)


def test_lists_of_single_classes_are_united_if_there_are_no_others(tmp_path: Path) -> None:
    write(tmp_path / "ImageSets/Main", dog_train="a 1\nb -1", cat_train="b  1\nc  0", dog_val="d  1")
    found = SplitLists(tmp_path)
    assert tuple(found.files) == ("train", "validation")
    assert found.entries("train") == ["b", "c", "a"]
    assert "union of the lists of single classes" in found.notes[0]


def test_two_lists_of_one_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "ImageSets", val="a", Valid="b")
    with pytest.raises(UserError, match=r"both ImageSets/Valid.txt and ImageSets/val.txt would be the validation"):
        SplitLists(tmp_path)


def test_unreadable_lists_are_said(tmp_path: Path) -> None:
    write(tmp_path / "ImageSets", train="a")
    found = SplitLists(tmp_path)
    (tmp_path / "ImageSets/train.txt").write_bytes(b"\xff\xfea")
    with pytest.raises(UserError, match=r"train.txt: cannot be read"):
        found.entries("train")
    (tmp_path / "ImageSets/train.txt").write_bytes("a b\r\nü\r\n".encode("utf-16"))
    assert found.entries("train") == ["a b", "ü"]


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("a", ["a"]),
        ("a 1", ["a"]),
        ("a  -1", ["a"]),
        ("a.JPG", ["a"]),
        ("IMG 1", ["IMG 1"]),
        ("IMG 1 -1", ["IMG 1"]),
        ("IMG 1.png IMG 1.xml", ["IMG 1"]),
        ("img 1", ["IMG 1"]),
        (r".\JPEGImages\a.jpg", ["a"]),
        ("JPEGImages/a.jpg Annotations/a.xml", ["a"]),
        ("a a.xml", ["a"]),
        ('"a.jpg"', ["a"]),
        ("sub/c", ["sub/c"]),
        ("c", ["sub/c"]),
        ("images/sub/c.png", ["sub/c"]),
        ("d", ["x/d", "y/d"]),
        ("y/d", ["y/d"]),
        ("e.rf.1", ["e.rf.1"]),
        ("e.rf.1.jpg", ["e.rf.1"]),
        ("IMG 2", []),
        ("IMG", []),
        ("b", []),
        ("", []),
    ],
)
def test_what_a_line_means(line: str, ids: list[str]) -> None:
    assert Names(["a", "IMG 1", "sub/c", "x/d", "y/d", "e.rf.1"]).find(line) == ids


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("train/4", []),
        ("train/4.jpg", []),
        ("Train/JPEGImages/4.jpg 1", []),
        ("valid/4", ["val/4"]),
        ("4", ["val/4"]),
        ("train/5", ["train/5"]),
        ("train/6", ["6"]),
    ],
)
def test_a_line_does_not_mean_an_image_of_another_split(line: str, ids: list[str]) -> None:
    assert Names(["val/4", "train/5", "test/5", "6"]).find(line) == ids


def test_lines_of_a_hundred_thousand_parts_cost_no_square_of_that() -> None:
    names = Names(["a/x", "b/x", "only"])
    assert names.find("a/" * 100_000 + "x.jpg") == ["a/x"]
    assert names.find("a/" * 100_000 + "only 1") == ["only"]
    assert names.find("a" + " " * 100_000 + "b") == []
