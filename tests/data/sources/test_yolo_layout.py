import pytest
from PIL import Image

from tfeff.data.sources.source import Options
from tfeff.data.sources.yolo import YOLO
from tfeff.errors import UserError

YAML = "names: [cat]\n"
DARKNET = "classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n"


@pytest.fixture
def make(tmp_path):
    """`make("images/train/a", "train/b.txt:text", ...)`: images with their labels, and files with a text."""

    def made(*names, root="set"):
        for name in names:
            name, colon, text = name.partition(":")
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if colon:
                path.write_text(text)
                continue
            Image.new("RGB", (20, 10)).save(f"{path}.png")
            label = tmp_path / root / name.replace("images", "labels")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.with_name(f"{label.name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
        return tmp_path / root

    return made


def found(root):
    """Returns split -> ids of its images, each of which has one object."""
    source = YOLO(root, Options())
    loaded = {split: source.load(split) for split in source.splits}
    assert all(len(objects) == 1 for each in loaded.values() for objects in each.objects)
    assert not any(each.defects.counts for each in loaded.values())
    return {split: list(each.ids) for split, each in loaded.items()}


def notes(root, split="train"):
    return [note.partition(": ")[2] for note in YOLO(root, Options()).load(split).notes]


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "valid", "TEST"), ("training", "dev", "testing")]
)
@pytest.mark.parametrize(
    "layout", ["images/{}/a", "{}/images/a", "{}/a", "obj_{}_data/a", "set/images/{}/a", "Images/{}/deep/a"]
)
def test_folders_of_splits(make, layout, names):
    root = make(*(layout.format(name) for name in names))
    assert {split: len(ids) for split, ids in found(root).items()} == {"train": 1, "validation": 1, "test": 1}
    assert not YOLO(root, Options()).drawn


@pytest.mark.parametrize("layout", ["images/{}", "{}", "set/images/{}", "images/day/{}"])
def test_without_splits_they_are_drawn(make, layout):
    root = make(*(layout.format(name) for name in "abcdefghij"))
    assert sorted(map(len, found(root).values())) == [1, 1, 8]
    assert YOLO(root, Options()).drawn
    assert notes(root)[0].startswith("has no splits of its own; drawn with seed 0")


@pytest.mark.parametrize(
    "text",
    [
        "train: images/one\nval: images/two\n",
        "train: ../images/one\nval: ../images/two\n",
        "path: .\ntrain: ./images/one\nvalid: images/two/\n",
        "path: /content/drive/set\ntrain: images/one\nvalidation: images/two\n",
        "train: /content/drive/set/images/one\nval: /content/drive/set/images/two\n",
        "train: C:\\data\\set\\images\\one\nval: images\\two\n",
        "train: [images/one]\nval: [images/two]\n",
        "train: Images/ONE\ndev: images/Two\n",
        "train: one.txt\nval: lists/two.txt\n",
    ],
)
@pytest.mark.parametrize(
    "names", ["names: [cat]\n", "names: {0: cat}\n", "names:\n  0: cat\n", "nc: 1\nnames: ['cat']\n"]
)
@pytest.mark.parametrize("file", ["data.yaml", "mine.yml"])
def test_a_yaml_file_says_where_splits_are(make, text, names, file):
    lists = "one.txt:./images/one/a.png\n\nimages/one/b.png\n", "lists/two.txt:/content/set/images/two/c.png\r\n"
    root = make("images/one/a", "images/one/b", "images/two/c", f"{file}:{text}{names}", *lists)
    wanted = {"train": ["one/a.png", "one/b.png"], "validation": ["two/c.png"]}
    assert found(root) == wanted
    assert found(root / file) == wanted
    assert YOLO(root, Options()).load("train").class_names == ("cat",)
    assert notes(root)[0].startswith("train in ")
    assert notes(root)[0].endswith(f"({file}); class names in {root / file}")


def test_a_yaml_file_elsewhere_names_the_folder(make):
    make("images/train/a", "images/val/b", root="photos")
    root = make(f"mine.yaml:path: ../photos\ntrain: images/train\nval: images/val\n{YAML}")
    assert found(root / "mine.yaml") == {"train": ["train/a.png"], "validation": ["val/b.png"]}


def test_folders_outside_the_dataset(make):
    photos = make("images/a", root="photos")
    root = make("images/train/b", f"data.yaml:train: images/train\nval: ../photos/images\n{YAML}")
    assert found(root) == {"train": ["train/b.png"], "validation": [f"{photos}/images/a.png"]}


def test_a_list_outside_the_dataset_means_the_images_beside_it(make):
    photos = make("images/a", "all.txt:./images/a.png\n", root="photos")
    root = make("images/train/b", "more/a", f"data.yaml:train: images/train\nval: ../photos/all.txt\n{YAML}")
    assert found(root)["validation"] == [f"{photos}/images/a.png"]


def test_several_folders_are_joined(make):
    root = make(
        "images/a/1", "images/b/2", "images/c/3", f"data.yaml:train: [images/a, images/b]\nval: images/c\n{YAML}"
    )
    assert found(root) == {"train": ["a/1.png", "b/2.png"], "validation": ["c/3.png"]}


def test_cvat_keeps_images_and_labels_together(make):
    lists = "train.txt:data/obj_train_data/a.png\n", "valid.txt:data/obj_valid_data/deep/b.png\n"
    root = make("obj_train_data/a", "obj_valid_data/deep/b", f"obj.data:{DARKNET}", "obj.names:cat\n", *lists)
    assert found(root) == {"train": ["obj_train_data/a.png"], "validation": ["obj_valid_data/deep/b.png"]}
    assert found(root / "obj.data") == found(root)
    assert YOLO(root, Options()).load("train").class_names == ("cat",)


def test_lists_without_a_file_that_names_them(make):
    root = make("images/a", "images/b", "images/c", "train.txt:images/a.png\nimages/b.png", "Val.txt:c.png")
    assert found(root) == {"train": ["a.png", "b.png"], "validation": ["c.png"]}


def test_lists_of_ultralytics(make):
    lists = "autosplit_train.txt:./images/a.png\n./images/b.png\n", "autosplit_val.txt:./images/c.png\n"
    root = make("images/a", "images/b", "images/c", *lists)
    assert found(root) == {"train": ["a.png", "b.png"], "validation": ["c.png"]}
    assert len(notes(root)) == 1
    make("train.txt:images/a.png")
    with pytest.raises(UserError, match=r"both autosplit_train\.txt and train\.txt would be the train split; keep one"):
        YOLO(root, Options())


def test_lists_of_images_that_are_not_used_are_said(make):
    others = (
        "classes.txt:cat\n",
        "notes.txt:a.png is blurred",
        "labels/orphan.txt:0 0.5 0.5 0.5 0.5",
        "trains/a.txt:b.png",
    )
    root = make("images/a", "images/b", "trainlist.txt:\nimages/a.png\n", "lists/fold1.txt:b.png", *others)
    note = next(note for note in notes(root, "all") if "lists of images" in note)
    assert note.startswith(
        "lists of images that are not used: trainlist.txt, lists/fold1.txt; lists of splits are called"
    )
    make(f"data.yaml:train: trainlist.txt\nval: lists/fold1.txt\n{YAML}")
    assert not any("lists of images" in note for note in notes(root))


def test_listed_images_without_a_file_and_unlisted_ones(make):
    root = make(
        "images/a", "images/b", "images/c", "train.txt:# of May\nimages/a.png\nimages/gone.png", "val.txt:images/c.png"
    )
    source = YOLO(root, Options()).load("train")
    assert source.defects.counts == {"image without a file": 1}
    assert (source.defects.lost("images"), source.defects.lost("objects")) == (1, 0)
    assert notes(root)[1] == f"1 images belong to no split and are not used, first: {root}/images/b.png"


@pytest.mark.parametrize("layout", ["images/{}", "{}/images"])
def test_an_image_of_the_same_name_in_another_split_is_not_taken(make, layout):
    train, val = layout.format("train"), layout.format("val")
    lists = f"train.txt:./{train}/1.png\n/content/set/{train}/4.png", f"val.txt:./{val}/4.png"
    for more in ((), lists[1:]):
        root = make(f"{train}/1", f"{val}/4", lists[0], *more)
        source = YOLO(root, Options())
        assert source.load("train").defects.counts == {"image without a file": 1}
        assert [source.load(split).ids[0][-5:] for split in source.splits] == ["1.png", "4.png"]
        assert source.disjoint


def test_images_in_another_folder_than_written_are_said(make):
    root = make("images/a", "images/b", "train.txt:/old/a.png\n./images/b.png")
    assert sorted(found(root)["train"]) == ["a.png", "b.png"]
    text = f"1 of 2 images of train.txt are in another folder than written, first: /old/a.png: {root}/images/a.png"
    assert notes(root)[1] == f"train: {text}"


@pytest.mark.parametrize("other", ["images/b/1.png", "images/B/1.png", "more/images/b/1.png"])
def test_an_image_that_another_line_means_is_not_taken(make, other):
    root = make("images/b/1", "images/b/2", "train.txt:images/a/1.png\nimages/b/2.png", f"val.txt:{other}")
    source = YOLO(root, Options())
    assert source.load("train").ids == ["b/2.png"]
    assert source.load("train").defects.counts == {"image without a file": 1}
    assert source.load("val").ids == ["b/1.png"]


def test_lines_that_fit_one_image_alike_are_refused(make):
    root = make("images/b/1", "images/b/2", "train.txt:x/1.png\ny/1.png\nimages/b/2.png")
    dataset = YOLO(root, Options()).load("train")
    assert dataset.ids == ["b/2.png"]
    assert dataset.defects.counts == {"image without a file": 2}


@pytest.mark.parametrize("file", ["val.txt", "data.yaml"])
@pytest.mark.parametrize(
    ("lines", "problem"),
    [("b.png", "listed name that fits several images"), ("gone.png", "image without a file"), ("7", "image without a")],
)
def test_a_split_none_of_whose_lines_is_found_is_not_lost(make, file, lines, problem):
    texts = ["train.txt:images/1/a.png", f"val.txt:{lines}"]
    if file == "data.yaml":
        texts.append(f"data.yaml:train: train.txt\nval: val.txt\n{YAML}")
    root = make("images/1/a", "images/1/b", "images/2/b", *texts)
    source = YOLO(root, Options())
    assert source.splits == ("train", "validation")
    assert f": validation: none of the 1 lines of val.txt is found, first: {lines} ({problem}" in " ".join(source.notes)
    with pytest.raises(UserError, match=rf"no images, because of defects:\n1 x {problem}.*val\.txt.*: {lines}"):
        source.load("val")
    (root / "train.txt").write_text("lost.png")
    with pytest.raises(UserError, match="has lists of images, but none of their 2 lines is found"):
        YOLO(root, Options())


def test_labels_of_an_image_called_like_a_split_are_no_list(make):
    root = make("images/a", "images/test", "test.txt:0 0.5 0.5 0.25 1e-1\n1 .5 .5 .25 .25 0.9\n")
    assert YOLO(root, Options()).drawn


def test_what_a_yaml_file_says_and_is_not_there(make):
    root = make("images/train/a", "images/test/b", f"data.yaml:train: images/train\nval: images/val\nnc: 2\n{YAML}")
    assert found(root) == {"train": ["train/a.png"], "test": ["test/b.png"]}
    assert notes(root)[1:] == ["nc is 2, but there are 1 names", "validation: images/val does not exist"]


def test_a_validation_split_that_is_the_training_split_is_ignored(make):
    root = make("images/train/a", f"data.yaml:train: images/train\nval: images/train\n{YAML}")
    assert found(root) == {"train": ["train/a.png"]}
    assert notes(root)[1] == "validation has the images of train; it is ignored"


def test_splits_of_lists_may_share_images(make):
    root = make("images/a", "images/b", "train.txt:images/a.png", "test.txt:images/a.png\nimages/b.png")
    assert not YOLO(root, Options()).disjoint
    assert YOLO(root, Options()).overlap("train", "test")


def test_two_folders_of_one_split_are_refused(make):
    with pytest.raises(UserError, match=r"both images/val and images/valid would be the validation split"):
        YOLO(make("images/val/a", "images/valid/b"), Options())


def test_images_outside_of_splits_are_said(make):
    root = make("images/train/a", "images/b")
    assert notes(root)[1] == f"1 images belong to no split and are not used, first: {root}/images/b.png"


def test_what_is_there_is_listed_if_nothing_fits(make, tmp_path):
    root = make("a/x.xml:", "b/y.txt:")
    with pytest.raises(UserError, match=r"(?s)expected images/ and labels/.*it has a/, b/"):
        YOLO(root, Options())
    Image.new("RGB", (20, 10)).save(root / "a/x.png")
    (root / "a").rename(root / "images")
    (root / "b/y.txt").unlink()
    with pytest.raises(UserError, match=r"has 1 images but no label file .*it has b/, images/"):
        YOLO(root, Options())
    with pytest.raises(UserError, match="does not exist"):
        YOLO(tmp_path / "none", Options())


def test_the_current_folder(make, monkeypatch):
    monkeypatch.chdir(make("images/train/a", "images/val/b", "data.yaml:names: [cat]"))
    assert found(".") == {"train": ["train/a.png"], "validation": ["val/b.png"]}
    assert found("data.yaml") == found(".")
    monkeypatch.chdir("images")
    assert found("..") == {"train": ["train/a.png"], "validation": ["val/b.png"]}


@pytest.mark.parametrize("given", ["set", "link", "{}/set", "{}/link", "set/data.yaml"])
@pytest.mark.parametrize("written", ["{}/set", "{}/link", "{}/link/../set"])
@pytest.mark.parametrize("file", ["train.txt", "data.yaml", "data.yaml with lists"])
def test_absolute_paths_in_a_dataset_whose_path_is_relative_or_a_link(
    make, monkeypatch, tmp_path, given, written, file
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("set")
    there = f"{written.format(tmp_path)}/images"
    lists = (f"train.txt:{there}/train/a.png\n{there}/train/b.png", f"more/val.txt:{there}/val/c.png")
    splits = {
        "train.txt": "",
        "data.yaml": f"train: {there}/train\nval: {there}/val\n",
        "data.yaml with lists": f"train: {there}/../train.txt\nval: {there}/../more/val.txt\n",
    }
    make("images/train/a", "images/train/b", "images/val/c", f"data.yaml:{splits[file]}{YAML}")
    make(*{"train.txt": lists[:1], "data.yaml with lists": lists}.get(file, ()))
    (tmp_path / "set/images/train/d.raf").write_bytes(b"")
    source = YOLO(given.format(tmp_path), Options())
    assert source.splits == ("train", "validation")
    train, validation = (source.load(split) for split in source.splits)
    assert (train.ids, validation.ids) == (["train/a.png", "train/b.png"], ["val/c.png"])
    assert train.defects.counts == {"image of a format that cannot be read (.raf)": 1}
    assert len(train.notes) == len(validation.notes) == 1
    assert source.disjoint


def test_a_link_to_a_folder_of_the_dataset_means_that_folder(make, tmp_path):
    root = make("images/a", "images/b", f"train.txt:{tmp_path}/link/a.png", "test.txt:images/b.png")
    (tmp_path / "link").symlink_to("set/images")
    assert found(root) == {"train": ["a.png"], "test": ["b.png"]}


def test_one_image_written_in_two_ways_is_in_two_splits(make, monkeypatch):
    root = make("images/a", "images/b", "train.txt:./images/a.png")
    make(f"test.txt:{root}/images/a.png\n{root}/images/b.png")
    monkeypatch.chdir(root)
    assert not YOLO(".", Options()).disjoint


def test_labels_of_images_that_no_list_names_are_said_and_not_lost(make):
    root = make("images/a", "images/b", "images/c", "labels/orphan.txt:0 0.5 0.5 0.5 0.5", "train.txt:images/a.png")
    dataset = YOLO(root, Options()).load("train")
    assert dataset.ids == ["a.png"]
    assert dataset.defects.counts == {"label without an image of its name": 1}
    assert notes(root)[1:] == [
        f"2 images belong to no split and are not used, first: {root}/images/b.png",
        f"2 label files of images that belong to no split are not used, first: {root}/labels/b.txt",
    ]


def test_an_image_in_the_folder_of_a_split_and_in_another_split_is_used(make):
    root = make("images/a", "images/val/b", f"data.yaml:train: images\nval: images/val\n{YAML}")
    assert list(YOLO(root, Options()).load("train").ids) == ["a.png", "val/b.png"]
    assert len(notes(root)) == 1


def test_labels_beside_some_of_the_images(make):
    root = make("images/train/a", "images/train/b")
    (root / "labels/train/b.txt").rename(root / "images/train/b.txt")
    assert found(root) == {"train": ["train/a.png", "train/b.png"]}
    text = f"label files are beside their images, not in a folder for labels, first: {root}/images/train/b.txt"
    assert f"1 {text}" in notes(root)[-1]


def test_folders_of_a_hundred_thousand_parts_cost_no_square_of_that(make):
    root = make("images/one/a", "images/two/b", f"data.yaml:train: {'a/' * 100_000}images/one\nval: images/two\n{YAML}")
    assert found(root) == {"train": ["one/a.png"], "validation": ["two/b.png"]}
