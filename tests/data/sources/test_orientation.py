"""Boxes that were drawn on an image before its EXIF orientation was applied are the same from every format."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options

STORED = (100, 200)


def photograph():
    """Returns a JPEG that is stored as 100 rows of 200 pixels, and shown with 200 rows of 100."""
    content, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", STORED[::-1]).save(content, "JPEG", exif=exif)
    return content.getvalue()


def coco(root, corners, size):
    left, top, right, bottom = corners
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [left, top, right - left, bottom - top]}
    images = [{"id": 1, "file_name": "a.jpg", "height": size[0], "width": size[1]}]
    content = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "dog"}]}
    (root / "a.json").write_text(json.dumps(content))
    return f"coco:{root}"


def voc(root, corners, size):
    sides = "".join(f"<{name}>{value}</{name}>" for name, value in zip(("height", "width"), size, strict=True))
    names = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, corners, strict=True))
    text = f"<size>{sides}</size><object><name>dog</name><bndbox>{box}</bndbox></object>"
    (root / "a.xml").write_text(f"<annotation>{text}</annotation>")
    return f"voc:{root}"


def csv(root, corners, size):
    values = ",".join(map(str, corners))
    header = "filename,height,width,class,xmin,ymin,xmax,ymax"
    (root / "a.csv").write_text(f"{header}\na.jpg,{size[0]},{size[1]},dog,{values}\n")
    return f"csv:{root / 'a.csv'}"


def hub(root, corners, size):
    objects = {"bbox": [list(corners)], "category": ["dog"]}
    image = {"bytes": (root / "a.jpg").read_bytes(), "path": None}
    rows = pa.Table.from_pylist([{"image": image, "height": size[0], "width": size[1], "objects": objects}])
    pq.write_table(rows, root / "a.parquet")
    return f"hf:{root / 'a.parquet'}"


def loaded(tmp_path, write, corners, size):
    (tmp_path / "a.jpg").write_bytes(photograph())
    return catalog.open_objects(write(tmp_path, corners, size), Options()).load("all")


@pytest.mark.parametrize("write", [coco, voc, csv, hub])
@pytest.mark.parametrize(
    ("size", "box"), [(STORED, [120, 50, 160, 90]), (STORED[::-1], [20, 60, 100, 80])], ids=["stored", "upright"]
)
def test_relative_boxes_belong_to_the_size_that_is_written(tmp_path, write, size, box):
    dataset = loaded(tmp_path, write, (0.6, 0.1, 0.8, 0.5), size)
    assert dataset.objects[0].boxes_yxyx.tolist() == [box]


def test_the_form_of_boxes_in_tables_is_that_which_fits_the_image_as_stored(tmp_path):
    dataset = loaded(tmp_path, hub, (110, 10, 190, 50), STORED)
    assert dataset.objects[0].boxes_yxyx.tolist() == [[110, 50, 190, 90]]
    assert "read as corners" in dataset.notes[-1]
