"""Data frames that list files, against CSV files with the same rows. A stand-in takes the place of pandas, which is no
dependency: columns by name, values with its missing ones."""

import math

import pytest
from PIL import Image

from tfeff.data.sources import catalog
from tfeff.data.sources.given import offer
from tfeff.errors import UserError


class Frame:
    def __init__(self, **columns):
        self._columns, self.columns = columns, list(columns)

    def __getitem__(self, name):
        return self._columns[name]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"{name}.png" for name in "abcd"]
    for name in names:
        Image.new("RGB", (60, 40)).save(tmp_path / name)
    return names


def test_labels_are_read_as_from_a_csv_file(files, tmp_path):
    frame = Frame(path=files, Label=["dog", "cat", "cat", "dog"], subset=["train", "train", "val", "val"])
    (tmp_path / "list.csv").write_text(
        "path,label,subset\n" + "".join(map("{},{},{}\n".format, files, frame["Label"], frame["subset"]))
    )
    ours, theirs = catalog.open_labels(offer(frame)), catalog.open_labels("csv:list.csv")
    assert ours.splits == theirs.splits == ("train", "val")
    for split in ours.splits:
        assert ours.load(split).labels.tolist() == theirs.load(split).labels.tolist()
        assert list(ours.load(split).ids) == list(theirs.load(split).ids)
    assert ours.load("val").labels.tolist() == [0, 1]
    assert ours.load("val").class_names == ("cat", "dog")


def test_one_frame_for_each_split_and_numbers_as_labels(files):
    frames = {"train": Frame(image=files[:3], label=[3, 10, 3]), "test": Frame(image=files[3:], label=[10.0])}
    source = catalog.open_labels(offer(frames))
    assert source.splits == ("train", "test")
    assert source.load("train").class_names == ("10", "3")
    assert source.load("test").labels.tolist() == [0]


def test_boxes_and_images_without_objects(files):
    missing = math.nan
    frame = Frame(
        filename=["a.png", "a.png", "b.png"],
        label=["dog", "cat", None],
        xmin=[1.0, 5.5, missing],
        ymin=[2, 6, missing],
        xmax=[30, 70, missing],
        ymax=[20, 8, missing],
    )
    dataset = catalog.open_objects(offer(frame)).load("all")
    assert dataset.class_names == ("cat", "dog")
    assert [each.boxes_yxyx.tolist() for each in dataset.objects] == [[[2, 1, 20, 30], [6, 5.5, 8, 60]], []]
    assert dataset.defects.counts == {"box partly outside": 1}


def test_the_name_changes_with_the_values(files):
    first, second = (offer(Frame(image=files, label=labels)) for labels in ("aabb", "abab"))
    assert first != second
    assert first == offer(Frame(image=files, label="aabb"))
    assert first.startswith("python:files-")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (Frame(photo=["a.png"], label=["x"]), "no column image among photo, label; name them image and label"),
        (Frame(image=[], label=[]), "the data frame has no rows"),
    ],
)
def test_what_is_refused(files, frame, message):
    with pytest.raises(UserError, match=message):
        catalog.open_labels(offer(frame))


def test_rows_that_cannot_be_used_are_counted(files, tmp_path):
    frame = Frame(image=["a.png", "e.png", "b.png", "c.png", "c.png"], label=["x", "y", math.nan, "x", "x"])
    dataset = catalog.open_labels(offer(frame)).load("all")
    assert dataset.ids == ["a.png", "c.png"]
    assert {kind: places[0].partition(", ")[2] for kind, places in dataset.defects.examples.items()} == {
        "image without a file": f"row 1: {tmp_path}/e.png",
        "image without a label": f"row 2: {tmp_path}/b.png",
        "image listed twice": "row 4: c.png",
    }
    assert dataset.defects.lost("images") == 2


def test_splits_that_are_missing_in_rows_with_boxes_are_counted(files):
    sides = {"xmin": [1] * 3, "ymin": [1] * 3, "xmax": [9] * 3, "ymax": [9] * 3, "label": list("xxx")}
    source = catalog.open_objects(offer(Frame(image=files[:3], split=["train", None, "test"], **sides)))
    assert [source.load(split).defects.lost("images") for split in ("train", "test")] == [1, 0]
    assert source.load("test").ids == ["c.png"]


def test_the_current_folder_is_not_searched(files, tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "b.png").rename(tmp_path / "below" / "b.png")
    sides = {"xmin": [1] * 2, "ymin": [1] * 2, "xmax": [9] * 2, "ymax": [9] * 2, "label": list("xx")}
    dataset = catalog.open_objects(offer(Frame(image=files[:2], **sides))).load("all")
    assert dataset.ids == ["a.png"]
    assert dataset.defects.counts == {"image without a file": 1}


def test_labels_are_not_boxes(files):
    with pytest.raises(UserError, match="needs images with boxes; these have labels"):
        catalog.open_objects(offer(Frame(image=files, label=list("aabb"))))


@pytest.mark.parametrize("features", [{"x1": [0.5] * 4}, {"left": [1] * 4, "right": [2] * 4, "top": [3] * 4}])
def test_some_corners_are_not_boxes(files, features):
    dataset = catalog.open_labels(offer(Frame(image=files, label=list("aabb"), **features))).load("all")
    assert dataset.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train")])
def test_all_frames_have_boxes_or_none(files, order):
    sides = {"xmin": [1] * 2, "ymin": [1] * 2, "xmax": [9] * 2, "ymax": [9] * 2}
    frames = {
        "train": Frame(image=files[:2], label=list("ab"), **sides),
        "test": Frame(image=files[2:], label=list("ab")),
    }
    with pytest.raises(UserError, match="images: test: the data frame has no boxes, but that of train has"):
        offer({split: frames[split] for split in order})
