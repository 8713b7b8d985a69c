import pytest
from PIL import Image

from tfeff.data.sources.source import Options
from tfeff.data.sources.yolo import YOLO
from tfeff.errors import UserError

FRACTIONS = {"train": 0.5, "test": 0.5}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "yolo"
    (folder / "images/train").mkdir(parents=True)
    (folder / "labels/train").mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.new("RGB", (200, 100)).save(folder / f"images/train/{name}.png")
    (folder / "labels/train/a.txt").write_text("0 0.5 0.5 0.5 0.2\n2 0.999999 0.5 0.000004 1.0\n")
    (folder / "labels/train/b.txt").write_text("")
    return folder


def load(root, split="all", **options):
    return YOLO(root, Options(fractions=FRACTIONS, **options)).load(split)


def test_relative_coordinates_become_pixels(root):
    source = load(root)
    assert source.ids == ["train/a.png", "train/b.png", "train/c.png"]
    assert source.objects[0].boxes_yxyx[0].tolist() == [40, 50, 60, 150]
    assert source.objects[0].labels.tolist() == [0, 2]
    assert source.class_names == ("0", "1", "2")
    assert [len(objects) for objects in source.objects] == [2, 0, 0]
    assert not source.defects.counts


def test_class_names_come_from_the_usual_files(root):
    (root / "classes.txt").write_text("dog\ncat\nowl\n")
    assert load(root).class_names == ("dog", "cat", "owl")
    (root / "data.yaml").write_text("names: {0: a, 1: b, 2: c}\nnc: 3\n")
    assert load(root).class_names == ("a", "b", "c")
    (root / "data.yaml").write_text("names: [a, b]\n")
    source = load(root)
    assert source.defects.counts == {"class without a name": 1}
    for text in ("names: [", "names:", "names: 5", "names: person", "names: {x: a}", "names: {-1: a}", "x: 1", "[]"):
        (root / "data.yaml").write_text(text)
        with pytest.raises(UserError, match=r"data\.yaml"):
            load(root)
    (root / "data.yaml").write_text("names: {0: a, 2: c}")
    assert load(root).class_names == ("a", "1", "c")


def test_folders_are_splits(root):
    assert YOLO(root, Options(fractions=FRACTIONS)).splits == ("train",)
    (root / "images/val").mkdir()
    Image.new("RGB", (20, 10)).save(root / "images/val/a.jpg")
    assert load(root, "validation").ids == ["val/a.jpg"]
    with pytest.raises(UserError, match="no split"):
        load(root, "test")


def test_invalid_lines_are_counted(root):
    lines = ["0 0.5 0.5 0.5", "x 0.5 0.5 0.5 0.5", "0 nan 0.5 0.5 0.5", "1 0.5 0.5 0.1 0.1", "0.5 0.1 0.1 0.1 0.1"]
    lines.append("1000000000 0.5 0.5 0.1 0.1")
    (root / "labels/train/b.txt").write_text("\n".join(lines))
    (root / "labels/train/c.txt").write_bytes(b"\xff\xfe\x00")
    source = load(root)
    assert source.defects.counts == {"invalid line": 6}
    assert source.objects[1].labels.tolist() == [1]
    with pytest.raises(UserError, match="line 1"):
        load(root, on_defect="stop")


def test_coco128(dataset):
    source = load(dataset("coco128"))
    assert len(source) == 128
    assert sum(map(len, source.objects)) == 929
    assert source.defects.counts == {"label without an image of its name": 12}  # two label files; their images are gone
    assert source.defects.lost == {"objects": 12}


def test_folders_without_a_yolo_layout_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "nothing")
    with pytest.raises(UserError, match="images and labels"):
        load(tmp_path)


def test_an_invalid_byte_drops_only_its_line(root):
    good = b"1 0.5 0.5 0.1 0.1"
    (root / "labels/train/b.txt").write_bytes(b"\n".join([b"\xef\xbb\xbf" + good, b"\xff\xfe 0.5", good]))
    source = load(root)
    assert source.objects[1].labels.tolist() == [1, 1]
    assert source.defects.counts == {"invalid line": 1}


@pytest.mark.parametrize("text", ["names: &a [*a]", "names: " + "[" * 2000, "names: [[a], b]"])
def test_lists_as_class_names_are_refused(root, text):
    (root / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=r"data\.yaml"):
        load(root)


def test_a_box_that_vanishes_in_single_precision_has_no_area(root):
    (root / "labels/train/b.txt").write_text("0 0.5 0.5 1e-10 0.1\n0 0.5 0.5 0.1 1e-300\n0 0.5 0.5 1e-5 0.1\n")
    source = load(root)
    assert len(source.objects[1]) == 1
    assert source.defects.counts == {"box without area": 2}
