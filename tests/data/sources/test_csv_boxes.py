"""Objects in CSV files: columns and layouts of other programs, and what is counted as a defect."""

import json
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from tfeff.data.dataset import Dataset
from tfeff.data.sources import catalog
from tfeff.data.sources.csv_boxes import CSVBoxes
from tfeff.data.sources.source import Options, Source
from tfeff.errors import UserError

ROWS = "{0},60,40,dog,1,2,30,20\n{1},60,40,cat,10,20,60,40\n{0},60,40,cat,5,6,7,8\n"
HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (60, 40)).save(tmp_path / "images" / name)
    return tmp_path


def load(root: Path, content: str, name: str = "boxes.csv", **options: str) -> Dataset:
    (root / name).write_text(content)
    return catalog.open_objects(f"csv:{root / name}", Options(**options)).load("all")


@pytest.mark.parametrize(
    "content",
    [
        HEADER + ROWS.format("images/a.png", "images/b.png"),
        HEADER + ROWS.format("a.png", "./b.png"),
        HEADER.replace(",", ";") + ROWS.format("images\\a.png", "/elsewhere/b.png").replace(",", ";"),
        "label,x1,y1,x2,y2,path\ndog,1,2,30,20,a.png\ncat,10,20,60,40,b.png\ncat,5,6,7,8,a.png\n",
        "images/a.png,1,2,30,20,dog\nimages/b.png,10,20,60,40,cat\nimages/a.png,5,6,7,8,cat\n",
    ],
)
def test_columns_of_other_programs(images: Path, content: str) -> None:
    dataset = load(images, content)
    assert [Path(each).name for each in dataset.ids] == ["a.png", "b.png"]
    assert dataset.class_names == ("cat", "dog")
    assert dataset.objects[0].boxes_yxyx.tolist() == [[2, 1, 20, 30], [6, 5, 8, 7]]
    assert dataset.objects[0].labels.tolist() == [1, 0]
    assert dataset.objects[1].boxes_yxyx.tolist() == [[20, 10, 40, 60]]
    assert {*dataset.defects.counts} <= {"image found in another folder"}
    assert not dataset.defects.costs
    assert dataset.encoded(1).startswith(b"\x89PNG")


def test_relative_corners_and_images_without_objects(images: Path) -> None:
    dataset = load(images, "images/a.png,,,,,\nimages/b.png,0.5,0.25,1.0,0.75,dog\n")
    assert [len(each) for each in dataset.objects] == [0, 1]
    assert dataset.objects[1].boxes_yxyx.tolist() == [[10, 30, 30, 60]]
    assert dataset.notes == (
        f"csv:{images}/boxes.csv: corners are relative to width and height",
        f"csv:{images}/boxes.csv: 1 images beside the listed ones are in no row and not used: {images}/images/c.png",
    )


def test_another_size_than_that_of_the_image_is_a_defect(images: Path) -> None:
    rows = "images/a.png,30,20,dog,1,2,30,20\nimages/a.png,30,20,dog,4,2,9,9\nimages/b.png,20,10,cat,10,20,30,30\n"
    dataset = load(images, HEADER + rows + "images/c.png,60,40,cat,10,20,30,30\n")
    assert dataset.defects.counts == {"wrong image size": 1}
    first = dataset.defects.first("wrong image size")
    assert first.endswith("line 2: (20, 30) written, (40, 60) in the image's header")


def test_defects_are_counted(images: Path) -> None:
    (images / "images" / "text.png").write_text("no image")
    content = (
        HEADER
        + "images/a.png,60,40,dog,x,2,30,20\nimages/a.png,60,40,,1,2,30,20\nimages/a.png,60,40,dog,50,2,90,20\n"
        + ",60,40,dog,1,2,30,20\ngone.png,60,40,dog,1,2,30,20\nimages/text.png,60,40,dog,1,2,30,20\n"
    )
    dataset = load(images, content)
    assert dataset.ids == ["images/a.png"]
    assert dataset.defects.counts == {
        "object without a complete box": 1,
        "object without a name": 1,
        "box partly outside": 1,
        "row without an image": 1,
        "image without a file": 1,
        "unreadable image": 1,
    }
    assert dataset.defects.first("object without a complete box") == f"csv:{images}/boxes.csv, line 2"
    assert (dataset.defects.lost("objects"), dataset.defects.lost("images")) == (2, 3)
    with pytest.raises(UserError, match="line 2: object without a complete box"):
        load(images, content, on_defect="stop")


def test_splits_of_a_column_of_a_folder_or_drawn(images: Path) -> None:
    for split, name in (("train", "a"), ("valid", "b")):
        (images / split).mkdir()
        (images / "images" / f"{name}.png").rename(images / split / f"{name}.png")
        (images / split / "_annotations.csv").write_text(f"{HEADER}{name}.png,60,40,{split},1,2,30,20\n")
    source = catalog.open_objects(f"csv:{images}")
    assert source.splits == ("train", "validation")
    assert source.load("val").ids == ["valid/b.png"]
    assert source.load("train").class_names == ("train", "valid")
    (images / "all.csv").write_text("set,image,xmin,ymin,xmax,ymax,label\nVal,valid/b.png,1,2,3,4,x\n")
    assert catalog.open_objects(f"csv:{images}/all.csv").splits == ("validation",)
    (images / "all.csv").write_text("valid/b.png,1,2,3,4,x\n")
    assert "drawn with seed 0" in catalog.open_objects(f"csv:{images}/all.csv").load("train").notes[0]


def test_a_list_of_labels_has_no_boxes(images: Path) -> None:
    with pytest.raises(UserError, match="no column xmin or ymin or xmax or ymax among image, label; the first line"):
        load(images, "image,label\nimages/a.png,dog\n")
    assert not catalog.has_objects(f"csv:{images}/boxes.csv")
    load(images, "images/a.png,1,2,3,4,x\n")
    assert catalog.has_objects(f"csv:{images}/boxes.csv")


def test_a_row_with_more_values_than_columns_is_lost(image_folder):
    """As decimal commas make them: all corners would be those of others."""
    folder = image_folder({"cat": 2}, size=(50, 60))
    rows = ["cat/000.png,cat,12,5,7,5,40,5,30,5", "cat/001.png,cat,10,20,30,40"]
    (folder / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows]))
    dataset = CSVBoxes(folder / "boxes.csv", Options()).load("all")
    assert [each.boxes_yxyx.tolist() for each in dataset.objects] == [[], [[20, 10, 40, 30]]]
    assert dataset.defects.counts == {"row with more values than columns": 1}
    assert dataset.defects.lost("objects") == 1


def test_a_quotation_mark_too_much_swallows_no_rows(image_folder):
    folder = image_folder({"cat": 3})
    rows = ['"cat/000.png,cat,1,2,3,4', "cat/001.png,cat,1,2,3,4", 'cat/002.png,cat,1,2,3,"4']
    (folder / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows]))
    with pytest.raises(UserError, match=r"line 2: a value has a line break|not a CSV file"):
        CSVBoxes(folder / "boxes.csv", Options())
    rows[2] = 'cat/002.png,cat,1,2,3",4'
    (folder / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows]))
    with pytest.raises(UserError, match="line 2: a value has a line break"):
        CSVBoxes(folder / "boxes.csv", Options())


def test_a_name_that_is_too_long_for_a_file_is_an_image_that_does_not_exist(image_folder):
    folder = image_folder({"cat": 1}, size=(50, 60))
    rows = [f"{'a' * 5000}.png,cat,1,2,3,4", "cat/000.png,cat,10,20,30,40"]
    (folder / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows]))
    dataset = CSVBoxes(folder / "boxes.csv", Options()).load("all")
    assert dataset.defects.counts == {"image without a file": 1}


SPLITS = "split,image,xmin,ymin,xmax,ymax,label\n"


def split_source(root: Path, rows: str) -> Source:
    (root / "boxes.csv").write_text(SPLITS + rows)
    return catalog.open_objects(f"csv:{root / 'boxes.csv'}")


def test_an_image_without_a_split_is_lost_once(images: Path) -> None:
    rows = "train,images/a.png,1,2,3,4,x\ntest,images/b.png,1,2,3,4,x\n,images/c.png,1,2,3,4,x\n"
    source = split_source(images, rows)
    assert source.splits == ("train", "test")
    for split, name in (("train", "a"), ("test", "b")):
        dataset = source.load(split)
        assert dataset.ids == [f"images/{name}.png"]
        assert dataset.defects.counts == ({"image without a split": 1} if split == "train" else {})
        assert dataset.defects.lost("images") == (split == "train")
    assert source.load("train").defects.first("image without a split") == f"csv:{images}/boxes.csv, line 4"
    assert len(source.load("all")) == 3
    assert not source.load("all").defects.counts


def test_different_names_of_one_split_are_refused(images: Path) -> None:
    rows = "train,images/a.png,1,2,3,4,x\nval2014,images/b.png,1,2,3,4,x\nval2017,images/c.png,1,2,3,4,x\n"
    with pytest.raises(UserError, match="both val2014 and val2017 would be the same split; rename one"):
        split_source(images, rows)


def test_incomplete_lines_of_json_cost_themselves_alone(images: Path) -> None:
    box = {"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 20, "label": "dog"}
    lines = [
        json.dumps({"file_name": "images/a.png"} | box),
        "{broken",
        json.dumps({"file_name": "images/b.png"}),
        json.dumps({"file_name": "images/c.png"} | {key: value for key, value in box.items() if key != "ymax"}),
    ]
    (images / "boxes.jsonl").write_text("\n".join(lines))
    dataset = catalog.open_objects(f"csv:{images}/boxes.jsonl").load("all")
    assert [len(each) for each in dataset.objects] == [1, 0, 0]
    assert dataset.defects.counts == {"row without an image": 1, "object without a complete box": 1}
    (images / "boxes.jsonl").write_text("{broken\n[1]\n")
    with pytest.raises(UserError, match="no images, because of defects:\n2 x row without an image"):
        catalog.open_objects(f"csv:{images}/boxes.jsonl").load("all")


def test_an_image_whose_rows_name_different_splits_is_in_the_first_one(images: Path) -> None:
    rows = "train,images/a.png,1,2,3,4,x\nval,images/b.png,1,2,3,4,x\nval,images/a.png,5,6,7,8,x\n"
    source = split_source(images, rows + ",images/b.png,5,6,7,8,x\n")
    kind, where = "image whose rows name different splits", f"csv:{images}/boxes.csv, line"
    train, validation = source.load("train"), source.load("validation")
    assert (train.ids, validation.ids) == (["images/a.png"], ["images/b.png"])
    assert [len(each.objects[0]) for each in (train, validation)] == [2, 2]
    assert train.defects.counts == {kind: 1}
    assert train.defects.examples[kind] == [f"{where} 2: train, validation; used in train"]
    assert validation.defects.examples[kind] == [
        f"{where} 2: train, validation; used in train",
        f"{where} 3: validation, none; used in validation",
    ]
    assert train.defects.lost("images") == validation.defects.lost("images") == 0


def test_a_file_that_another_row_names_takes_the_place_of_no_missing_one(images: Path) -> None:
    for split in ("train", "val"):
        (images / split).mkdir()
    (images / "images" / "a.png").rename(images / "train" / "7.png")
    (images / "images" / "b.png").rename(images / "val" / "8.png")
    rows = "train,train/7.png,1,2,3,4,x\nval,val/7.png,1,2,3,4,x\nval,val/8.png,1,2,3,4,x\n"
    validation = split_source(images, rows).load("val")
    assert validation.ids == ["val/8.png"]
    assert validation.defects.counts == {"image without a file": 1}
    assert validation.defects.first("image without a file") == f"csv:{images}/boxes.csv, line 3: val/7.png"
    assert validation.defects.lost("images") == 1


def test_an_image_is_found_by_its_name_alone_if_that_is_unique(images: Path) -> None:
    (images / "more").mkdir()
    Image.new("RGB", (60, 40)).save(images / "more" / "b.png")
    for name in ("x/a.png", "b.png", "y/c.png", "z/c.png"):
        (images / "rows.csv").open("a").write(f"{name},1,2,3,4,x\n")
    dataset = catalog.open_objects(f"csv:{images}/rows.csv").load("all")
    assert dataset.ids == ["x/a.png"]
    where = f"csv:{images}/rows.csv, line"
    assert dataset.defects.examples == {
        "image found in another folder": [f"{where} 1: x/a.png; reading images/a.png"],
        "image without a file": [
            f"{where} 2: b.png; it could be images/b.png, more/b.png",
            f"{where} 3: y/c.png",
            f"{where} 4: z/c.png",
        ],
    }
    assert dataset.defects.lost("images") == 3


def test_names_without_the_ending_of_their_file(images: Path) -> None:
    dataset = load(images, "a,1,2,3,4,x\nimages/b,1,2,3,4,x\nd,1,2,3,4,x\n")
    assert dataset.ids == ["a", "images/b"]
    assert dataset.defects.counts == {"image listed without the ending of its file": 2, "image without a file": 1}
    assert dataset.defects.first("image listed without the ending of its file").endswith(
        "line 1: a; reading images/a.png"
    )
    assert dataset.defects.lost("images") == 1


def test_an_image_in_a_split_of_an_unknown_name_is_lost(images: Path) -> None:
    rows = "train,images/a.png,1,2,3,4,x\nval,images/b.png,1,2,3,4,x\nholdout,images/c.png,1,2,3,4,x\n"
    source, kind = split_source(images, rows), "image in a split of an unknown name"
    for split, name in (("train", "a"), ("val", "b")):
        dataset = source.load(split)
        assert dataset.ids == [f"images/{name}.png"]
        assert dataset.defects.counts == ({kind: 1} if split == "train" else {})
        assert dataset.defects.lost("images") == (split == "train")
    where = f'csv:{images}/boxes.csv, line 4: "holdout"; known: train, validation, test, or name it'
    assert source.load("train").defects.first(kind).startswith(where)
    assert source.load("holdout").ids == ["images/c.png"]
    assert not source.load("holdout").defects.counts
    used = catalog.open_objects(source.name, Options(used_splits=("train", "Holdout")))
    assert not used.load("train").defects.counts


def test_a_repeated_object_is_used_once(images: Path) -> None:
    rows = ["images/a.png,1,2,30,20,dog"] * 2 + ["images/a.png,1,2,30,20,cat", "images/b.png,1,2,30,20,dog"]
    dataset = load(images, "\n".join(rows))
    assert [each.labels.tolist() for each in dataset.objects] == [[1, 0], [1]]
    assert dataset.defects.counts == {"repeated object": 1, "object with the box of one of another class": 1}
    assert dataset.defects.first("repeated object").startswith(f"csv:{images}/boxes.csv, line 1, object 2: ")
    assert dataset.defects.lost("objects") == 0


def test_names_in_another_case_or_with_other_accents_are_found(images: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Wäsche Über.png") for form in ("NFC", "NFD"))
    (images / "images/a.png").rename(images / "images" / decomposed)
    dataset = load(images, f"images/{composed},1,2,3,4,x\nimages/B.PNG,1,2,3,4,x\n")
    assert [len(each) for each in dataset.objects] == [1, 1]
    assert not dataset.defects.counts
    assert dataset.read(0).shape == (40, 60, 3)
