import json

import pytest
from PIL import Image

from tfeff.data.sources.coco import COCO
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

CONTENT = {
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}],
    "categories": [{"id": 90, "name": "owl"}, {"id": 2, "name": "cat"}],
    "annotations": [
        {"image_id": 3, "bbox": [10, 20, 30, 40], "category_id": 90, "iscrowd": 1},
        {"image_id": 7, "bbox": [0, 0, 5.5, 2], "category_id": 2},
    ],
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "coco/annotations").mkdir(parents=True)
    (tmp_path / "coco/tiny").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (100, 80)).save(tmp_path / f"coco/tiny/{name}.png")
    save(tmp_path / "coco", CONTENT)
    return tmp_path / "coco"


def save(root, content):
    (root / "annotations/instances_tiny.json").write_text(json.dumps(content))


def test_boxes_classes_and_crowds(root):
    source = COCO(root, Options()).load("tiny")
    assert source.ids == ["a.png", "b.png"]
    assert source.class_names == ("cat", "owl")
    assert source.objects[0].boxes_yxyx.tolist() == [[0, 0, 2, 5.5]]
    assert source.objects[1].boxes_yxyx.tolist() == [[20, 10, 60, 40]]
    assert source.objects[1].labels.tolist() == [1]
    assert source.objects[1].crowd.tolist() == [True]
    assert not source.defects.counts


def test_images_may_be_in_one_folder_or_in_one_per_split(root):
    for place in ("images/tiny", "images"):
        (root / place).parent.mkdir(exist_ok=True)
        (root / ("tiny" if place == "images/tiny" else "images/tiny")).rename(root / "moved")
        if place == "images":
            (root / "images").rmdir()
        (root / "moved").rename(root / place)
        source = COCO(root, Options()).load("tiny")
        assert source.ids == ["a.png", "b.png"]
        assert not source.defects.counts


def test_defects_are_counted(root):
    extra = [
        {"image_id": 99, "bbox": [0, 0, 1, 1], "category_id": 2},
        {"image_id": 7, "bbox": [0, 0, 1], "category_id": 2},
        {"image_id": 7, "bbox": [0, 0, 1, 1], "category_id": 5},
        {"image_id": 7, "bbox": [0, 0, -1, 1], "category_id": 2},
        "text",
        {"image_id": [7], "bbox": [0, 0, 1, 1], "category_id": 2},
    ]
    images = [*CONTENT["images"], {"id": 8, "file_name": "../x.png"}, {"id": 9, "file_name": "gone.png"}]
    save(root, CONTENT | {"annotations": CONTENT["annotations"] + extra, "images": images})
    source = COCO(root, Options()).load("tiny")
    assert source.defects.counts == {
        "object without an image": 3,
        "object without a box or a class": 1,
        "class without a name": 1,
        "swapped corners": 1,
        "box outside the image": 1,
        "name that leaves the folder": 1,
        "image without a file": 1,
    }
    assert source.ids == ["a.png", "b.png"]


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}', '{"images": 3, "categories": [], "annotations": []}'])
def test_invalid_annotation_files_are_refused(root, text):
    (root / "annotations/instances_tiny.json").write_text(text)
    with pytest.raises(UserError, match=r"instances_tiny\.json"):
        COCO(root, Options()).load("tiny")


def test_folders_without_coco_annotations_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        COCO(tmp_path / "nothing", Options())


def test_an_invalid_row_drops_only_itself(root):
    categories = [
        {"id": float("inf"), "name": "x"},
        "text",
        {"id": 5},
        *CONTENT["categories"],
        {"id": 2, "name": "dog"},
    ]
    images = [{"id": 1}, None, *CONTENT["images"], {"id": 12, "file_name": "a.png"}, {"id": 7, "file_name": "b.png"}]
    save(root, CONTENT | {"categories": categories, "images": images})
    source = COCO(root, Options()).load("tiny")
    assert source.class_names == ("cat", "owl")
    assert source.ids == ["a.png", "b.png"]
    assert [len(objects) for objects in source.objects] == [1, 1]
    assert source.defects.counts == {
        "row without id or name": 3,
        "row without id or file_name": 2,
        "id used twice": 2,
        "image listed twice": 1,
    }
