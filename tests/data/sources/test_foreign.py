"""Files of other programs, archives and encodings: messages say what they are and what to do."""

import shutil
from pathlib import Path

import pytest

from tfeff.data.sources import catalog
from tfeff.errors import UserError

REGION = '{"shape_attributes": {"name": "rect", "x": 1}, "region_attributes": {"type": "a"}}'
FILES = {
    "LabelMe": (
        "a.json",
        '{"version": "5.0", "shapes": [{"label": "a", "points": [[1, 2], [3, 4]]}], "imagePath": "a"}',
    ),
    "VIA": ("via.json", '{"a.png123": {"filename": "a.png", "regions": [' + REGION + "]}}"),
    "CVAT XML": (
        "annotations.xml",
        '<annotations><image id="0" name="a.png"><box label="a" xtl="1"/></image></annotations>',
    ),
    "Supervisely": ("ann/a.png.json", '{"objects": [{"classTitle": "a", "geometryType": "rectangle"}]}'),
    "Label Studio JSON": ("x.json", '[{"data": {"image": "a.png"}, "annotations": [{"result": []}]}]'),
    "CreateML": ("_annotations.createml.json", '[{"image": "a.png", "annotations": [{"coordinates": {"x": 1}}]}]'),
}


@pytest.mark.parametrize("scheme", ["coco", "voc", "yolo", "folder"])
@pytest.mark.parametrize("program", FILES)
def test_formats_of_other_programs_are_named(image_folder, program, scheme):
    root = image_folder({".": 1})
    name, content = FILES[program]
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(content)
    opened = catalog.open_labels if scheme == "folder" else catalog.open_objects
    with pytest.raises(UserError) as error:
        opened(f"{scheme}:{root}").load("all")
    assert f"{Path(name).name}: it looks like {program}, which is not read: export as COCO, YOLO or VOC" in str(
        error.value
    )
    assert str(error.value).count("it looks like") == 1


def test_a_table_of_via_is_named(tmp_path: Path) -> None:
    (tmp_path / "via.csv").write_text("filename,region_count,region_shape_attributes\na.png,1,x\n")
    with pytest.raises(UserError, match=r"via\.csv: it looks like VIA, which is not read"):
        catalog.open_objects(f"csv:{tmp_path}/via.csv")


@pytest.mark.parametrize("scheme", ["folder", "csv", "coco", "voc", "yolo", "crops:voc"])
def test_archives_are_to_be_unpacked(image_folder, tmp_path, scheme):
    shutil.make_archive(str(tmp_path / "data"), "zip", image_folder({"a": 1, "b": 1}))
    opened = catalog.open_labels if scheme in ("folder", "csv", "crops:voc") else catalog.open_objects
    with pytest.raises(UserError, match=r"data\.zip is a ZIP archive; unpack it, and name the folder"):
        opened(f"{scheme}:{tmp_path}/data.zip")


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("coco:{0}", '{{"images": [], "categories": [{{"id": 1, "name": "café"}}], "annotations": []}}'),
        ("coco:{0}/list.json", "café"),
        ("yolo:{0}/list.yaml", "names: [café]\n"),
    ],
)
def test_texts_in_other_encodings_are_to_be_saved_as_utf_8(tmp_path, source, content):
    name = source.partition("/")[2] or "list.json"
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="the byte 0xe9 is not UTF-8; save it as UTF-8"):
        catalog.open_objects(source.format(tmp_path)).load("all")


@pytest.mark.parametrize(
    ("source", "content", "problem"),
    [
        ("coco:{0}", '{"images": [], "annotations": {}}', "it has no list categories or annotations"),
        ("coco:{0}/x.json", "[1]", "it has no list categories or images or annotations"),
        ("coco:{0}/x.json", "{", "it is not JSON: "),
        ("yolo:{0}/data.yaml", 'names: "cat, dog"', r"has no valid list of names; write names: \[cat, dog\]"),
        ("yolo:{0}/data.yaml", "train: images", r"has no valid list of names; write names: \[cat, dog\]"),
        ("yolo:{0}/data.yaml", "names: {cat: 0, dog: 1}", '"cat" is not a number; write names'),
    ],
)
def test_what_is_missing_is_said(tmp_path, source, content, problem):
    (tmp_path / (source.partition("/")[2] or "x.json")).write_text(content)
    with pytest.raises(UserError, match=problem):
        catalog.open_objects(source.format(tmp_path)).load("all")
