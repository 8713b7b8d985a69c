"""The XML of Pascal VOC, as programs really write it.

Tags may be in any case and in a namespace. Files may declare any encoding that Python knows, and a document type, whose
entities are never expanded. Where an object has no `bndbox`, its rotated box (`robndbox`: center, size and angle in
radians, as of roLabelImg) or its polygon is read as the box around it.
"""

import codecs
import math
import re
import sys
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import defusedxml
import defusedxml.ElementTree

from tfeff.data.sources import foreign

_DECLARED = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)[\"']")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949"}
"""Windows writes more characters than the encoding that it declares has."""
Box = tuple[float, float, float, float]


class Annotated(NamedTuple):
    """An object as it is annotated.

    Attributes:
        name: its class; "" if missing.
        box_yxyx: None if incomplete.
        origin: see `ObjectCollector`: 1 for corners that are pixels, 0 for edges.
        difficult: whether it is marked so.
        remarks: what is unusual about it, as kinds of defects.
    """

    name: str
    box_yxyx: Box | None
    origin: Literal[0, 1]
    difficult: bool
    remarks: tuple[str, ...]


class Annotation(NamedTuple):
    """What a file says. (Elements themselves would keep the garbage collector busy.)

    Attributes:
        file_name: name of the image, without folders; "" if missing.
        image_size: (height, width) of the image; None if missing.
        objects: the objects that LabelMe does not mark as deleted.
    """

    file_name: str
    image_size: tuple[int, int] | None
    objects: list[Annotated]


def parse(path: Path) -> Annotation | str:
    """Reads a file; the result is text if it cannot be read, and says why."""
    try:
        text = _text(path.read_bytes()).strip()
        if "<!DOCTYPE" in text:  # only document types define entities
            root = defusedxml.ElementTree.fromstring(text, forbid_dtd=False, forbid_entities=True, forbid_external=True)
        else:
            root = ElementTree.fromstring(text)
    except defusedxml.DefusedXmlException:
        return "it defines entities"
    except OSError as error:
        return str(error.strerror)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        return str(error)
    for element in root.iter():
        tag = element.tag
        if not tag.islower() or tag[0] == "{":
            element.tag = tag.rpartition("}")[2].lower()
    if root.tag != "annotation" and root.find(".//object") is None:
        return foreign.hint(path) or f"its root is <{root.tag}>, not <annotation>"
    file_name = (root.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]
    objects = [_annotated(item) for item in root.iter("object") if (item.findtext("deleted") or "").strip() != "1"]
    return Annotation(file_name, _image_size(root.find("size")), objects)


def _annotated(item: Element) -> Annotated:
    name = " ".join((item.findtext("name") or "").split())
    difficult = (item.findtext("difficult") or "").strip().lower() in ("1", "true", "yes")
    box, origin, remarks = _box(item)
    return Annotated(sys.intern(name), box, origin, difficult, remarks)


def _image_size(size: Element | None) -> tuple[int, int] | None:
    height, width = (None if size is None else _number(size.findtext(side)) for side in ("height", "width"))
    return None if not height or not width else (int(height), int(width))


def _text(content: bytes) -> str:
    """Returns the text of a file.

    Raises:
        ValueError: it is not in its encoding.
        LookupError: Python does not know the encoding.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    declared = _DECLARED.search(content[:200])
    encoding = declared[1].decode().lower().replace("-", "_") if declared else "utf_8"
    if encoding.startswith(("utf_16", "utf_32", "ucs")):  # not true: its declaration is readable as ASCII
        encoding = "utf_8"
    return content.decode(_SUPERSETS.get(encoding, encoding))


def _box(item: Element) -> tuple[Box | None, Literal[0, 1], tuple[str, ...]]:
    """Returns the box of an object, its origin, and remarks."""
    corners = item.find("bndbox")
    if corners is not None:
        texts = {each.tag: each.text for each in corners}
        values = [_number(texts.get(key)) for key in ("ymin", "xmin", "ymax", "xmax")]
        complete = [value for value in values if value is not None]
        if len(complete) == 4:
            top, left, bottom, right = complete
            angle = _rotation(item)
            remarks = ("decimal comma",) if any("," in (text or "") for text in texts.values()) else ()
            if not angle:
                return (top, left, bottom, right), 1, remarks
            center, size = ((top + bottom) / 2, (left + right) / 2), (bottom - top, right - left)
            return _around_rotated(center, size, angle), 1, (*remarks, _ROTATED)
    rotated = item.find("robndbox")
    if rotated is not None:
        remarks = ("decimal comma",) if any("," in (each.text or "") for each in rotated) else ()
        values = [_number(rotated.findtext(key)) for key in ("cy", "cx", "h", "w", "angle")]
        complete = [value for value in values if value is not None]
        if len(complete) == 5:
            cy, cx, height, width, angle = complete
            return _around_rotated((cy, cx), (height, width), angle), 0, (*remarks, _ROTATED)
    for outline in (item.find("polygon"), corners):
        points = _points(outline) if outline is not None else []
        if len(points) >= 3:
            ys, xs = zip(*points, strict=True)
            return (min(ys), min(xs), max(ys), max(xs)), 0, ("polygon, read as the box around it",)
    return None, 1, ()


_ROTATED = "rotated box, read as the upright box around it"


def _rotation(item: Element) -> float:
    """Returns the angle of a box in radians, as of CVAT, which writes it in degrees as an attribute; otherwise 0."""
    for attribute in item.iterfind("attributes/attribute"):
        if (attribute.findtext("name") or "").strip() == "rotation":
            return math.radians(_number(attribute.findtext("value")) or 0.0)
    return 0.0


def _around_rotated(center: tuple[float, float], size: tuple[float, float], angle: float) -> Box:
    """Returns the upright box around a rotated one: center (y, x), size (height, width), angle in radians."""
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    height = size[0] * cosine + size[1] * sine
    width = size[1] * cosine + size[0] * sine
    return center[0] - height / 2, center[1] - width / 2, center[0] + height / 2, center[1] + width / 2


def _points(outline: Element) -> list[tuple[float, float]]:
    """Returns the (y, x) of an outline whose points are elements `x` and `y`, or `x1`, `y1`, `x2` and so on."""
    sides: dict[str, list[float]] = {"x": [], "y": []}
    for element in outline.iter():
        if re.fullmatch(r"[xy]\d*", element.tag):
            value = _number(element.text)
            if value is None:
                return []
            sides[element.tag[0]].append(value)
    return list(zip(sides["y"], sides["x"], strict=True)) if len(sides["y"]) == len(sides["x"]) else []


def _number(text: str | None) -> float | None:
    """Returns a finite number, also with a decimal comma; otherwise None."""
    try:
        value = float((text or "").replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
