import collections
import unicodedata

import numpy as np
import pytest
from PIL import Image

from tfeff.data.images import header
from tfeff.data.sources import voc_xml
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
    (folder / "ImageSets/Main/val.txt").write_text("# of May\nc 1\na -1\n\n")
    (folder / "ImageSets/Main/dog_val.txt").write_text("a\n")
    assert VOC(folder, Options()).splits == ("validation",)
    dataset = load(folder, "validation")
    assert dataset.ids == ["c", "a"]
    assert not dataset.defects.counts
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
    assert dataset.defects.counts == {"listed name without an image": 1}


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
    read_header, parse = header.read, voc_xml.parse
    monkeypatch.setattr(header, "read", lambda path, name: read.update([path.name]) or read_header(path, name))
    monkeypatch.setattr(voc_xml, "parse", lambda path: read.update([path.name]) or parse(path))
    (root[0] / "ImageSets/Main/train.txt").write_text("a\nb\n")
    (root[0] / "ImageSets/Main/val.txt").write_text("b\n")
    source = VOC(root[0], Options())
    for split in ("train", "val", "all", "train"):
        source.load(split)
    assert read == {"a.png": 1, "b.png": 1, "a.xml": 1, "b.xml": 1}


def add(root, annotation, image, *, filename="", size=(40, 60), written=None, name="dog"):
    """An annotation with one object of a class, and an image; each only if it is named."""
    if annotation:
        (root / annotation).parent.mkdir(parents=True, exist_ok=True)
        text = f"<filename>{filename}</filename>" if filename else ""
        if written:
            text += f"<size><width>{written[1]}</width><height>{written[0]}</height></size>"
        (root / annotation).write_text(f"<annotation>{text}{OBJECT.format(name, 1, 1, 5, 5)}</annotation>")
    if image:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size[1], size[0])).save(root / image, "PNG")


def test_an_image_of_the_same_name_is_chosen_by_the_annotation(tmp_path):
    add(tmp_path, "Annotations/7.xml", "JPEGImages/7.png", filename="7.png")
    add(tmp_path, "Annotations/8.xml", "JPEGImages/8.JPG", filename="8.jpg", size=(50, 50))
    add(tmp_path, "Annotations/9.xml", "JPEGImages/9.jpg", written=(40, 60))
    add(tmp_path, "Annotations/10.xml", "JPEGImages/10.jpg", filename="other.jpg")
    for name in ("7.jpg", "8.png", "9.png", "10.png"):
        add(tmp_path, "", f"JPEGImages/{name}", size=(30, 30))
    dataset = load(tmp_path)
    assert dataset.ids == ["7", "8", "9"]
    assert dataset.sizes.tolist() == [[40, 60], [50, 50], [40, 60]]
    assert dataset.defects.counts == {
        "annotation that fits several images by its name": 1,
        "annotation that fits several images": 1,
    }
    assert dataset.defects.lost("images") == 1
    assert "10.jpg, 10.png" in dataset.defects.first("annotation that fits several images")
    assert "5 images without an annotation are not used: JPEGImages/10.jpg, JPEGImages/10.png" in dataset.notes[-1]


def test_file_names_that_name_other_images_are_followed_or_said(tmp_path):
    add(tmp_path, "Annotations/a.xml", "JPEGImages/a.png", filename="b.png")
    add(tmp_path, "Annotations/b.xml", "JPEGImages/b.png", filename="b")
    add(tmp_path, "Annotations/0001.xml", "JPEGImages/photo 1.png", filename="C:\\me\\photo 1.png")
    add(tmp_path, "Annotations/0002.xml", "", filename="b.png")
    add(tmp_path, "Annotations/0003.xml", "", filename="gone.png")
    dataset = load(tmp_path)
    assert dataset.ids == ["0001", "a", "b"]
    assert dataset.defects.counts == {
        "image found by <filename> alone": 1,
        "annotation that names another image than its own": 1,
        "annotation of an image that has another one": 1,
        "annotation without its image": 1,
    }
    assert dataset.defects.lost("images") == 2
    first = dataset.defects.first("annotation that names another image than its own")
    assert first.endswith("a.xml: <filename> is b.png, which exists as well; a.png is used")


def test_images_that_cannot_be_used_are_lost(tmp_path):
    add(tmp_path, "Annotations/a.xml", "JPEGImages/a.png")
    add(tmp_path, "Annotations/b.xml", "JPEGImages/b.raf")
    add(tmp_path, "Annotations/._a.xml", "JPEGImages/._a.png")
    add(tmp_path, "Annotations/.ipynb_checkpoints/a-checkpoint.xml", "JPEGImages/__MACOSX/a.png")
    dataset = load(tmp_path)
    assert dataset.ids == ["a"]
    assert dataset.defects.counts == {"image of a format that cannot be read (.raf)": 1}
    assert dataset.defects.lost("images") == 1


def test_class_names_are_trimmed(tmp_path):
    add(tmp_path, "Annotations/b.xml", "JPEGImages/b.png", name=" Street\n  sign ")
    add(tmp_path, "Annotations/a.xml", "JPEGImages/a.png", name="<![CDATA[salt & pepper]]>")
    dataset = load(tmp_path)
    assert dataset.class_names == ("Street sign", "salt & pepper")
    assert [each.labels.tolist() for each in dataset.objects] == [[1], [0]]


@pytest.mark.parametrize(
    ("annotations", "images", "splits", "ids"),
    [
        ("Annotations", "JPEGImages/{}", ("train", "validation"), ["atrain", "aval"]),
        ("Annotations/{}", "JPEGImages", ("train", "validation"), ["train/atrain", "val/aval"]),
        ("{}/Annotations", "{}/JPEGImages", ("train", "validation"), ["train/atrain", "val/aval"]),
        ("VOCdevkit/VOC2007/Annotations", "VOCdevkit/VOC2007/JPEGImages/{}", ("train", "validation"), None),
        ("boxes", "frames", tuple(FRACTIONS), ["atrain", "aval"]),
        ("Annotations/sub", "JPEGImages/sub", tuple(FRACTIONS), ["atrain", "aval"]),
    ],
)
def test_layouts_and_splits_by_folder(tmp_path, annotations, images, splits, ids):
    for split in ("train", "val"):
        add(tmp_path, f"{annotations}/a{split}.xml".format(split), f"{images}/a{split}.png".format(split))
    source = VOC(tmp_path, Options())
    assert source.splits == splits
    assert source.load("all").ids == (ids or ["atrain", "aval"])
    assert not source.load("all").defects.counts
    if "{}" in annotations + images:
        assert not source.drawn
        assert source.load("val").ids[0].endswith("aval")


@pytest.mark.parametrize("stray", ["stray", "extra/stray"])
def test_images_outside_the_folders_of_splits_are_said_and_not_used(tmp_path, stray):
    for name in ("train/a", "train/b", "test/c", stray):
        add(tmp_path, f"Annotations/{name}.xml", f"JPEGImages/{name}.png")
    source = VOC(tmp_path, Options())
    assert not source.drawn
    assert {split: source.load(split).ids for split in source.splits} == {
        "train": ["train/a", "train/b"],
        "test": ["test/c"],
    }
    assert source.notes == (f"voc:{tmp_path}: 1 annotated images are in no folder of a split and not used: {stray}",)


def test_a_single_folder_called_like_a_split_beside_others_is_none(tmp_path):
    for name in ("test/a", "lab/b", "field/c", "d"):
        add(tmp_path, f"Annotations/{name}.xml", f"JPEGImages/{name}.png")
    source = VOC(tmp_path, Options())
    assert source.drawn
    text = "the folder of test is not taken for a split, because images are also in field, lab"
    assert source.notes == (f"voc:{tmp_path}: {text}",)


def test_what_is_not_read_is_said(tmp_path):
    add(tmp_path, "Annotations/a.xml", "JPEGImages/a.png")
    add(tmp_path, "more/b.xml", "more/b.png")
    add(tmp_path, "", "JPEGImages/c.png")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/default.txt").write_text("a\n")
    assert VOC(tmp_path, Options(seed=7)).load("train").notes == (
        f"voc:{tmp_path}: has no splits of its own; drawn with seed 7: train 80 %, validation 10 %, test 10 %",
        f"voc:{tmp_path}: annotations in other folders are not read: more",
        f"{tmp_path}: ignored lists: ImageSets/Main/default.txt; lists of splits are called train.txt, val.txt, "
        "test.txt",
        f"voc:{tmp_path}: 1 images without an annotation are not used: JPEGImages/c.png",
    )


def test_if_nothing_fits_the_message_says_what_is_there(tmp_path):
    for name in ("VOC2007/a.txt", "VOC2012/a.txt", "x.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=r"no folder with XML annotations: it has VOC2007/, VOC2012/, 1 x \.json;"):
        load(tmp_path)


def test_lists_name_images_in_many_ways(tmp_path):
    for name in ("WhatsApp Image 001", "b.rf.12", "c", "d 1", "Über"):
        add(tmp_path, f"Annotations/{name}.xml", f"JPEGImages/{name}.png")
    add(tmp_path, "", "JPEGImages/unlabeled.png")
    lists = tmp_path / "imagesets" / "main"
    lists.mkdir(parents=True)
    lines = "WhatsApp Image 001\r\nb.rf.12.png\r\n./JPEGImages/c.png  -1\r\n\r\nd 1\r\n/home/me/JPEGImages/Über.png"
    (lists / "Train.txt").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    (lists / "dev.txt").write_text("gone\nC\nunlabeled\nc\n")
    source = VOC(tmp_path, Options())
    assert source.splits == ("train", "validation")
    assert source.load("train").ids == ["WhatsApp Image 001", "b.rf.12", "c", "d 1", "Über"]
    assert not source.load("train").defects.counts
    validation = source.load("val")
    assert validation.ids == ["c"]
    assert validation.defects.counts == {
        "listed name without an image": 1,
        "listed image without an annotation": 1,
        "image listed twice": 1,
    }
    assert validation.defects.lost("images") == 2


def test_corners_of_which_none_is_above_1_are_relative(root):
    root[1]("a", OBJECT.format("dog", 0.5, 0.25, 1.0, 0.75), OBJECT.format("cat", 0, 0, 1, 1))
    dataset = load(root[0])
    assert dataset.objects[0].boxes_yxyx.tolist() == [[10, 30, 30, 60], [0, 0, 40, 60]]
    assert f"voc:{root[0]}: corners are relative to width and height" in dataset.notes
    assert not dataset.defects.counts
    root[1]("b", OBJECT.format("dog", 1, 1, 60, 40))
    assert not any("relative" in note for note in load(root[0]).notes)


def test_names_in_another_case_or_with_other_accents_are_found(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Wäsche Über") for form in ("NFC", "NFD"))
    add(tmp_path, f"Annotations/{composed}.xml", f"JPEGImages/{decomposed}.png", filename=f"{composed}.png")
    add(tmp_path, "Annotations/A.xml", "JPEGImages/a.png", filename="A.png")
    add(tmp_path, "Annotations/B.xml", "JPEGImages/b.png", filename="B.png", name="cat")
    add(tmp_path, "Annotations/b.xml", "", filename="b.png")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text(f"{decomposed}\nA\n")
    assert load(tmp_path, "train").ids == [composed, "A"]
    dataset = load(tmp_path)
    assert dataset.ids == ["A", composed, "b"]
    assert dataset.defects.counts == {"annotation of an image that has another one": 1}
