"""Data frames of pandas or polars that list image files: the columns of `csv:` files, see `csv_table`.

Neither package is imported: a frame is what has `columns`, and the values of a column by its name.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfeff.data.sources import csv_table
from tfeff.data.sources.csv_boxes import BoxTable
from tfeff.data.sources.csv_file import COLUMNS, LabelTable
from tfeff.data.sources.csv_table import Row
from tfeff.data.sources.source import Options, Source
from tfeff.errors import UserError


def is_frame(value: Any) -> bool:
    """Returns whether a value is a data frame."""
    return hasattr(value, "columns") and hasattr(value, "__getitem__") and not isinstance(value, Mapping)


class ListedImages:
    """Image files that data frames list.

    Args:
        frames: one, with a column `split` if it has splits, or one for each split. Paths of images are relative to the
            current folder.

    Attributes:
        name: `files-<digest of the values>`.
        has_objects: whether the rows have boxes, and not just labels.

    Raises:
        UserError: columns are missing, only some frames have boxes, or there are no rows.
    """

    def __init__(self, frames: Any) -> None:
        parts = frames if isinstance(frames, Mapping) else {"": frames}
        boxes = [split for split, frame in parts.items() if _has_boxes(frame)]
        labels = [split for split in parts if split not in boxes]
        if boxes and labels:
            raise UserError(
                f"images: {labels[0]}: the data frame has no boxes, but that of {boxes[0]} has; give all frames the "
                "columns xmin, ymin, xmax and ymax, or none"
            )
        self.has_objects = bool(boxes)
        self._rows = [row for split, frame in parts.items() for row in _rows(str(split), frame, self.has_objects)]
        if not self._rows:
            raise UserError("images: the data frame has no rows")
        digest = hashlib.blake2b(digest_size=6)
        for row in self._rows:
            digest.update(repr(row).encode(errors="surrogatepass"))
        self.name = f"files-{digest.hexdigest()}"

    def source(self, name: str, options: Options) -> Source:
        """Returns the source of these images."""
        if self.has_objects:
            return BoxTable(name, self._rows, Path(), options)
        return LabelTable(name, self._rows, options)


def _header(frame: Any) -> list[str]:
    return [str(column) for column in frame.columns]


def _has_boxes(frame: Any) -> bool:
    """Returns whether a frame has columns for all four corners; fewer are other values, such as a feature `x1`."""
    return {*csv_table.HEADERLESS} - {*COLUMNS} <= csv_table.columns(_header(frame)).keys()


def _rows(split: str, frame: Any, has_boxes: bool) -> list[Row]:
    header = _header(frame)
    places = csv_table.columns(header)
    needed = csv_table.HEADERLESS if has_boxes else COLUMNS
    missing = [meaning for meaning in needed if meaning not in places]
    where = f"images: {split}" if split else "images"
    if missing:
        raise UserError(
            f"{where}: the data frame has no column {' or '.join(missing)} among {', '.join(header) or 'none'}; name "
            "them image and label, or image, label, xmin, ymin, xmax and ymax"
        )
    columns = {meaning: list(frame[frame.columns[place]]) for meaning, place in places.items()}
    rows = list[Row]()
    for number, values in enumerate(zip(*columns.values(), strict=True)):
        texts = dict(zip(columns, map(_text, values), strict=True))
        rows.append(Row(f"{where}, row {number}", Path(), texts | ({"split": split} if split else {})))
    return rows


def _text(value: Any) -> str:
    """Returns a value as CSV files have it; empty if it is missing."""
    if value is None or str(value) in ("<NA>", "NaT"):
        return ""
    if isinstance(value, float):
        # Whole numbers become floating-point ones in a column with missing values.
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(float(value))
    return str(value).strip()
