"""CSV files of objects, one per row: columns `image`, `label`, `xmin`, `ymin`, `xmax`, `ymax`, and optionally `split`.

TensorFlow's object detection API and Roboflow write such files (`filename,width,height,class,xmin,...`), RetinaNet
reads them without a header (`path,x1,y1,x2,y2,class`). Corners are edges in pixels; if none is above 1, they are
relative to width and height. A row without corners and class lists an image without objects.

Images are searched relative to the file, and otherwise by their names in the folders next to it.
"""

import math
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from tfeff.data.dataset import Dataset, NoImagesError
from tfeff.data.defects import Defects
from tfeff.data.images.decoding import Headers
from tfeff.data.images.header import Header
from tfeff.data.images.storage import ImageFiles
from tfeff.data.names import shown
from tfeff.data.sources import csv_table, files
from tfeff.data.sources.annotations import AnnotatedSplit, ObjectCollector
from tfeff.data.sources.csv_table import Row
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, canonical_name, checked_fractions

_CORNERS = ("ymin", "xmin", "ymax", "xmax")


class BoxTable(Source):
    """Images with objects, in the order in which the rows name them first; classes in the order of their names.

    Args:
        name: of the source.
        rows: one per object.
        folder: where images are searched by their names.
        options: `channels`, `fractions`, `seed` and `on_defect` apply.

    Raises:
        UserError: no rows.
    """

    def __init__(self, name: str, rows: Iterable[Row], folder: Path, options: Options) -> None:
        super().__init__(name, options)
        self._folder, self._headers = folder, Headers()
        self._rows = dict[str, list[Row]]()
        for row in rows:
            self._rows.setdefault(self._id(row), []).append(row)
        if not self._rows:
            raise NoImagesError(self.name)
        every = (row.values for found in self._rows.values() for row in found)
        names = {values["label"] for values in every} - {""}
        self._labels = {name: number for number, name in enumerate(sorted(names))}
        splits = (canonical_name(rows[0].values.get("split", "")) for rows in self._rows.values())
        self._splits = tuple(dict.fromkeys(split for split in splits if split))
        if self.drawn:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of the column `split` or of the files of a folder, or those of `fractions`."""
        return self._splits or tuple(self.options.fractions)

    @property
    def drawn(self) -> bool:
        """Whether the rows have no splits."""
        return not self._splits

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        return (f"{self.name}: corners are relative to width and height",) if self._relative else ()

    def _load(self, split: str) -> Dataset:
        found = AnnotatedSplit(f"{self.name}/{split}", self.options)
        paths = list[Path]()
        for name in self._members(split):
            rows = self._rows[name]
            path = self._image(name)
            if path is None:
                found.defects.add("image that does not exist", f"{rows[0].where}: {shown(name)}", lost="images")
                continue
            header = found.header(self._headers, path)
            if header is not None:
                paths.append(path)
                found.add(name, header.size, self._collected(rows, header, found.defects))
        return found.dataset(tuple(self._labels), ImageFiles(paths))

    def _members(self, split: str) -> list[str]:
        names = list(self._rows)
        if split == ALL:
            return names
        if self.drawn:
            return self._drawn_names(names, split)
        return [name for name in names if canonical_name(self._rows[name][0].values.get("split", "")) == split]

    def _id(self, row: Row) -> str:
        """The path of an image, relative to the folder of the source if it is inside."""
        written = row.values["image"].replace("\\", "/")
        return os.path.relpath(row.folder / written, self._folder) if written else ""

    def _image(self, name: str) -> Path | None:
        """The file of an image; None if there is none, or if several have its name."""
        path = self._folder / name
        if os.path.isfile(path):  # unlike `is_file`, also without an error for a name that is too long
            return path
        found = self._by_name.get(os.path.basename(name), [])
        return self._folder / found[0] if len(found) == 1 else None

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Name -> image files below the folder."""
        found = dict[str, list[str]]()
        for path in files.find(self._folder).paths:
            found.setdefault(os.path.basename(path), []).append(path)
        return found

    @cached_property
    def _relative(self) -> bool:
        """Whether all corners are within 0 and 1."""
        boxes = (_box(row.values) for rows in self._rows.values() for row in rows)
        sides = [side for box in boxes if box is not None for side in box]
        return bool(sides) and max(sides) <= 1

    def _collected(self, rows: list[Row], header: Header, defects: Defects) -> ObjectCollector:
        """The objects of an image."""
        turned = 1 if self._relative else header.orientation  # relative boxes never leave the image
        collector = ObjectCollector(rows[0].where, header.size, defects, orientation=turned)
        scale = (*header.size, *header.size) if self._relative else (1, 1, 1, 1)
        for number, row in enumerate(rows, 1):
            label, box = row.values["label"], _box(row.values)
            if row.surplus:
                defects.add("row with more values than columns", row.where, lost="objects")
            elif not label and not any(row.values[side] for side in _CORNERS):
                continue
            elif not label:
                defects.add("object without a name", row.where, lost="objects")
            elif box is None:
                defects.add("object without a complete box", row.where, lost="objects")
            else:
                top, left, bottom, right = (side * factor for side, factor in zip(box, scale, strict=True))
                collector.add(number, (top, left, bottom, right), self._labels[label])
        return collector


class CSVBoxes(BoxTable):
    """A CSV file of objects.

    Args:
        path: the file, or a folder with a file for each split.
        options: as for `BoxTable`.

    Raises:
        UserError: a file is missing, not text or lacks a column, or there are no rows.
    """

    def __init__(self, path: str | Path, options: Options) -> None:
        name, path = f"csv:{path}", Path(path)
        rows = csv_table.rows(name, path, csv_table.HEADERLESS)
        super().__init__(name, rows, path if path.is_dir() else path.parent, options)


def _box(values: Mapping[str, str]) -> tuple[float, float, float, float] | None:
    """(top, left, bottom, right) as written; None if it is incomplete."""
    try:
        top, left, bottom, right = (float(values[side]) for side in _CORNERS)
    except ValueError:
        return None
    return (top, left, bottom, right) if math.isfinite(top + left + bottom + right) else None
