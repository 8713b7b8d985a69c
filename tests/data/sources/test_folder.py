import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets
from PIL import Image

from tfeff.data.dataset import NoImagesError
from tfeff.data.sources import catalog
from tfeff.data.sources.folder import Folder
from tfeff.data.sources.source import Options
from tfeff.errors import UserError


def test_classes_and_files_are_sorted_by_name(image_folder):
    root = image_folder({"train/cat": 3, "train/ant": 2, "test/cat": 1, "test/ant": 1})
    source = Folder(root, Options()).load("train")
    assert source.class_names == ("ant", "cat")
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1, 1])
    assert [path[-11:] for path in source.ids] == [
        f"{c}/{i:03}.png" for c, i in zip(["ant"] * 2 + ["cat"] * 3, [0, 1, 0, 1, 2], strict=True)
    ]
    for i, path in enumerate(source.ids):
        np.testing.assert_array_equal(source.read(tf.constant(i, tf.int64)), np.asarray(Image.open(path)))


def test_it_reads_what_tfds_reads_as_an_image_folder(image_folder):
    root = image_folder({"train/cat": 3, "train/ant": 2, "test/cat": 1, "test/ant": 1})
    other = tensorflow_datasets.ImageFolder(str(root))
    assert {*Folder(root, Options()).splits} == {*other.info.splits}
    for split in other.info.splits:
        ours, names = Folder(root, Options()).load(split), other.info.features["label"].names
        theirs = {
            example["image/filename"].decode(): names[example["label"]]
            for example in other.as_dataset(split).as_numpy_iterator()
        }
        assert {name: ours.class_names[label] for name, label in zip(ours.ids, ours.labels, strict=True)} == theirs


def test_other_files_are_noted_and_formats_that_cannot_be_read_are_defects(image_folder):
    root = image_folder({"a": 2, "b": 2})
    for name in (".hidden.png", "notes.txt", "Thumbs.db", "photo.raf"):
        (root / "a" / name).write_text("x")
    (root / "a" / "000.png").rename(root / "a" / "000.PNG")
    (root / ".git").mkdir()
    Image.new("RGB", (5, 5)).save(root / "lonely.png")
    source = Folder(root, Options()).load("all")
    assert [Path(path).relative_to(root).as_posix() for path in source.ids] == [
        "a/000.PNG",
        "a/001.png",
        "b/000.png",
        "b/001.png",
    ]
    assert source.defects.counts == {"image of a format that cannot be read (.raf)": 1}
    assert source.defects.lost("images") == 1
    assert source.notes == (
        f"{root}: ignored 1 entries that are not images (.txt: 1, such as a/notes.txt)",
        f"{root}: ignored 1 images outside of class folders, such as lonely.png",
    )
    with pytest.raises(UserError, match=r"photo\.raf: image of a format"):
        Folder(root, Options(on_defect="stop")).load("all")


def test_a_split_counts_the_defects_that_are_drawn_for_it(image_folder):
    root = image_folder({"a": 20, "b": 20})
    for number in range(10):
        (root / "a" / f"{number:03}.png").rename(root / "a" / f"{number:03}.raf")
    parts = [Folder(root, Options()).load(split) for split in ("train", "validation", "test")]
    assert [len(part) + part.defects.lost("images") for part in parts] == [32, 4, 4]
    assert sum(part.defects.lost("images") for part in parts) == 10


def test_images_in_subfolders_belong_to_the_class(image_folder):
    root = image_folder({"a": 1, "a/more": 2, "b": 2})
    (root / "b" / "linked").symlink_to(root / "a" / "more")
    source = Folder(root, Options()).load("all")
    assert source.class_names == ("a", "b")
    assert source.class_counts().tolist() == [3, 2]
    assert "2 images are in subfolders of class folders, such as a/more/000.png" in source.notes[-1]


@pytest.mark.parametrize("split", ["train", "test"])
def test_class_folders_that_are_links_to_others_are_refused(image_folder, split):
    root = image_folder({"train/a": 2, "train/b": 2, "test/a": 2})
    if split == "train":
        (root / "train" / "c").symlink_to(root / "train" / "a")
    else:
        (root / "test" / "b").symlink_to(root / "test" / "a")
    name = "c" if split == "train" else "b"
    with pytest.raises(UserError, match=rf'/{split}: the class folder "{name}" is the same as another one, by a link'):
        Folder(root, Options()).load(split)


def test_a_slash_at_the_end_is_not_said(image_folder):
    root = image_folder({"train/a": 1, "train/b": 1})
    assert not Folder(f"{root}/", Options()).notes


def test_the_only_folder_in_an_archive_is_read(image_folder):
    root = image_folder({"pets-master/data/train/cat": 2, "pets-master/data/train/dog": 2})
    (root / "__MACOSX").mkdir()
    (root / "pets-master" / "README.md").write_text("x")
    source = Folder(root, Options())
    assert source.splits == ("train",)
    assert source.load("train").class_names == ("cat", "dog")
    assert source.load("train").notes[0] == f"folder:{root}: reading {root}/pets-master/data"


def test_drawn_splits_and_folders_that_are_no_splits_are_said(image_folder):
    root = image_folder({"a": 20, "b": 20})
    assert Folder(root, Options(seed=3)).load("train").notes == (
        f"folder:{root}: has no splits of its own; drawn with seed 3: train 80 %, validation 10 %, test 10 %",
    )
    root = image_folder({"pets/Train/a": 2, "pets/Train/b": 2, "pets/extra/a": 1}) / "pets"
    assert Folder(root, Options()).splits == ("train",)
    assert Folder(root, Options()).load("train").notes == (f"{root}: ignored folders that are not splits: extra",)


def test_a_class_whose_name_is_not_text_is_refused(image_folder):
    root = image_folder({"a": 2, "b": 2})
    for name, message in ((b"caf\xe9", r"caf\\xe9"), (b"a\nb", r'"a\\nb" contains a line break'), (b" ", "is empty")):
        os.rename(os.fsencode(root / "b"), os.fsencode(root) + b"/" + name)
        with pytest.raises(UserError, match=message):
            Folder(root, Options()).load("all")
        os.rename(os.fsencode(root) + b"/" + name, os.fsencode(root / "b"))


def test_splits_are_drawn_from_a_folder_without_splits(image_folder):
    root = image_folder({"a": 20, "b": 40})
    assert Folder(root, Options()).splits == ("train", "validation", "test")
    parts = {split: Folder(root, Options(seed=5)).load(split) for split in Folder(root, Options()).splits}
    assert {split: list(part.class_counts()) for split, part in parts.items()} == {
        "train": [16, 32],
        "validation": [2, 4],
        "test": [2, 4],
    }
    assert len({path for part in parts.values() for path in part.ids}) == 60
    assert parts["test"].ids == Folder(root, Options(seed=5)).load("test").ids
    assert parts["test"].ids != Folder(root, Options(seed=6)).load("test").ids
    assert Folder(root, Options(fractions={"train": 0.7, "rest": 0.3})).splits == ("train", "rest")


def test_a_class_called_test_is_not_a_split(image_folder):
    root = image_folder({"test": 2, "train": 2, "toast": 2})
    source = Folder(root, Options(fractions={"train": 1.0})).load("train")
    assert source.class_names == ("test", "toast", "train")


def test_the_fingerprint_follows_the_files(image_folder):
    root = image_folder({"train/a": 2, "train/b": 2})
    before = Folder(root, Options()).load("train").fingerprint
    assert Folder(root, Options()).load("train").fingerprint == before
    assert Folder(root, Options(channels=1)).load("train").fingerprint != before
    assert Folder(root, Options()).load("train").take(np.array([0, 1, 2])).fingerprint != before
    Image.new("RGB", (5, 5)).save(root / "train/a/000.png")
    assert Folder(root, Options()).load("train").fingerprint != before


@pytest.mark.parametrize(
    ("counts", "extra", "message"),
    [
        ({}, "lonely.png", "has no class folders"),
        ({"train/a": 2}, "train/b/notes.txt", 'class "b" has no images that can be read: it has 1 x .txt'),
        ({"train/bees": 1, "train/ants": 1, "test/ants": 1, "test/bee": 1}, None, 'class "bee" .* did you mean "bees"'),
        ({"val/a": 1, "validation/a": 1}, None, "both val and validation"),
        ({"test/a": 1}, None, 'no split "train"; known: all, test'),
    ],
)
def test_errors_of_folders(image_folder, tmp_path, counts, extra, message):
    root = image_folder(counts)
    if extra:
        (tmp_path / "images" / extra).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / extra).write_text("x")
    with pytest.raises(UserError, match=message):
        Folder(root, Options()).load("train")


def test_splits_besides_the_training_split_may_lack_classes(image_folder):
    root = image_folder({"train/a": 2, "train/b": 2, "test/b": 1})
    (root / "test" / "a").mkdir()
    test = Folder(root, Options()).load("test")
    assert (test.class_names, test.labels.tolist()) == (("a", "b"), [1])
    assert not test.notes


def test_longer_names_of_splits_and_repeated_folders(image_folder):
    root = image_folder(
        {
            "seg_train/seg_train/sea": 2,
            "seg_train/seg_train/ice": 1,
            "seg_test/seg_test/sea": 1,
            "seg_test/seg_test/ice": 1,
            "seg_pred/seg_pred": 3,
        }
    )
    source = Folder(root, Options())
    assert source.splits == ("train", "test")
    assert source.load("train").class_counts().tolist() == [1, 2]
    assert source.load("test").notes == (
        f"folder:{root}: reading {root}/seg_train/seg_train as the split train",
        f"folder:{root}: reading {root}/seg_test/seg_test as the split test",
        f"{root}: ignored folders that are not splits: seg_pred",
    )
    root = image_folder({"pets/train/train/cat": 1, "pets/train/train/dog": 1}) / "pets"
    assert Folder(root, Options()).load("train").class_names == ("cat", "dog")


def test_a_class_with_a_word_such_as_train_is_not_a_split(image_folder):
    root = image_folder({"train_station/in": 2, "train_station/out": 2, "train_yard/day": 1, "airport": 2})
    assert Folder(root, Options()).load("all").class_names == ("airport", "train_station", "train_yard")


def test_folders_of_splits_or_classes_within_those_of_classes_are_refused(image_folder):
    root = image_folder({f"one/{name}/{split}": 2 for name in ("cat", "dog") for split in ("train", "val")})
    with pytest.raises(UserError, match=r"splits are inside of the classes \(cat/ has train, val\).*move cat/train to"):
        Folder(root / "one", Options()).load("all")
    root = image_folder({f"two/{kind}/{name}": 2 for kind in ("images", "masks") for name in ("cat", "dog")})
    with pytest.raises(UserError, match=r"images, masks have the same folders \(cat, dog\).*folder:\S*/two/images;"):
        Folder(root / "two", Options()).load("train")
    root = image_folder({f"three/{split}/{kind}/{n}": 2 for split in ("train", "test") for kind in "ab" for n in "xy"})
    with pytest.raises(UserError, match="a, b have the same folders"):
        Folder(root / "three", Options()).load("train")


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is not a folder"):
        Folder(tmp_path / "file", Options())


@pytest.mark.parametrize("fractions", [{"train": 0.9, "test": 0.2}, {"train": 0.0, "test": 0.5}, {"train": -1.0}])
def test_invalid_fractions_are_refused(image_folder, fractions):
    with pytest.raises(UserError, match="fractions"):
        Folder(image_folder({"a": 5}), Options(fractions=fractions)).load("train")


@pytest.mark.parametrize(
    ("table", "content", "advice"),
    [
        ("metadata.csv", "file_name,label\n000.png,a\n", "{0}/train/metadata.csv lists the images: use csv:{0}"),
        (
            "metadata.jsonl",
            '{"file_name": "000.png", "label": "a"}\n',
            "{0}/train/metadata.jsonl lists the images: use csv:{0}",
        ),
        ("metadata.jsonl", "{}", "{0}/train/metadata.jsonl has no column image and label: write the columns image and"),
        ("_classes.csv", "filename, a, b\n000.png, 1, 0\n", "{0}/train/_classes.csv lists the images: use csv:{0}"),
        (
            "_classes.csv",
            "filename, left, right\n000.png, 1, 0\n",
            "{0}/train/_classes.csv lists the images: use csv:{0}",
        ),
        (
            "_classes.csv",
            "filename, image, name\n000.png, 1, 0\n",
            "{0}/train/_classes.csv lists the images: use csv:{0}",
        ),
        ("names.csv", "filename, a, b\n", "{0}/train/names.csv has no column label: write the columns image and"),
    ],
)
def test_tables_of_labels_beside_images_are_named(image_folder, table, content, advice):
    root = image_folder({"train": 2, "test": 2})
    for split in ("train", "test"):
        (root / split / table).write_text(content)
    with pytest.raises(UserError) as error:
        Folder(root, Options())
    assert f"{root}/test has no class folders" in str(error.value)
    assert advice.format(root).replace("/train/", "/test/") in str(error.value)
    with pytest.raises(UserError, match=f"has no class folders.*{table}.*use csv:{root}/train/{table}$"):
        Folder(root / "train", Options())
    if "lists the images" in advice:
        assert len(catalog.open_labels(f"csv:{root}").load("train")) == 1


def test_classes_of_one_image_cannot_be_drawn_into_splits(image_folder):
    root = image_folder({"a": 1, "b": 1, "c": 1})
    with pytest.raises(NoImagesError, match="/validation: no images: each of its 3 classes has one image, too few"):
        Folder(root, Options()).load("validation")
