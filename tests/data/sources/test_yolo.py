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
    assert source.defects.lost("objects") == 12


def test_folders_without_a_yolo_layout_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "nothing")
    with pytest.raises(UserError, match="images and labels"):
        load(tmp_path)


def test_an_invalid_byte_drops_only_its_line(root):
    good = b"1 0.5 0.5 0.1 0.1"
    (root / "labels/train/b.txt").write_bytes(
        b"\n".join([b"\xef\xbb\xbf" + good, b"\xff\xfe 0.5", b"1 0.3 0.5 0.1 0.1"])
    )
    source = load(root)
    assert source.objects[1].labels.tolist() == [1, 1]
    assert source.defects.counts == {"invalid line": 1}


def test_names_that_yaml_takes_for_values_stay_text(root):
    (root / "data.yaml").write_text("nc: 6\nnames: [no, yes, off, null, 1.0, 0x10]\n")
    dataset = load(root)
    assert dataset.class_names == ("no", "yes", "off", "null", "1.0", "0x10")
    assert not any("nc" in note for note in dataset.notes)


@pytest.mark.slow
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


@pytest.mark.parametrize("folder", ["", "labels", "labels/train", "images/train", "data"])
@pytest.mark.parametrize("name", ["classes.txt", "Classes.txt", "obj.names", "mine.names"])
def test_lists_of_names_in_any_folder(root, folder, name):
    (root / folder).mkdir(exist_ok=True)
    (root / folder / name).write_text("dog\n\nowl\nemu\n")
    source = load(root)
    assert source.class_names == ("dog", "1", "owl", "emu")
    assert source.notes[0].endswith(f"; class names in {root / folder / name}")
    assert not source.defects.counts


def test_lists_of_names_that_differ_are_refused(root):
    (root / "labels/classes.txt").write_text("dog\ncat\nowl\n")
    (root / "labels/train/classes.txt").write_text("cat\ndog\nowl\n")
    with pytest.raises(UserError, match=r"labels/classes\.txt, .*labels/train/classes\.txt differ"):
        load(root)


def test_names_of_label_studio(root):
    (root / "notes.json").write_text('{"categories": [{"id": 0, "name": "a"}, {"id": 2, "name": "c"}], "info": {}}')
    assert load(root).class_names == ("a", "1", "c")


def test_equal_names_stay_two_classes(root):
    (root / "classes.txt").write_text("dog\ndog\nowl\n")
    source = load(root)
    assert source.class_names == ("dog", "dog (2)", "owl")
    assert source.defects.counts == {"class name used twice": 1}


def test_polygons_and_confidences_are_said(root):
    (root / "labels/train/b.txt").write_text("0 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75\n0 0.5 0.5 0.5 0.2 0.9\n")
    source = load(root)
    assert source.objects[1].boxes_yxyx.tolist() == [[25, 50, 75, 150], [40, 50, 60, 150]]
    assert [note.partition(": ")[2] for note in source.notes[1:]] == [
        "1 lines are polygons or rotated boxes; their bounding boxes are used",
        "1 lines end with a confidence, which is ignored",
        f"1 of 3 images have no label file and so no objects, first: {root}/images/train/c.png",
    ]
    assert not source.defects.counts


def test_label_files_that_fit_no_image(root):
    (root / "images/test").mkdir()
    Image.new("RGB", (20, 10)).save(root / "images/test/a.png")
    (root / "labels/test").mkdir()
    (root / "labels/train/IMG_1.txt").write_text("0 0.5 0.5 0.5 0.2\n1 0.5 0.5 0.5 0.2\nnote\n")
    (root / "labels/test/IMG_2.txt").write_text("0 0.5 0.5 0.5 0.2\n")
    (root / "labels/val").mkdir()
    (root / "labels/val/IMG_3.txt").write_text("0 0.5 0.5 0.5 0.2\n")
    (root / "labels/README.txt").write_text("Exported on Monday\n")
    train, test = load(root, "train").defects, load(root, "test").defects
    assert train.counts == {"label without an image of its name": 3}
    assert train.examples["label without an image of its name"] == [
        f"{root}/labels/train/IMG_1.txt",
        f"{root}/labels/val/IMG_3.txt",
    ]
    assert train.lost("objects") == 3
    assert test.counts == {"label without an image of its name": 1}


def test_images_that_share_a_label_file_are_reported(root):
    Image.new("RGB", (200, 100)).save(root / "images/train/a.jpg")
    source = load(root)
    assert [len(objects) for objects in source.objects] == [2, 2, 0, 0]
    assert source.defects.counts == {"label file of several images": 1}


def test_hidden_files_are_ignored(root):
    for name in ("images/train/._a.png", "labels/train/._a.txt", "images/.ipynb_checkpoints/a.png", "labels/.DS_Store"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"\x00\x05\x16\x07")
    source = load(root)
    assert source.ids == ["train/a.png", "train/b.png", "train/c.png"]
    assert not source.defects.counts


def test_linked_splits(root, tmp_path):
    for folder in ("images", "labels"):
        (root / folder / "train").rename(tmp_path / folder)
        (root / folder / "train").symlink_to(tmp_path / folder)
    source = load(root)
    assert source.ids == ["train/a.png", "train/b.png", "train/c.png"]
    assert [len(objects) for objects in source.objects] == [2, 0, 0]


def test_images_of_a_format_that_cannot_be_read(root):
    (root / "images/train/d.raf").write_bytes(b"")
    (root / "logo.svg").write_bytes(b"")
    source = load(root)
    assert source.ids == ["train/a.png", "train/b.png", "train/c.png"]
    assert source.defects.counts == {"image of a format that cannot be read (.raf)": 1}
    assert source.defects.lost("images") == 1


@pytest.mark.parametrize(("shape", "count"), [("[2, 2]", 4), ("[1, 3]", 3)])
def test_keypoints_are_not_used_and_that_is_said(root, shape, count):
    (root / "data.yaml").write_text(f"names: [a]\nkpt_shape: {shape}\n")
    (root / "labels/train/a.txt").write_text(f"0 0.5 0.5 0.5 0.2{' 0.9' * count}\n")
    dataset = load(root)
    assert dataset.objects[0].boxes_yxyx.tolist() == [[40, 50, 60, 150]]
    assert "1 lines have keypoints, which are not used" in " ".join(dataset.notes)
    (root / "data.yaml").write_text("names: [a]\nkpt_shape: 17\n")
    assert "kpt_shape is 17, not two numbers, and is ignored" in " ".join(load(root).notes)


def test_values_that_repeat_a_list_endlessly_are_not_shown(root):
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))
    (root / "data.yaml").write_text(f"l0: &l0 [a]\n{levels}names: [a]\nnc: *l11\nkpt_shape: *l11\n")
    notes = " ".join(load(root).notes)
    assert "nc is not a single value, but there are 1 names" in notes
    assert "kpt_shape is not a single value, not two numbers, and is ignored" in notes
