"""XML as programs write it: encodings, tags, numbers and shapes of boxes."""

from pathlib import Path

import pytest

from tfeff.data.sources import voc_xml

BOX = "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>60</ymax></bndbox>"
TEXT = f"<annotation><object><name>小熊</name>{BOX}</object></annotation>"


def read(path: Path, content: str | bytes) -> list[voc_xml.Annotated]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = voc_xml.parse(path)
    assert isinstance(found, voc_xml.Annotation), found
    return found.objects


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("GB2312", "gb2312"),
        ("gbk", "gbk"),
        ("Big5", "big5"),
        ("Shift_JIS", "shift_jis"),
        ("utf-8", "utf-8"),
        ("utf-8", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16", "utf-8"),  # as .NET writes strings
        ("", "utf-8"),
    ],
)
def test_encodings(tmp_path: Path, declared: str, encoding: str) -> None:
    name = "熊" if encoding in ("big5", "shift_jis") else "小熊"
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    (found,) = read(tmp_path / "a.xml", (head + TEXT.replace("小熊", name)).encode(encoding))
    assert found == voc_xml.Annotated(name, (20, 10, 60, 30), 1, False, ())


def test_characters_beyond_a_declared_chinese_encoding(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="GB2312"?>' + TEXT.replace("小熊", "朱镕基")  # 镕 is not in GB2312
    (found,) = read(tmp_path / "a.xml", text.encode("gbk"))
    assert found.name == "朱镕基"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TEXT.encode("gbk"), "codec can't decode"),
        (b'<?xml version="1.0" encoding="klingon"?>' + TEXT.encode(), "unknown encoding: klingon"),
        (b'<?xml version="1.0" encoding="rot13"?>' + TEXT.encode(), "rot13"),
        (TEXT[:-20].encode(), "no element found|unclosed token"),
        ((TEXT + TEXT).encode(), "junk after document element"),
        (b"", "no element found"),
        (b"<annotations><image/></annotations>", "its root is <annotations>, not <annotation>"),
        (b'<!DOCTYPE a [<!ENTITY x "boom">]><annotation>&x;</annotation>', "it defines entities"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "/etc/passwd">]><annotation>&x;</annotation>', "it defines entities"),
        ('<!DOCTYPE a [<!ENTITY x "b">]><annotation>&x;</annotation>'.encode("utf-16"), "it defines entities"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    found = voc_xml.parse(tmp_path / "a.xml")
    assert isinstance(found, str)
    assert any(each in found for each in reason.split("|"))


@pytest.mark.parametrize(
    "content",
    [
        TEXT.replace("<annotation>", '<annotation xmlns="http://example.org/1.0">'),
        TEXT.replace("annotation>", "v:annotation>")
        .replace("<v:", "<v:", 1)
        .replace("<v:annotation>", '<v:annotation xmlns:v="urn:v">'),
        TEXT.replace("object>", "OBJECT>").replace("bndbox>", "BndBox>").replace("xmin>", "XMin>"),
        '<?xml version="1.0"?>\n<!DOCTYPE annotation SYSTEM "annotation.dtd">\n' + TEXT,
        '\n  <?xml version="1.0" encoding="utf-8"?>' + TEXT,
        "<doc><outputs>" + TEXT.removeprefix("<annotation>").removesuffix("</annotation>") + "</outputs></doc>",
    ],
)
def test_tags_and_heads_of_other_programs(tmp_path: Path, content: str) -> None:
    assert read(tmp_path / "a.xml", content) == [voc_xml.Annotated("小熊", (20, 10, 60, 30), 1, False, ())]


@pytest.mark.parametrize(
    ("inner", "box", "origin", "remark"),
    [
        (BOX.replace("10<", "10,5<"), (20, 10.5, 60, 30), 1, "decimal comma"),
        (
            "<robndbox><cx>50</cx><cy>40</cy><w>20</w><h>10</h><angle>1.5707963267948966</angle></robndbox>",
            (30, 45, 50, 55),
            0,
            "rotated box, read as the upright box around it",
        ),
        (
            "<robndbox><cx>50,5</cx><cy>40</cy><w>20</w><h>10</h><angle>0</angle></robndbox>",
            (35, 40.5, 45, 60.5),
            0,
            "decimal comma",
        ),
        (
            BOX + "<attributes><attribute><name>rotation</name><value>90.0</value></attribute></attributes>",
            (30, 0, 50, 40),
            1,
            "rotated box, read as the upright box around it",
        ),
        (
            "<polygon><pt><x>5</x><y>6</y></pt><pt><x>25</x><y>9</y></pt><pt><x>8</x><y>30</y></pt></polygon>",
            (6, 5, 30, 25),
            0,
            "polygon, read as the box around it",
        ),
        (
            "<polygon><x1>5</x1><y1>6</y1><x2>25</x2><y2>9</y2><x3>8</x3><y3>30</y3></polygon>",
            (6, 5, 30, 25),
            0,
            "polygon, read as the box around it",
        ),
        (
            "<bndbox><x0>5</x0><y0>6</y0><x1>25</x1><y1>9</y1><x2>8</x2><y2>30</y2><x3>1</x3><y3>7</y3></bndbox>",
            (6, 1, 30, 25),
            0,
            "polygon, read as the box around it",
        ),
        (BOX + "<polygon><x1>5</x1><y1>6</y1></polygon>", (20, 10, 60, 30), 1, None),
        (BOX.replace("20", "1.234,5"), None, 1, None),
        ("<polygon><x1>5</x1><y1>6</y1><x2>5</x2></polygon>", None, 1, None),
    ],
)
def test_boxes(tmp_path: Path, inner: str, box: tuple | None, origin: int, remark: str | None) -> None:
    (found,) = read(tmp_path / "a.xml", f"<annotation><object><name>a</name>{inner}</object></annotation>")
    assert found.box_yxyx == (None if box is None else pytest.approx(box))
    assert found.origin == origin
    assert (remark in found.remarks) if remark else found.remarks == ()


def test_flags(tmp_path: Path) -> None:
    items = [f"<object><name>a</name>{each}{BOX}</object>" for each in ("<difficult>true</difficult>", "")]
    gone = f"<object><name>b</name><deleted>1</deleted>{BOX}</object>"
    found = read(tmp_path / "a.xml", f"<annotation>{gone}{''.join(items)}</annotation>")
    assert [(each.name, each.difficult) for each in found] == [("a", True), ("a", False)]
