import io
import json

import numpy as np
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
    assert source.ids == ["tiny/a.png", "tiny/b.png"]
    assert source.class_names == ("cat", "owl")
    assert source.objects[0].boxes_yxyx.tolist() == [[0, 0, 2, 5.5]]
    assert source.objects[1].boxes_yxyx.tolist() == [[20, 10, 60, 40]]
    assert source.objects[1].labels.tolist() == [1]
    assert source.objects[1].crowd.tolist() == [True]
    assert not source.defects.counts


def test_areas_of_objects_are_read(root):
    assert all(each.areas is None for each in COCO(root, Options()).load("tiny").objects)
    areas = [7.5, None, "x", 0, -3, float("nan"), "12"]
    rows = [{"image_id": 3, "bbox": [n, 2, 10, 9], "category_id": 2, "area": area} for n, area in enumerate(areas)]
    save(root, CONTENT | {"annotations": [*CONTENT["annotations"], *rows]})
    first, second = COCO(root, Options()).load("tiny").objects
    assert first.areas is None
    np.testing.assert_array_equal(second.areas, [np.nan, 7.5, *[np.nan] * 5, 12])
    np.testing.assert_array_equal(second.take(np.array([7, 1])).areas, [12, 7.5])


def test_images_may_be_in_one_folder_or_in_one_per_split(root):
    for place in ("images/tiny", "images"):
        (root / place).parent.mkdir(exist_ok=True)
        (root / ("tiny" if place == "images/tiny" else "images/tiny")).rename(root / "moved")
        if place == "images":
            (root / "images").rmdir()
        (root / "moved").rename(root / place)
        source = COCO(root, Options()).load("tiny")
        assert source.ids == [f"{place}/a.png", f"{place}/b.png"]
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
    assert source.ids == ["tiny/a.png", "tiny/b.png"]


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
        CONTENT["categories"][1],
    ]
    images = [{"id": 1}, None, *CONTENT["images"], {"id": 12, "file_name": "a.png"}, CONTENT["images"][0]]
    save(root, CONTENT | {"categories": categories, "images": images})
    source = COCO(root, Options()).load("tiny")
    assert source.class_names == ("cat", "owl")
    assert source.ids == ["tiny/a.png", "tiny/b.png"]
    assert [len(objects) for objects in source.objects] == [1, 1]
    assert source.defects.counts == {
        "row without id or name": 3,
        "row without id or file_name": 2,
        "image listed twice": 1,
    }


def test_images_that_share_an_id_are_dropped(root):
    Image.new("RGB", (100, 80)).save(root / "tiny/c.png")
    save(root, CONTENT | {"images": [*CONTENT["images"], {"id": "7", "file_name": "c.png"}]})
    source = COCO(root, Options()).load("tiny")
    assert source.ids == ["tiny/b.png"]
    assert source.defects.counts == {"image id used twice": 2, "object without an image": 1}
    assert (source.defects.lost("images"), source.defects.lost("objects")) == (2, 1)


def test_categories_that_share_an_id_are_refused(root):
    save(root, CONTENT | {"categories": [*CONTENT["categories"], {"id": 2.0, "name": "dog"}]})
    with pytest.raises(
        UserError, match=r"instances_tiny\.json: the categories cat, dog have the same id, 2; give each"
    ):
        COCO(root, Options()).load("tiny")


LAYOUTS = {
    "COCO": ("annotations/instances_{}.json", "{}2017/"),
    "Roboflow": ("{}/_annotations.coco.json", "{}/"),
    "CVAT": ("annotations/instances_{}.json", "images/{}/"),
    "Label Studio per split": ("{}/result.json", "{}/images/"),
    "one folder for all": ("annotations/instances_{}.json", "images/{}_"),
    "other names": ("{}_annotations.json", "Images/{}/"),
    "beside the images": ("{}.json", "{}_"),
    "unpacked one folder deeper": ("set/Annotations/instances_{}.json", "set/{}/"),
}


def write(folder, file, image, content):
    """An annotation file, and the images that it lists."""
    for row in content["images"]:
        path = folder / f"{image}{row['file_name']}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 80)).save(path)
        if image.endswith("_"):
            row["file_name"] = path.name
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(content))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "valid", "TEST"), ("training", "dev", "testing")]
)
def test_layouts_and_names_of_splits(tmp_path, layout, names):
    file, image = LAYOUTS[layout]
    for number, name in enumerate(names, 1):
        images = [{"id": index, "file_name": f"{index}.png"} for index in range(number)]
        boxes = [{"image_id": index, "bbox": [1, 2, 3, 4], "category_id": 1} for index in range(number)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
        write(tmp_path, file.format(name), image.format(name), content)
    source = COCO(tmp_path, Options())
    assert source.splits == names
    assert not source.drawn
    for split, number in (("train", 1), ("validation", 2), ("test", 3)):
        found = source.load(source.find(split))
        assert [each.boxes_yxyx.tolist() for each in found.objects] == [[[2, 1, 6, 4]]] * number
        assert not found.defects.counts
        (note,) = found.notes
        inside = layout.startswith("unpacked")
        assert f"{names[number - 1]}: {file.format(names[number - 1])[4 * inside :]}, images in " in note


def two_splits(root, **changed):
    """A dataset whose splits number their images alike, in folders of their own; images differ in height."""
    for split, height in (("train", 40), ("valid", 80)):
        (root / split).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (100, height)).save(root / f"{split}/{number}.png")
        content = {
            "images": [{"id": number, "file_name": f"{number}.png"} for number in range(2)],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [{"image_id": 1, "bbox": [1, 2, 3, height - 2], "category_id": 1}],
        }
        (root / split / "_annotations.coco.json").write_text(json.dumps(content | changed.get(split, {})))
    return root


def test_images_of_one_name_in_two_splits_have_two_ids(tmp_path):
    source = COCO(two_splits(tmp_path), Options())
    train, valid = source.load("train"), source.load("valid")
    assert (train.ids, valid.ids) == (["train/0.png", "train/1.png"], ["valid/0.png", "valid/1.png"])
    assert [Image.open(io.BytesIO(each.encoded(0))).height for each in (train, valid)] == [40, 80]
    assert source.shared("train", "valid") == []


def test_all_joins_the_splits(tmp_path):
    source = COCO(two_splits(tmp_path), Options(keep_raw_annotations=True))
    joined, parts = source.load("all"), [source.load(split) for split in source.splits]
    assert joined.ids == [*parts[0].ids, *parts[1].ids]
    assert joined.sizes.tolist() == [[40, 100]] * 2 + [[80, 100]] * 2
    assert [each.boxes_yxyx.tolist() for each in joined.objects] == [[], [[2, 1, 40, 4]], [], [[2, 1, 80, 4]]]
    assert len(joined.raw_annotations) == 4
    assert joined.encoded(2) == parts[1].encoded(0)
    assert list(joined.class_ids) == [1]
    assert len(joined.notes) == 1


def test_all_has_an_image_of_several_files_once(tmp_path):
    root = two_splits(tmp_path / "coco")
    (root / "images").mkdir()
    (root / "annotations").mkdir()
    for split in ("train", "valid"):
        (root / split / "_annotations.coco.json").rename(root / f"annotations/instances_{split}.json")
        for number in range(2):
            (root / f"{split}/{number}.png").rename(root / f"images/{number}.png")
        (root / split).rmdir()
    joined = COCO(root, Options()).load("all")
    assert joined.ids == ["images/0.png", "images/1.png"]
    assert joined.objects[1].boxes_yxyx.tolist() == [[2, 1, 40, 4]]
    assert joined.notes[-1] == (
        f"coco:{root}/all: 2 images are in several annotation files; the objects in the first of these are used"
    )


def test_all_needs_the_same_classes(tmp_path):
    other = {"categories": [{"id": 1, "name": "dog"}]}
    with pytest.raises(UserError, match="have different classes, so all splits cannot be joined; choose one of train"):
        COCO(two_splits(tmp_path, valid=other), Options()).load("all")


def write_splits(folder, files):
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("used", "lost"),
    [
        ("annotations/{}.json", "annotations/test.json"),
        ("annotations/instances_{}.json", "annotations/panoptic_test.json"),
        ("{}/_annotations.coco.json", "test/annotations.json"),
    ],
)
def test_the_annotation_file_of_a_split_is_not_lost(tmp_path, used, lost):
    write_splits(tmp_path, [used.format(split) for split in ("train", "val")])
    assert COCO(tmp_path, Options()).splits == ("train", "val")
    (tmp_path / "test").mkdir(exist_ok=True)
    (tmp_path / lost).write_text('{"images": [')
    with pytest.raises(
        UserError, match=f"{lost}: not a COCO annotation file: it is not JSON: .* would be the test split"
    ):
        COCO(tmp_path, Options())


def test_a_split_whose_annotation_file_is_named_unlike_the_others_is_not_lost(tmp_path):
    names = ["train/_annotations.coco.json", "valid/_annotations.coco.json", "test/annotations.json"]
    write_splits(tmp_path, names)
    with pytest.raises(UserError, match=r"test/annotations.json: it is not named like the others, such as _annot"):
        COCO(tmp_path, Options())


@pytest.mark.parametrize(
    ("files", "other", "note"),
    [
        (["annotations/instances_train.json"], "annotations/image_info_test2017.json", "image_info_test2017.json"),
        (["annotations/instances_train.json"], "annotations/captions_train2017.json", "captions_train2017.json"),
        (["annotations/train.json"], "annotations/deleted.json", "deleted.json (not a COCO annotation file: it has no"),
    ],
)
def test_json_files_that_are_not_used_are_said(tmp_path, files, other, note):
    write_splits(tmp_path, files)
    (tmp_path / other).write_text("{}")
    (tmp_path / "images").mkdir()
    notes = COCO(tmp_path, Options()).notes
    assert f"coco:{tmp_path}: JSON files that are not used: annotations/{note}" in notes[1]


@pytest.mark.parametrize(
    ("file", "image"), [("result.json", "images/"), ("annotations/instances_default.json", "images/"), ("my.json", "")]
)
def test_without_splits_they_are_drawn(tmp_path, file, image):
    images = [{"id": index, "file_name": f"{index}.png"} for index in range(10)]
    boxes = [{"image_id": index, "bbox": [index, 0, 3, 4], "category_id": 1} for index in range(10)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    write(tmp_path, file, image, content)
    for root in (tmp_path, tmp_path / file):
        source = COCO(root, Options())
        assert source.drawn
        assert source.disjoint
        assert source.splits == ("train", "validation", "test")
        found = [source.load(split) for split in source.splits]
        assert [len(each) for each in found] == [8, 1, 1]
        assert sorted(name for each in found for name in each.ids) == [f"{image}{index}.png" for index in range(10)]
        assert all("drawn with seed 0" in each.notes[0] for each in found)
        assert len(source.load("all")) == 10


def test_what_is_there_is_listed_if_nothing_fits(tmp_path):
    (tmp_path / "train/labels").mkdir(parents=True)
    (tmp_path / "train/labels/a.txt").write_text("")
    (tmp_path / "data.yaml").write_text("")
    with pytest.raises(UserError, match=r"no annotation file.*result\.json.*it has train/, 1 x \.yaml"):
        COCO(tmp_path, Options())
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(UserError, match=r"no COCO annotation file among.*1 x \.json"):
        COCO(tmp_path, Options())


def test_two_files_of_one_split_are_refused(tmp_path):
    for folder in ("annotations", "Annotations"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "instances_train.json").write_text(json.dumps(CONTENT))
    with pytest.raises(UserError, match="would be the split"):
        COCO(tmp_path, Options())


@pytest.mark.parametrize("kind", [str, float, lambda id_: f"{id_}.0", lambda id_: f"n{id_}"])
def test_ids_of_any_kind(root, kind):
    content = json.loads(json.dumps(CONTENT))
    for row in (*content["images"], *content["categories"]):
        row["id"] = kind(row["id"])
    for row in content["annotations"]:
        row["image_id"], row["category_id"] = kind(row["image_id"]), kind(row["category_id"])
    save(root, content)
    source = COCO(root, Options())
    found = source.load("tiny")
    names = ("owl", "cat") if kind(90) == "n90" and "n2" > "n90" else ("cat", "owl")
    assert found.class_names == names
    assert list(found.class_ids) == [kind({"cat": 2, "owl": 90}[name]) for name in names]
    assert [each.labels.tolist() for each in found.objects] == [[names.index("cat")], [names.index("owl")]]
    assert source.image_ids == {root / "tiny/a.png": kind(7), root / "tiny/b.png": kind(3)}
    assert not found.defects.counts


def test_ids_are_compared_by_value_across_kinds(root):
    content = json.loads(json.dumps(CONTENT))
    content["annotations"][0] |= {"image_id": "3", "category_id": 90.0}
    save(root, content)
    found = COCO(root, Options()).load("tiny")
    assert [len(each) for each in found.objects] == [1, 1]
    assert list(found.class_ids) == [2, 90]


def test_equal_names_of_categories_stay_two_classes(root):
    save(root, CONTENT | {"categories": [{"id": 90, "name": "cat"}, {"id": 2, "name": "cat"}]})
    found = COCO(root, Options()).load("tiny")
    assert found.class_names == ("cat", "cat (2)")
    assert found.defects.counts == {"class name used twice": 1}
    assert not found.defects.costs


@pytest.mark.parametrize(
    "written", ["images\\a.png", "./a.png", "/data/upload/5/a.png", "A.PNG", "https://host/x/tiny/a.png?", "deep/a.png"]
)
def test_names_with_other_folders_are_found_and_said(root, written):
    written = written.removesuffix("?")
    save(root, CONTENT | {"images": [CONTENT["images"][1], {"id": 7, "file_name": written}]})
    found = COCO(root, Options()).load("tiny")
    assert found.ids == ["tiny/b.png", "tiny/a.png"]
    assert found.notes[1].endswith(f"1 of 2 images have another path than written, first: {written}: a.png")
    assert not found.defects.counts


def test_names_that_fit_one_file_alike_are_refused(root):
    images = [{"id": 7, "file_name": "x/a.png"}, {"id": 3, "file_name": "y/a.png"}]
    save(root, CONTENT | {"images": [*images, {"id": 4, "file_name": "b.png"}]})
    found = COCO(root, Options()).load("tiny")
    assert found.ids == ["tiny/b.png"]
    assert found.defects.counts == {"image without a file": 2}
    assert found.defects.lost("images") == 2


def test_an_image_of_the_same_name_in_another_split_is_not_taken(tmp_path):
    for split, names in (("train", ["a.png", "b.png"]), ("val", ["a.png", "c.png"])):
        images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
        write(tmp_path, f"annotations/instances_{split}.json", f"{split}/", CONTENT | {"images": images})
    (tmp_path / "val/a.png").unlink()
    found = COCO(tmp_path, Options()).load("val")
    assert found.ids == ["val/c.png"]
    assert found.defects.counts["image without a file"] == 1


def test_annotations_under_several_ids_of_an_image_are_joined(root):
    images = [*CONTENT["images"], {"id": 12, "file_name": ".\\A.png"}]
    extra = [
        {"image_id": 12, "bbox": [1, 2, 3, 4], "category_id": 90},
        {"image_id": 12, "bbox": [0, 0, 5.5, 2], "category_id": 2},
    ]
    save(root, CONTENT | {"images": images, "annotations": CONTENT["annotations"] + extra})
    found = COCO(root, Options()).load("tiny")
    assert found.objects[0].boxes_yxyx.tolist() == [[0, 0, 2, 5.5], [2, 1, 6, 4]]
    assert found.defects.counts == {"image listed twice": 1, "object listed under two ids of its image": 1}
    assert not found.defects.costs


def test_boxes_from_polygons_and_masks(root):
    mask = {"size": [80, 100], "counts": [80 * 10 + 5, 4, 76, 4, 7111]}
    extra = [
        {"image_id": 7, "segmentation": [[1, 2, 5, 2, 5, 8]], "category_id": 90},
        {"image_id": 7, "bbox": [], "segmentation": mask, "category_id": 90},
        {"image_id": 7, "bbox": None, "segmentation": [], "category_id": 90},
    ]
    save(root, CONTENT | {"annotations": extra})
    found = COCO(root, Options()).load("tiny")
    assert found.objects[0].boxes_yxyx.tolist() == [[2, 1, 8, 5], [5, 10, 9, 12]]
    assert found.notes[1].endswith("2 boxes without bbox are those of their polygons or masks")
    assert found.defects.counts == {"object without a box or a class": 1}


def test_a_category_that_only_groups_others_is_no_class(tmp_path):
    parent, child = {"id": 0, "name": "animals", "supercategory": "none"}, {"id": 5, "name": "cat"}
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [parent, child | {"supercategory": "animals"}],
    }
    box = {"image_id": 1, "bbox": [1, 2, 3, 4]}
    for split, category in (("train", 5), ("test", 5)):
        content["annotations"] = [box | {"category_id": category}]
        write(tmp_path, f"{split}/_annotations.coco.json", f"{split}/", content)
    found = COCO(tmp_path, Options()).load("train")
    assert (found.class_names, list(found.class_ids)) == (("cat",), [5])
    assert found.notes[1].endswith("without the category animals, which only groups others")
    content["annotations"] = [box | {"category_id": 0}]
    write(tmp_path, "test/_annotations.coco.json", "test/", content)
    assert COCO(tmp_path, Options()).load("train").class_names == ("animals", "cat")


def test_unlisted_images_are_said(root):
    Image.new("RGB", (100, 80)).save(root / "tiny/more.png")
    Image.new("RGB", (100, 80)).save(root / "tiny/._a.png")
    assert (
        COCO(root, Options())
        .load("tiny")
        .notes[1]
        .endswith("1 image files are not listed and not used, first: more.png")
    )


def test_images_of_a_format_that_cannot_be_read(root):
    (root / "tiny/c.raf").write_bytes(b"")
    save(root, CONTENT | {"images": [*CONTENT["images"], {"id": 5, "file_name": "c.raf"}]})
    found = COCO(root, Options()).load("tiny")
    assert found.ids == ["tiny/a.png", "tiny/b.png"]
    assert found.defects.counts == {"image of a format that cannot be read (.raf)": 1}
    assert found.defects.lost("images") == 1


def test_the_current_folder(root, monkeypatch):
    monkeypatch.chdir(root)
    for name in (".", "annotations/instances_tiny.json", "../coco"):
        source = COCO(name, Options())
        assert source.load("all").ids == ["tiny/a.png", "tiny/b.png"]
        assert source.image_ids == {root / "tiny/a.png": 7, root / "tiny/b.png": 3}
    monkeypatch.chdir("annotations")
    assert COCO("instances_tiny.json", Options()).load("all").ids == ["tiny/a.png", "tiny/b.png"]


def test_boxes_of_which_none_reaches_beyond_1_are_relative(root):
    boxes = [[0, 0, 1, 1], [0.25, 0.5, 0.5, 0.25], [0.5, 0.5, 0.50005, 0.5]]
    rows = [{"image_id": 7, "bbox": box, "category_id": 2} for box in boxes]
    save(root, {**CONTENT, "annotations": rows})
    dataset = COCO(root, Options()).load("tiny")
    assert dataset.objects[0].boxes_yxyx.tolist() == [[0, 0, 80, 100], [40, 25, 60, 75], [40, 50, 80, 100]]
    assert f"{root}/annotations/instances_tiny.json: boxes are relative to width and height" in dataset.notes
    save(root, {**CONTENT, "annotations": [*rows, {"image_id": 3, "bbox": [2, 1, 9, 8], "category_id": 2}]})
    dataset = COCO(root, Options()).load("tiny")
    assert dataset.objects[0].boxes_yxyx[0].tolist() == [0, 0, 1, 1]
    assert not any("relative" in note for note in dataset.notes)


def test_relative_boxes_on_an_image_stored_sideways(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 80)).save(root / "tiny/a.png", exif=exif)
    row = {"image_id": 7, "bbox": [0, 0, 0.5, 0.25], "category_id": 2}
    for size, box in (((80, 100), [0, 60, 50, 80]), ((100, 80), [0, 0, 25, 40])):
        images = [{"id": 7, "file_name": "a.png", "height": size[0], "width": size[1]}]
        save(root, {**CONTENT, "images": images, "annotations": [row]})
        assert COCO(root, Options()).load("tiny").objects[0].boxes_yxyx.tolist() == [box]


@pytest.mark.parametrize(
    ("written", "box", "turned", "unsure"),
    [
        ((80, 100), [10, 60, 60, 80], 2, 0),  # as stored: the other image's boxes are turned, too
        ((100, 80), [20, 20, 70, 40], 0, 0),  # upright
        ((100, 100), [20, 20, 70, 40], 0, 2),  # neither
        (None, [20, 20, 70, 40], 0, 2),
    ],
)
def test_what_some_images_show_of_the_orientation_is_true_of_all(root, written, box, turned, unsure):
    for name, orientation in (("a", 6), ("b", 3)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (100, 80)).save(root / f"tiny/{name}.png", exif=exif)
    images = [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}]
    if written is not None:
        images[0] |= {"height": written[0], "width": written[1]}
    rows = [
        {"image_id": 7, "bbox": [20, 20, 20, 50], "category_id": 2},
        {"image_id": 3, "bbox": [20, 20, 20, 50], "category_id": 2},
    ]
    save(root, {**CONTENT, "images": images, "annotations": rows})
    dataset = COCO(root, Options(keep_raw_annotations=True)).load("tiny")
    assert dataset.objects[1].boxes_yxyx.tolist() == [box]
    assert dataset.raw_annotations[1].boxes_yxyx.tolist() == [box]
    assert dataset.objects[0].boxes_yxyx.tolist() == ([[20, 10, 40, 60]] if turned else [[20, 20, 70, 40]])
    assert dataset.defects.counts["boxes drawn on the image before its EXIF orientation was applied"] == turned
    said = [note for note in dataset.notes if f"coco:{root}/all: {unsure} images have an EXIF orientation" in note]
    assert len(said) == (unsure > 0)


def test_boxes_of_panoptic_segments_are_read(root):
    segments = [
        {"id": 1, "category_id": 2, "bbox": [10, 20, 30, 40], "area": 9, "iscrowd": 1},
        {"id": 2, "category_id": 200, "bbox": [0, 0, 100, 80], "area": 9, "iscrowd": 0},
        {"id": 3, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 9, "iscrowd": 0},
        "broken",
    ]
    things = [each | {"isthing": 1} for each in CONTENT["categories"]]
    annotations = [
        {"image_id": 3, "file_name": "b.png", "segments_info": segments},
        {"image_id": 7, "file_name": "a.png", "segments_info": segments[1:2]},
    ]
    stuff = {"id": 200, "name": "sky", "isthing": 0}
    save(root, CONTENT | {"categories": [*things, stuff], "annotations": annotations})
    dataset = COCO(root, Options()).load("tiny")
    assert dataset.class_names == ("cat", "owl")
    assert [objects.boxes_yxyx.tolist() for objects in dataset.objects] == [[], [[20, 10, 60, 40], [2, 1, 6, 4]]]
    assert dataset.objects[1].labels.tolist() == [0, 1]
    assert dataset.objects[1].crowd.tolist() == [True, False]
    assert (
        f"{root}/annotations/instances_tiny.json: panoptic segmentation: the boxes of 2 segments are used; 2 segments "
        "of 1 categories of stuff (isthing 0) are not objects"
    ) in dataset.notes
    assert dataset.defects.counts == {"object without an image": 1}


def test_splits_besides_the_training_split_may_lack_categories(tmp_path):
    cat, dog, owl = ({"id": number, "name": name} for number, name in ((4, "cat"), (2, "dog"), (9, "owl")))
    for split, categories in (("train", [cat, dog]), ("valid", [cat]), ("test", [cat, owl])):
        (tmp_path / split).mkdir()
        Image.new("RGB", (100, 80)).save(tmp_path / split / "a.png")
        content = {
            "images": [{"id": 1, "file_name": "a.png"}],
            "categories": categories,
            "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 4}],
        }
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    source = COCO(tmp_path, Options())
    valid = source.load("valid")
    assert valid.class_names == source.load("train").class_names == ("dog", "cat")
    assert valid.objects[0].labels.tolist() == [1]
    assert list(valid.class_ids) == [2, 4]
    assert f"coco:{tmp_path}/valid: 1 of the 2 categories of train are not listed, first: dog" in valid.notes
    assert source.load("test").class_names == ("cat", "owl")
