import collections

import defusedxml.ElementTree
import numpy as np
import pytest
from PIL import Image

from tfeff.data.images import header
from tfeff.data.sources.source import Options
from tfeff.data.sources.voc import VOC
from tfeff.errors import UserError

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
OBJECT = (
    "<object><name>{0}</name><bndbox><xmin>{1}</xmin><ymin>{2}</ymin><xmax>{3}</xmax><ymax>{4}</ymax></bndbox></object>"
)


@pytest.fixture
def root(tmp_path):
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / "voc" / name).mkdir(parents=True)

    def add(name, *objects, size=(40, 60)):
        Image.new("RGB", (size[1], size[0])).save(tmp_path / "voc" / "JPEGImages" / f"{name}.png")
        text = objects[0] if objects and "<" not in objects[0][:1] else "".join(objects)
        (tmp_path / "voc" / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")

    add("a", OBJECT.format("dog", 1, 1, 60, 40), OBJECT.format("cat", 11, 21, 20, 30))
    add("b")
    return tmp_path / "voc", add


def load(root, split="all", **options):
    return VOC(root, Options(fractions=FRACTIONS, **options)).load(split)


def test_corners_count_from_one_and_are_inclusive(root):
    dataset = load(root[0])
    assert dataset.ids == ["a", "b"]
    assert dataset.class_names == ("cat", "dog")
    assert dataset.objects[0].boxes_yxyx.tolist() == [[0, 0, 40, 60], [20, 10, 30, 20]]
    assert dataset.objects[0].labels.tolist() == [1, 0]
    assert dataset.objects[1].boxes_yxyx.shape == (0, 4)
    assert dataset.encoded(0).startswith(b"\x89PNG")
    assert not dataset.defects.counts


def test_swapped_corners_are_reordered(root):
    root[1]("s", OBJECT.format("dog", 20, 30, 11, 21))
    dataset = load(root[0])
    assert dataset.objects[2].boxes_yxyx.tolist() == [[20, 10, 30, 20]]
    assert dataset.defects.counts == {"swapped corners": 1}


def test_swapped_corners_in_one_column_count_as_two_defects(root):
    root[1]("s", OBJECT.format("dog", 10, 30, 10, 10))
    dataset = load(root[0])
    assert len(dataset.objects[2]) == 0
    assert dataset.defects.counts == {"swapped corners": 1, "box without area": 1}


def test_lists_are_splits(root):
    folder, add = root
    add("c", OBJECT.format("dog", 2, 2, 9, 9))
    (folder / "ImageSets/Main/val.txt").write_text("c 1\na -1\n\n")
    (folder / "ImageSets/Main/dog_val.txt").write_text("a\n")
    assert VOC(folder, Options()).splits == ("validation",)
    dataset = load(folder, "validation")
    assert dataset.ids == ["c", "a"]
    assert dataset.class_names == ("cat", "dog")
    with pytest.raises(UserError, match="did you mean"):
        load(folder, "validatoin")


def test_without_lists_splits_are_drawn_by_seed(root):
    folder, add = root
    for number in range(40):
        add(f"n{number}", OBJECT.format("dog", 1, 1, 5, 5))
    parts = [load(folder, split, seed=3).ids for split in FRACTIONS]
    assert sorted(name for part in parts for name in part) == load(folder).ids
    assert [len(part) for part in parts] == [34, 4, 4]
    assert load(folder, "test", seed=4).ids != parts[2]


@pytest.mark.parametrize(
    ("xml", "kind", "kept"),
    [
        (OBJECT.format("dog", 20, 10, 10, 30), "swapped corners", 1),
        (OBJECT.format("dog", 10, 10, 10, 30), "box without area", 0),
        (OBJECT.format("dog", 100, 10, 120, 30), "box outside the image", 0),
        (OBJECT.format("dog", 50, 10, 120, 30), "box partly outside", 1),
        (OBJECT.format("dog", "nan", 10, 120, 30), "object without a complete box", 0),
        (OBJECT.format("", 1, 1, 5, 5), "object without a name", 0),
        ("<object><name>dog</name></object>", "object without a complete box", 0),
        ("<size><width>9</width><height>9</height></size>", "wrong image size", 0),
    ],
)
def test_defects_are_fixed_and_counted_or_raise(root, xml, kind, kept):
    folder, add = root
    add("z", OBJECT.format("cat", 1, 1, 5, 5), xml)
    dataset = load(folder)
    assert dataset.defects.counts == collections.Counter({kind: 1})
    assert "z.xml" in dataset.defects.first(kind)
    assert len(dataset.objects[2]) == 1 + kept
    boxes = dataset.objects[2].boxes_yxyx
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    with pytest.raises(UserError, match=kind):
        load(folder, on_defect="stop")


def test_unreadable_files_are_skipped_and_counted(root):
    folder, add = root
    add("no-image", OBJECT.format("dog", 1, 1, 5, 5))
    (folder / "JPEGImages/no-image.png").unlink()
    add("text")
    (folder / "JPEGImages/text.png").write_text("not an image")
    (folder / "Annotations/cut.xml").write_text("<annotation><object>")
    bomb = "<!DOCTYPE a [<!ENTITY x 'aaaaaaaa'><!ENTITY y '&x;&x;&x;'>]><annotation>&y;</annotation>"
    (folder / "Annotations/bomb.xml").write_text(bomb)
    Image.new("RGB", (9, 9)).save(folder / "JPEGImages/bomb.png")
    Image.new("RGB", (9, 9)).save(folder / "JPEGImages/cut.png")
    dataset = load(folder)
    assert dataset.ids == ["a", "b"]
    assert dataset.defects.counts == {
        "annotation without its image": 1,
        "unreadable image": 1,
        "unreadable annotation": 2,
    }


def test_lists_cannot_name_files_outside_the_folder(root):
    (root[0] / "ImageSets/Main/train.txt").write_text("../../secret\na\n")
    dataset = load(root[0], "train")
    assert dataset.ids == ["a"]
    assert dataset.defects.counts == {"name that leaves the folder": 1}


def test_folders_without_a_voc_layout_are_refused(tmp_path, root):
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="Annotations"):
        load(tmp_path / "empty")
    for path in (root[0] / "JPEGImages").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="no images"):
        load(root[0])


def test_bccd(dataset):
    folder = dataset("bccd") / "BCCD"
    assert set(VOC(folder, Options()).splits) == {"train", "validation", "trainval", "test"}
    dataset = load(folder)
    assert len(dataset) == 364
    assert dataset.class_names == ("Platelets", "RBC", "WBC")
    assert dataset.defects.counts["box without area"] == 2
    assert "BloodImage_00338" in dataset.defects.first("box without area")
    boxes = np.concatenate([objects.boxes_yxyx for objects in dataset.objects])
    assert len(boxes) > 4800
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 480).all()
    assert (boxes[:, 3] <= 640).all()
    parts = [set(load(folder, split).ids) for split in ("train", "validation", "test")]
    assert set.union(*parts) <= set(dataset.ids)
    assert not parts[0] & parts[2]


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("annots", "images"),
        ("labels", "images"),
        ("xml", "images"),
        ("Annotations/xmls", "images"),
        ("annotations", "JPEGImages"),
        ("images", "images"),
        ("", "images"),
        ("", ""),
        ("annotations", ""),
    ],
)
def test_published_folder_names_are_found(tmp_path, annotations, images):
    for folder in (annotations, images):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        Image.new("RGB", (60, 40)).save(tmp_path / images / f"{name}.png")
        text = OBJECT.format("dog", 1, 1, 5, 5)
        (tmp_path / annotations / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    dataset = load(tmp_path)
    assert dataset.ids == ["a", "b"]
    assert dataset.sizes.tolist() == [[40, 60], [40, 60]]
    assert not dataset.defects.counts


@pytest.mark.parametrize("nested", [True, False])
def test_split_folders_are_splits(tmp_path, nested):
    for split, names in (("train", ("a", "b")), ("valid", ("a",))):
        annotations, images = (
            (tmp_path / "annotations" / split, tmp_path / "images" / split)
            if nested
            else (tmp_path / split, tmp_path / split)
        )
        for folder in (annotations, images):
            folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            Image.new("RGB", (60, 40)).save(images / f"{name}.png")
            text = OBJECT.format(split, 1, 1, 5, 5)
            (annotations / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    source = VOC(tmp_path, Options())
    assert source.splits == ("train", "validation")
    assert not source.drawn
    assert source.load("dev").ids == ["valid/a"]
    assert source.load("all").ids == ["train/a", "train/b", "valid/a"]
    assert source.load("train").class_names == ("train", "valid")


def test_each_header_and_annotation_is_read_once(root, monkeypatch):
    read = collections.Counter()
    read_header, parse = header.read, defusedxml.ElementTree.parse
    monkeypatch.setattr(header, "read", lambda path, name: read.update([path.name]) or read_header(path, name))
    monkeypatch.setattr(
        defusedxml.ElementTree, "parse", lambda path, **options: read.update([path.name]) or parse(path, **options)
    )
    (root[0] / "ImageSets/Main/train.txt").write_text("a\nb\n")
    (root[0] / "ImageSets/Main/val.txt").write_text("b\n")
    source = VOC(root[0], Options())
    for split in ("train", "val", "all", "train"):
        source.load(split)
    assert read == {"a.png": 1, "b.png": 1, "a.xml": 1, "b.xml": 1}
