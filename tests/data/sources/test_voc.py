import collections

import numpy as np
import pytest
from PIL import Image

from tfeff.data.sources import voc
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
    return voc.load(root, split, fractions=FRACTIONS, **options)


def test_corners_are_counted_from_one_and_belong_to_the_box(root):
    source = load(root[0])
    assert source.ids == ["a", "b"]
    assert source.class_names == ("cat", "dog")
    assert source.objects[0].boxes_yxyx.tolist() == [[0, 0, 40, 60], [20, 10, 30, 20]]
    assert source.objects[0].labels.tolist() == [1, 0]
    assert source.objects[1].boxes_yxyx.shape == (0, 4)
    assert source.encoded(0).startswith(b"\x89PNG")
    assert not source.report.counts


def test_swapped_corners_give_the_box_that_was_meant(root):
    root[1]("s", OBJECT.format("dog", 20, 30, 11, 21))
    source = load(root[0])
    assert source.objects[2].boxes_yxyx.tolist() == [[20, 10, 30, 20]]
    assert source.report.counts == {"swapped corners": 1}


def test_corners_that_are_swapped_and_in_one_column_are_counted_once_each(root):
    root[1]("s", OBJECT.format("dog", 10, 30, 10, 10))
    source = load(root[0])
    assert len(source.objects[2]) == 0
    assert source.report.counts == {"swapped corners": 1, "box without area": 1}


def test_lists_are_splits(root):
    folder, add = root
    add("c", OBJECT.format("dog", 2, 2, 9, 9))
    (folder / "ImageSets/Main/val.txt").write_text("c 1\na -1\n\n")
    (folder / "ImageSets/Main/dog_val.txt").write_text("a\n")
    assert voc.splits(folder, FRACTIONS) == ("validation", "all")
    source = load(folder, "validation")
    assert source.ids == ["c", "a"]
    assert source.class_names == ("cat", "dog")
    with pytest.raises(UserError, match="did you mean"):
        load(folder, "validatoin")


def test_without_lists_the_images_are_divided_by_seed(root):
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
        (OBJECT.format("dog", "nan", 10, 120, 30), "object without a whole box", 0),
        (OBJECT.format("", 1, 1, 5, 5), "object without a name", 0),
        ("<object><name>dog</name></object>", "object without a whole box", 0),
        ("<size><width>9</width><height>9</height></size>", "size that is not the image's", 0),
    ],
)
def test_defects_are_mended_and_counted_or_end_with_a_message(root, xml, kind, kept):
    folder, add = root
    add("z", OBJECT.format("cat", 1, 1, 5, 5), xml)
    source = load(folder)
    assert source.report.counts == collections.Counter({kind: 1})
    assert "z.xml" in source.report.examples[kind]
    assert len(source.objects[2]) == 1 + kept
    boxes = source.objects[2].boxes_yxyx
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    with pytest.raises(UserError, match=kind):
        load(folder, on_defect="error")


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(root):
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
    source = load(folder)
    assert source.ids == ["a", "b"]
    assert source.report.counts == {
        "annotation without its image": 1,
        "image that cannot be read": 1,
        "file that is no annotation": 2,
    }


def test_a_list_cannot_name_files_elsewhere(root):
    (root[0] / "ImageSets/Main/train.txt").write_text("../../secret\na\n")
    source = load(root[0], "train")
    assert source.ids == ["a"]
    assert source.report.counts == {"name that leaves the folder": 1}


def test_folders_that_are_no_voc_set(tmp_path, root):
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "nothing")
    with pytest.raises(UserError, match="Annotations"):
        load(tmp_path)
    for path in (root[0] / "JPEGImages").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="no images"):
        load(root[0])


def test_the_blood_cells(dataset):
    folder = dataset("bccd") / "BCCD"
    assert set(voc.splits(folder, FRACTIONS)) == {"train", "validation", "trainval", "test", "all"}
    source = load(folder)
    assert len(source) == 364
    assert source.class_names == ("Platelets", "RBC", "WBC")
    assert source.report.counts["box without area"] == 2
    assert "BloodImage_00338" in source.report.examples["box without area"]
    boxes = np.concatenate([objects.boxes_yxyx for objects in source.objects])
    assert len(boxes) > 4800
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 480).all()
    assert (boxes[:, 3] <= 640).all()
    parts = [set(load(folder, split).ids) for split in ("train", "validation", "test")]
    assert set.union(*parts) <= set(source.ids)
    assert not parts[0] & parts[2]
