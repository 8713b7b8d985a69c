"""Features of Hugging Face datasets, as JSON describes them: what the columns mean, their classes and objects.

An object column is a list of mappings, or a mapping of lists (`Sequence` of a mapping).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfeff.data.dataset import Id

_BOXES = ("bbox", "bboxes", "box", "boxes")
_CATEGORIES = ("category", "categories", "label", "labels", "class", "classes", "category_id", "name")
_INTEGERS = ("int", "uint")
_CROWD, _DIFFICULT = ("iscrowd", "is_crowd", "crowd"), ("difficult", "is_difficult")
_AREA = "area"
HEIGHT, WIDTH = ("height", "image_height"), ("width", "image_width")
"""How columns with the size of an image are called."""
UNLABELED = (None, -1, "")
"""What stands for no label."""


class Classes(NamedTuple):
    """The classes of a column.

    Attributes:
        names: one per class.
        ids: the classes' numbers in the tables; empty if they are texts there.
        numbers: value in the tables -> class.
    """

    names: tuple[str, ...]
    ids: tuple[Id, ...]
    numbers: Mapping[Any, int]

    @classmethod
    def of(cls, feature: Any, used: Sequence[Any]) -> "Classes":
        """Returns the classes that a `ClassLabel` names, or else the values that occur, in their order."""
        if kind(feature) == "ClassLabel":
            names = feature.get("names")
            if isinstance(names, list):
                return cls(tuple(map(str, names)), tuple(range(len(names))), {i: i for i in range(len(names))})
        found = sorted({value for value in used if isinstance(value, int | str) and value not in UNLABELED}, key=_order)
        ids = tuple(found) if all(isinstance(value, int) for value in found) else ()
        return cls(tuple(map(str, found)), ids, {value: number for number, value in enumerate(found)})

    def number(self, value: Any) -> int:
        """Returns the class of a value; -1 if it has none."""
        return self.numbers.get(value, -1) if isinstance(value, int | str) else -1


def _order(value: int | str) -> tuple[int, str]:
    return (0, value) if isinstance(value, str) else (value, "")


class ObjectKeys(NamedTuple):
    """The column of objects, and its fields."""

    objects: str
    box: str
    label: str
    difficult: str | None
    crowd: str | None
    area: str | None


def object_keys(column: str, feature: Any) -> ObjectKeys | None:
    """Finds the fields of a column that describe its objects; None if the column has no objects."""
    fields = fields_of(feature)
    low = {key.lower(): key for key in fields}
    box = next((low[name] for name in _BOXES if name in low and _item(fields[low[name]]) is not None), None)
    classes = [key for key, each in fields.items() if kind(each) == "ClassLabel"]
    usual = [low[name] for name in _CATEGORIES if name in low and is_label(fields[low[name]])]
    if box is None or not (classes or usual):
        return None
    difficult, crowd = (next((low[name] for name in names if name in low), None) for names in (_DIFFICULT, _CROWD))
    return ObjectKeys(column, box, (classes or usual)[0], difficult, crowd, low.get(_AREA))


def kind(feature: Any) -> str:
    """Returns the type of a feature, such as `Image`, `ClassLabel` or `Value`; "" if it has none."""
    name = feature.get("_type") if isinstance(feature, dict) else None
    return name if isinstance(name, str) else ""


def _item(feature: Any) -> Any:
    """Returns the feature of the elements of a list; None if the feature is not a list."""
    if isinstance(feature, list):
        return feature[0] if feature else None
    return feature.get("feature") if kind(feature) in ("List", "LargeList", "Sequence") else None


def is_list(feature: Any) -> bool:
    """Returns whether values are lists."""
    return _item(feature) is not None


def fields_of(feature: Any) -> Mapping[str, Any]:
    """Returns the fields of the objects of a column, which is a list of mappings or a mapping of lists; else empty."""
    inner = _item(feature)
    if isinstance(inner, dict) and not kind(inner):
        return inner
    if isinstance(feature, dict) and not kind(feature):
        return {key: _item(each) for key, each in feature.items() if _item(each) is not None}
    return {}


def find(columns: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Returns the column of whole numbers with one of some names, in any case."""
    return next(
        (key for key, each in columns.items() if key.lower() in names and _dtype(each).startswith(_INTEGERS)), None
    )


def is_label(feature: Any) -> bool:
    """Returns whether values are texts or whole numbers."""
    return _dtype(feature).startswith((*_INTEGERS, "string", "large_string"))


def _dtype(feature: Any) -> str:
    """Returns the type of the values of a column; "" if it has none."""
    name = feature.get("dtype") if kind(feature) == "Value" else None
    return name if isinstance(name, str) else ""


def values_of(objects: Any, key: str | None) -> list[Any]:
    """Returns a field of all objects of an image, which are a list of mappings or a mapping of lists."""
    if key is None or not objects:
        return []
    if isinstance(objects, dict):
        return objects.get(key) or []
    return [each.get(key) for each in objects if each is not None]


def is_box(box: Any) -> bool:
    """Returns whether a box has four numbers."""
    return isinstance(box, list) and len(box) == 4 and all(isinstance(side, int | float) for side in box)
