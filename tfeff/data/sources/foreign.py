"""Formats of annotation tools that are not read, and how their files are recognized."""

from collections.abc import Mapping
from pathlib import Path

_MARKS: Mapping[str, tuple[bytes, ...]] = {
    "LabelMe": (b'"shapes"', b'"points"'),
    "VIA": (b"shape_attributes", b"region"),
    "CVAT XML": (b"<annotations", b"<image "),
    "Supervisely": (b'"classTitle"',),
    "Label Studio JSON": (b'"data"', b'"annotations"', b'"result"'),
    "CreateML": (b'"image"', b'"annotations"', b'"coordinates"'),
}
"""Format -> what occurs near the start of each of its files."""
_START = 65_536


def hint(path: Path) -> str:
    """Returns what to do if a file is of a known format that is not read; "" otherwise."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return ""
    found = next((name for name, marks in _MARKS.items() if all(mark in start for mark in marks)), None)
    return f"it looks like {found}, which is not read: export as COCO, YOLO or VOC" if found else ""
