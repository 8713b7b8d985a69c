"""CSV files against image folders with the same images; what is refused."""

import csv
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfeff import selection
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

SPLIT_FOLDERS = {"train/bee": 5, "train/ant": 4, "val/bee": 2, "val/ant": 1}


def write(path: Path, rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = ("image", "label")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return f"csv:{path}"


@pytest.fixture
def two_images(image_folder, tmp_path):
    """A folder with a/000.png and b/000.png; the CSV file is to be next to it."""
    image_folder({"a": 1, "b": 1})
    return tmp_path


def test_a_list_of_a_folder_is_that_folder(image_folder, tmp_path):
    root = image_folder(SPLIT_FOLDERS)
    files = sorted(root.rglob("*.png"))
    rows = [(str(path.relative_to(tmp_path)), path.parent.name, path.parts[-3]) for path in files]
    listed = catalog.open_labels(write(tmp_path / "list.csv", rows, ("image", "label", "split")))
    folder = catalog.open_labels(f"folder:{root}")
    assert listed.splits == ("train", "val")
    assert not listed.drawn
    for split in ("train", "validation", "all"):
        ours, theirs = listed.load(split), folder.load(split)
        assert ours.class_names == theirs.class_names == ("ant", "bee")
        assert list(ours.ids) == list(theirs.ids)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        for index in range(len(ours)):
            np.testing.assert_array_equal(ours.read(index), theirs.read(index))
        assert ours.fingerprint == theirs.fingerprint


def test_without_a_column_of_splits_they_are_drawn_as_from_a_folder(image_folder, tmp_path):
    root = image_folder({"a": 20, "b": 40})
    rows = [(str(path.relative_to(tmp_path)), path.parent.name) for path in sorted(root.rglob("*.png"))]
    name = write(tmp_path / "list.csv", rows)
    listed, folder = (catalog.open_labels(each, Options(seed=5)) for each in (name, f"folder:{root}"))
    assert listed.drawn
    assert listed.splits == folder.splits
    for split in folder.splits:
        assert list(listed.load(split).ids) == list(folder.load(split).ids)
    other = catalog.open_labels(name, Options(seed=6))
    assert list(other.load("test").ids) != list(listed.load("test").ids)


def test_rows_keep_their_order_and_further_columns_are_ignored(two_images):
    rows = [("zebra, black", "images/b/000.png", "x"), ("ärger", f"{two_images}/images/a/000.png", "y")]
    name = write(two_images / "list.csv", rows, ("\ufefflabel", "image", "photographer"))
    found = catalog.open_labels(name).load("all")
    assert found.class_names == ("zebra, black", "ärger")
    assert found.labels.tolist() == [0, 1]
    assert [path[-9:] for path in found.ids] == ["b/000.png", "a/000.png"]


def test_a_changed_label_changes_what_a_run_remembers(two_images):
    first, second = "images/a/000.png", "images/b/000.png"
    records = []
    for labels in ("xy", "yx"):
        name = write(two_images / "list.csv", zip((first, second), labels, strict=True))
        records.append(selection.fingerprint.Fingerprint.of({"train": catalog.open_labels(name).load("all")}))
    assert records[0].changes(records[1]) == [
        f"labels or boxes of 2 images of train changed: {two_images}/{first}, {two_images}/{second}"
    ]


A, B = "images/a/000.png", "images/b/000.png"


def test_names_without_the_ending_of_their_file(image_folder, tmp_path):
    root = image_folder({"a": 3, "b": 1})
    (root / "b/000.png").rename(root / "b/7.png")
    rows = [("images/a/001", "x"), ("7", "y"), ("images/a/000", "x"), ("002.jpg", "x")]
    found = catalog.open_labels(write(tmp_path / "list.csv", rows)).load("all")
    assert list(found.ids) == [f"{root}/a/001.png", f"{root}/b/7.png", f"{root}/a/000.png"]
    assert found.defects.counts == {"image listed without the ending of its file": 3, "image without a file": 1}
    assert found.defects.lost("images") == 1


def test_images_beside_the_listed_ones_are_said(image_folder, tmp_path):
    root = image_folder({"a": 3, "b": 2, "c": 1})
    name = write(tmp_path / "list.csv", [(A, "a"), (B, "b"), ("images/a/002.png", "a")])
    assert catalog.open_labels(name).load("all").notes == (
        f"{name}: 2 images beside the listed ones are in no row and not used: {root}/a/001.png, {root}/b/001.png",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column image or label among none"),
        (f"{A},a\n{B},b\n", "no column image or label among images/a/000.png, a"),
        ("photo;label\n", "no column image among photo, label"),
        ("image,label\n", "no images"),
        (f"image,label,split\n{A},a,train\n{B},b,test\n", 'no image of the split train has the label "b"'),
        (f"image,label,split\n{A},a,val\n{B},b,valid\n", "both val and valid"),
        (f"image,label,split\n{A},a,all\n{B},b,test\n", 'a split "all"'),
    ],
)
def test_what_is_refused(two_images, content, message):
    path = two_images / "list.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=message):
        catalog.open_labels(f"csv:{path}")


def test_a_row_with_zero_bytes_is_lost_alone(two_images):
    (two_images / "list.csv").write_bytes(f"image,label\n{A},a\n\0,\xff\n{B},b\n".encode("latin-1"))
    images = catalog.open_labels(f"csv:{two_images}/list.csv").load("all")
    assert len(images) == 2
    assert images.defects.counts == {"row with zero bytes": 1}


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"list\.csv does not exist"):
        catalog.open_labels(f"csv:{tmp_path}/list.csv")
    (tmp_path / "other.csv").write_text("")
    with pytest.raises(UserError, match=r"the folder has no CSV file of a split.*: it has 1 x \.csv"):
        catalog.open_labels(f"csv:{tmp_path}")


def test_invalid_fractions_are_refused(two_images):
    name = write(two_images / "list.csv", [(A, "a"), (B, "b")])
    with pytest.raises(UserError, match="fractions"):
        catalog.open_labels(name, Options(fractions={"train": 2.0}))


@pytest.mark.parametrize("header", ["filename;class", "Path\tCategory", "image,class,name"])
def test_columns_and_separators_of_other_programs(two_images, header):
    delimiter = next(each for each in ";\t," if each in header)
    width = header.count(delimiter) + 1
    rows = "".join(f"{delimiter.join((*each, 'x')[:width])}\n" for each in ((A, "zoe"), (B, "amy")))
    (two_images / "list.csv").write_text(f"{header}\r\n{rows}\n")
    found = catalog.open_labels(f"csv:{two_images}/list.csv").load("all")
    assert found.class_names == ("amy", "zoe")
    assert found.labels.tolist() == [1, 0]


def test_a_folder_has_a_file_for_each_split(two_images):
    for split, path in (("train", A), ("valid", B)):
        (two_images / f"{split}_labels.csv").write_text(f"image,label\n{path},a\n")
    source = catalog.open_labels(f"csv:{two_images}")
    assert source.splits == ("train", "validation")
    assert [path[-9:] for path in source.load("val").ids] == ["b/000.png"]


def test_values_with_commas_are_quoted(two_images):
    (two_images / "list.csv").write_text(f'image,label\n{A},"b,c",,\n')
    assert catalog.open_labels(f"csv:{two_images}/list.csv").load("all").class_names == ("b,c",)


@pytest.mark.parametrize(
    ("row", "kind", "where"),
    [
        ("images/a/001.png", "image without a label", "line 3: {0}/images/a/001.png"),
        (",b", "row without an image", "line 3"),
        ("images/a/002.png,b", "image without a file", "line 3: {0}/images/a/002.png"),
        ("images/a/001.png,b,c", "row with more values than columns", "line 3: {0}/images/a/001.png"),
        (
            "images/a/001.png,a\nimages/b/../a/001.png,b",
            "image with different labels",
            "line 3 (a) and csv:{0}/list.csv, line 4 (b): {0}/images/a/001.png",
        ),
    ],
)
def test_a_row_that_cannot_be_used_loses_its_image_alone(image_folder, tmp_path, row, kind, where):
    image_folder({"a": 2, "b": 1})
    (tmp_path / "list.csv").write_text(f"image,label\n{A},a\n{row}\n{B},b\n")
    dataset = catalog.open_labels(f"csv:{tmp_path}/list.csv").load("all")
    assert [path[-9:] for path in dataset.ids] == ["a/000.png", "b/000.png"]
    assert dataset.labels.tolist() == [0, 1]
    assert dataset.class_names == ("a", "b")
    assert dataset.defects.counts == {kind: 1}
    assert dataset.defects.first(kind) == f"csv:{tmp_path}/list.csv, {where.format(tmp_path)}"
    assert dataset.defects.lost("images") == 1
    with pytest.raises(UserError, match=f"line 3.*{kind}"):
        catalog.open_labels(f"csv:{tmp_path}/list.csv", Options(on_defect="stop")).load("all")


def test_a_repeated_row_costs_nothing(two_images):
    (two_images / "list.csv").write_text(f"image,label\n{A},a\nimages/b/../a/000.png,a\n{B},b\n")
    dataset = catalog.open_labels(f"csv:{two_images}/list.csv").load("all")
    assert dataset.labels.tolist() == [0, 1]
    assert dataset.defects.counts == {"image listed twice": 1}
    assert dataset.defects.lost("images") == 0


def test_rows_without_a_split_or_with_different_ones_are_counted(image_folder, tmp_path):
    image_folder({"a": 3, "b": 1})
    rows = [(A, "a", "train"), (B, "b", "train"), (A, "a", "val"), ("images/a/001.png", "a", "")]
    name = write(tmp_path / "list.csv", [*rows, ("images/a/002.png", "a", "val")], ("image", "label", "split"))
    train, validation, whole = (catalog.open_labels(name).load(split) for split in ("train", "val", "all"))
    assert [[path[-9:] for path in each.ids] for each in (train, validation)] == [
        ["a/000.png", "b/000.png"],
        ["a/002.png"],
    ]
    different = {"image whose rows name different splits": [f"{name}, line 2: train, val; used in train"]}
    assert train.defects.examples == different | {"image without a split": [f"{name}, line 5"]}
    assert validation.defects.examples == different
    assert [each.defects.lost("images") for each in (train, validation)] == [1, 0]  # lost once
    assert len(whole) == 4
    assert not whole.defects.counts


def test_images_that_cannot_be_used_do_not_move_others_to_other_drawn_splits(image_folder, tmp_path):
    root = image_folder({"a": 20, "b": 20})
    name = write(tmp_path / "list.csv", [(str(p.relative_to(tmp_path)), p.parent.name) for p in root.rglob("*.png")])
    before = {split: list(catalog.open_labels(name).load(split).ids) for split in ("train", "validation", "test")}
    lost = before["train"][3]
    Path(lost).unlink()
    after = {split: catalog.open_labels(name).load(split) for split in before}
    assert {split: list(each.ids) for split, each in after.items()} == {
        split: [path for path in ids if path != lost] for split, ids in before.items()
    }
    assert [each.defects.lost("images") for each in after.values()] == [1, 0, 0]


def test_a_list_without_a_usable_image_says_why(two_images):
    name = write(two_images / "list.csv", [("gone.png", "a")])
    with pytest.raises(
        UserError, match=rf"no images, because of defects:\n1 x image without a file.*{two_images}/gone"
    ):
        catalog.open_labels(name).load("train")


def test_images_in_splits_of_unknown_names_are_lost(image_folder, tmp_path):
    image_folder({"a": 3, "b": 1})
    rows = [(A, "a", "Training"), (B, "b", "Training"), ("images/a/001.png", "a", "PublicTest")]
    name = write(tmp_path / "list.csv", [*rows, ("images/a/002.png", "a", "Testing")], ("image", "label", "split"))
    for split, count in (("train", 2), ("test", 1)):
        dataset = catalog.open_labels(name).load(split)
        assert len(dataset) == count
        assert dataset.defects.lost("images") == (split == "train")  # once
        if split == "train":
            assert dataset.defects.counts == {"image in a split of an unknown name": 1}
            assert '"PublicTest"; known: train, validation, test' in dataset.defects.text()
    used = catalog.open_labels(name, Options(used_splits=("PublicTest",)))
    assert not used.load("train").defects.counts


def test_names_in_another_case_or_with_other_accents_or_separators_are_found(image_folder, tmp_path):
    root = image_folder({"a": 2, "b": 2})
    composed, decomposed = (unicodedata.normalize(form, "Wäsche Über.png") for form in ("NFC", "NFD"))
    (root / "a/000.png").rename(root / f"a/{decomposed}")
    rows = [(f"images/a/{composed}", "a"), ("images\\a\\001.png", "a"), ("images/B/000.PNG", "b")]
    name = write(tmp_path / "list.csv", [*rows, ("images/b/001.png", "b"), ("images/b/001.PNG", "b")])
    dataset = catalog.open_labels(name).load("all")
    assert [str(Path(path).relative_to(root)) for path in dataset.ids] == [
        *(f"a/{decomposed}", "a/001.png", "b/000.png", "b/001.png"),
    ]
    assert dataset.defects.counts == {"image without a file": 1}  # a file that another row names


def splits_of_tables(folder, name, lines):
    """Returns a folder with the splits `train` and `valid`, with the same table in each."""
    for split in ("train", "valid"):
        (folder / split).mkdir()
        for number in range(5):
            Image.new("RGB", (8, 8)).save(folder / split / f"{number}.png")
        (folder / split / name).write_text("\n".join(lines) + "\n")
    return catalog.open_labels(f"csv:{folder}")


def test_a_column_for_each_class_is_read(tmp_path):
    lines = (
        "filename, dog, cat, none",
        "0.png, 0, 1, 0",
        "1.png, 1, 0, 0",
        "2.png, 1, 1, 0",
        "3.png, 0, 0, 0",
        "4.png, 1",
    )
    images = splits_of_tables(tmp_path, "_classes.csv", lines).load("train")
    assert images.ids == [f"{tmp_path}/train/{number}.png" for number in (0, 1, 4)]
    assert [images.class_names[label] for label in images.labels] == ["cat", "dog", "dog"]
    assert images.defects.counts == {"image with several labels": 1, "image without a label": 1}
    assert images.defects.lost("images") == 2
    assert "train/_classes.csv, line 4" in images.defects.first("image with several labels")


@pytest.mark.parametrize(
    "classes",
    [
        ("left", "right", "up", "down"),
        ("left", "right"),
        ("label", "other"),
        ("class", "image", "split", "set", "width", "height"),
        ("top", "bottom", "left", "right", "name"),
    ],
)
def test_classes_may_be_called_like_other_columns(tmp_path, classes):
    rows = [[f"{number}.png", *("01"[number == place] for place in range(len(classes)))] for number in range(5)]
    lines = [", ".join(cells) for cells in (("filename", *classes), *rows)]
    source = splits_of_tables(tmp_path, "_classes.csv", lines)
    images, used = source.load("train"), classes[:5]
    assert source.splits == ("train", "validation")
    assert [images.class_names[label] for label in images.labels] == list(used)
    assert images.defects.lost("images") == 5 - len(used)


def test_lines_of_json_are_read(tmp_path):
    lines = (
        '{"file_name": "0.png", "label": "cat", "text": "a, b"}',
        '{"label": ["dog"], "file_name": "1.png"}',
        "",
        '{"file_name": "2.png", "label": ["dog", "cat"]}',
        '{"file_name": "3.png", "label": null}',
        '{"file_name": "4.png", ',
        '{"file_name": "4.png", "label": 7}',
        "[1]",
    )
    images = splits_of_tables(tmp_path, "metadata.jsonl", lines).load("validation")
    assert [(path[-5:], images.class_names[label]) for path, label in zip(images.ids, images.labels, strict=True)] == [
        ("0.png", "cat"),
        ("1.png", "dog"),
        ("4.png", "7"),
    ]
    assert images.defects.counts == {
        "image with several labels": 1,
        "image without a label": 1,
        "line that is not an object of JSON": 2,
    }
    assert images.defects.lost("images") == 4


def test_lines_of_json_without_labels_are_refused(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a"}\n')
    with pytest.raises(UserError, match="no column label among file_name, text; labels are read from lines such as"):
        catalog.open_labels(f"csv:{tmp_path}/metadata.jsonl")
    with pytest.raises(UserError, match="no column xmin or ymin or xmax or ymax or label among"):
        catalog.open_objects(f"csv:{tmp_path}/metadata.jsonl")
