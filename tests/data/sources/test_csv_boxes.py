"""Objects in CSV files: columns and layouts of other programs, and what is counted as a defect."""

from pathlib import Path

import pytest
from PIL import Image

from tfeff.data.dataset import Dataset
from tfeff.data.sources import catalog
from tfeff.data.sources.csv_boxes import CSVBoxes
from tfeff.data.sources.source import Options
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
    assert not dataset.defects.counts
    assert dataset.encoded(1).startswith(b"\x89PNG")


def test_relative_corners_and_images_without_objects(images: Path) -> None:
    dataset = load(images, "images/a.png,,,,,\nimages/b.png,0.5,0.25,1.0,0.75,dog\n")
    assert [len(each) for each in dataset.objects] == [0, 1]
    assert dataset.objects[1].boxes_yxyx.tolist() == [[10, 30, 30, 60]]
    assert dataset.notes == (f"csv:{images}/boxes.csv: corners are relative to width and height",)


def test_defects_are_counted(images: Path) -> None:
    (images / "text.png").write_text("no image")
    content = (
        HEADER
        + "images/a.png,60,40,dog,x,2,30,20\nimages/a.png,60,40,,1,2,30,20\nimages/a.png,60,40,dog,50,2,90,20\n"
        + "gone.png,60,40,dog,1,2,30,20\ntext.png,60,40,dog,1,2,30,20\n"
    )
    dataset = load(images, content)
    assert dataset.ids == ["images/a.png"]
    assert dataset.defects.counts == {
        "object without a complete box": 1,
        "object without a name": 1,
        "box partly outside": 1,
        "image that does not exist": 1,
        "unreadable image": 1,
    }
    assert dataset.defects.first("object without a complete box") == f"csv:{images}/boxes.csv, line 2"
    assert (dataset.defects.lost("objects"), dataset.defects.lost("images")) == (2, 2)
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
    assert dataset.defects.counts == {"image that does not exist": 1}
