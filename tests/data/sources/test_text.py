"""Texts in UTF-16, and tables in the code page of Windows."""

import pytest
from PIL import Image

from tfeff.data.sources import catalog, text
from tfeff.errors import UserError

BOX_TABLE = "image,label,xmin,ymin,xmax,ymax\né.png,café,1,2,20,30\n"
FILES = {
    "csv:{}/list.csv": {"list.csv": BOX_TABLE},
    "yolo:{}": {"é.txt": "0 0.5 0.5 0.5 0.5\n", "classes.txt": "café\n"},
    "yolo:{}/data.yaml": {
        "é.txt": "0 0.5 0.5 0.5 0.5\n",
        "data.yaml": "names: [café]\ntrain: list.txt\n",
        "list.txt": "é.png",
    },
    "coco:{}": {
        "a.json": '{"images": [{"id": 1, "file_name": "é.png"}], "categories": [{"id": 1, "name": "café"}], '
        '"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 19, 28]}]}'
    },
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("source", FILES)
def test_marked_texts_are_read(tmp_path, source, encoding):
    Image.new("RGB", (40, 50)).save(tmp_path / "é.png")
    for name, content in FILES[source].items():
        (tmp_path / name).write_text(content, encoding=encoding)
    images = catalog.open_objects(source.format(tmp_path)).load("all")
    assert images.ids == ["é.png"]
    assert images.class_names == ("café",)
    assert len(images.objects[0]) == 1
    assert not images.defects.counts


@pytest.mark.parametrize(
    ("header", "opened"), [(BOX_TABLE.partition("\n")[0], catalog.open_objects), ("image,label", catalog.open_labels)]
)
def test_rows_that_are_not_utf_8_are_read_as_windows_wrote_them(tmp_path, header, opened):
    values = ",1,2,20,30" * header.endswith("ymax")
    lines = [header]
    for name, label in (("a.png", "cat"), ("é.png", "cat"), ("ü.png", "Straße €")):
        Image.new("RGB", (40, 50)).save(tmp_path / name)
        lines.append(f"{name},{label}{values}")
    content = "\n".join(lines[:3]).encode() + b"\n" + lines[3].encode("cp1252") + b"\n"
    (tmp_path / "list.csv").write_bytes(content)
    images = opened(f"csv:{tmp_path}/list.csv").load("all")
    assert [name.rpartition("/")[2] for name in images.ids] == ["a.png", "é.png", "ü.png"]
    assert images.class_names == ("Straße €", "cat")
    name = f"csv:{tmp_path}/list.csv"
    assert images.notes == (f"{name}: 1 rows are not UTF-8 and are read as Windows-1252, first: {name}, line 4",)


def test_bytes_that_the_code_page_lacks_are_kept():
    assert text.windows(b"\x81\x80\xe9 \xc3\xa9".decode(errors="surrogateescape")) == "\x81€é é"


def test_half_a_character_is_an_error(tmp_path):
    (tmp_path / "data.yaml").write_bytes("names: [a]".encode("utf-16")[:-1])
    with pytest.raises(UserError, match="the byte 0x5d is not UTF-16, as its mark says; save it as UTF-8"):
        catalog.open_objects(f"yolo:{tmp_path}/data.yaml")
