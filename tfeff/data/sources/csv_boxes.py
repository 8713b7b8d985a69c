"""CSV files of objects, one per row: columns `image`, `label`, `xmin`, `ymin`, `xmax`, `ymax`, and optionally `split`.

TensorFlow's object detection API and Roboflow write such files (`filename,width,height,class,xmin,...`), RetinaNet
reads them without a header (`path,x1,y1,x2,y2,class`). Corners are edges in pixels; if none is above 1, they are
relative to width and height. A row without corners and class lists an image without objects. Columns `width` and
`height` are the size of the image, unless they are that of the box; another size than the image's is a defect.

Images are searched relative to the file. Those that are not there are searched by their names in the folders next to
the file; each one found in another folder is counted as a defect. A file that another row names is not used.
"""

import functools
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
from tfeff.data.names import listed, shown
from tfeff.data.sources import csv_table
from tfeff.data.sources.annotations import (
    CORNERS,
    PIXELS,
    RELATIVE,
    AnnotatedSplit,
    ObjectCollector,
    are_relative,
    scaled,
)
from tfeff.data.sources.csv_table import Row
from tfeff.data.sources.listing import folded
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, canonical_name, checked_fractions, require_distinct

_CORNERS = ("ymin", "xmin", "ymax", "xmax")


class BoxTable(Source):
    """Images with objects, in the order in which the rows name them first; classes in the order of their names.

    Args:
        name: source name.
        rows: one per object.
        folder: the folder to which ids of images are relative.
        options: `channels`, `fractions`, `seed` and `on_defect` apply.
        search: whether images that are not where rows say are searched below the folder.

    Raises:
        UserError: no rows, or several names of one split.
    """

    def __init__(self, name: str, rows: Iterable[Row], folder: Path, options: Options, *, search: bool = False) -> None:
        super().__init__(name, options)
        self._folder, self._headers, self._search = folder, Headers(), search
        self._rows = dict[str, list[Row]]()
        for row in rows:
            self._rows.setdefault(self._id(row) or row.where, []).append(row)
        if not self._rows:
            raise NoImagesError(self.name)
        every = (row.values for found in self._rows.values() for row in found)
        names = {values["label"] for values in every} - {""}
        self._labels = {name: number for number, name in enumerate(sorted(names))}
        written = (row.values.get("split", "") for found in self._rows.values() for row in found)
        require_distinct(self.name, (split for split in dict.fromkeys(written) if _split(split)))
        self._named_splits = {
            name: list(dict.fromkeys(_split(row.values.get("split", "")) for row in rows))
            for name, rows in self._rows.items()
        }
        self._splits = tuple(dict.fromkeys(split for found in self._named_splits.values() for split in found if split))
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

    @property
    def box_format(self) -> tuple[str, str]:
        """See `Source`."""
        return CORNERS, RELATIVE if self._relative else PIXELS

    def _load(self, split: str) -> Dataset:
        found = AnnotatedSplit(f"{self.name}/{split}", self.options)
        paths = list[Path]()
        if not self.drawn and split != ALL:
            images = ((self._rows[name][0].where, splits) for name, splits in self._named_splits.items())
            csv_table.report_splits(images, split, self._splits, self.options.used_splits, found.defects)
        for name in self._members(split):
            rows, path = self._rows[name], self._folder / name
            if not rows[0].values["image"]:
                found.defects.add("row without an image", rows[0].where, lost="images")
                continue
            if not os.path.isfile(path):  # unlike `is_file`, without an error for a name that is too long
                where, others = f"{rows[0].where}: {shown(name)}", self._elsewhere.get(name, [])
                if len(others) != 1:
                    text = f"{where}; it could be {listed(others)}" if others else where
                    found.defects.add("image without a file", text, lost="images")
                    continue
                path = self._folder / others[0]
                if csv_table.no_ending(name):
                    found.defects.add(csv_table.NO_ENDING, f"{where}; reading {shown(others[0])}")
                elif folded(others[0]) != folded(name):
                    found.defects.add("image found in another folder", f"{where}; reading {shown(others[0])}")
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
        return [name for name in names if next(filter(None, self._named_splits[name]), "") == split]

    def _id(self, row: Row) -> str:
        """Returns the path of an image, relative to the folder of the source if it is inside; "" without one."""
        return os.path.relpath(row.folder / row.image, self._folder) if row.image else ""

    @cached_property
    def _elsewhere(self) -> dict[str, list[str]]:
        """Image without a file -> the files that it can be."""
        return csv_table.elsewhere(self._folder, self._rows) if self._search else {}

    @cached_property
    def _relative(self) -> bool:
        """Whether all corners are within 0 and 1."""
        return are_relative(_box(row.values) for rows in self._rows.values() for row in rows)

    def _collected(self, rows: list[Row], header: Header, defects: Defects) -> ObjectCollector:
        """Returns the objects of an image."""
        written = _image_size(rows)
        size = header.annotated_size(written)
        collector = ObjectCollector(
            rows[0].where,
            header.size,
            defects,
            orientation=header.orientation,
            written=written,
            relative=self._relative,
        )
        for number, row in enumerate(rows, 1):
            label, box = row.values["label"], _box(row.values)
            if row.problem:
                defects.add(row.problem, row.where, lost="objects")
            elif not label and not any(row.values[side] for side in _CORNERS):
                continue
            elif not label:
                defects.add("object without a name", row.where, lost="objects")
            elif box is None:
                defects.add("object without a complete box", row.where, lost="objects")
            else:
                collector.add(number, scaled(box, size) if self._relative else box, self._labels[label])
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
        self._guessed = list[str]()
        rows = csv_table.rows(name, path, csv_table.HEADERLESS, self._guessed)
        super().__init__(name, rows, path if path.is_dir() else path.parent, options, search=True)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        others = (other for found in self._elsewhere.values() for other in found)
        paths = [self._folder / name for name, rows in self._rows.items() if rows[0].image]
        unlisted = csv_table.unlisted_note(self.name, [*paths, *(self._folder / other for other in others)])
        return (*super().notes, *csv_table.guessed_note(self.name, self._guessed), *unlisted)


@functools.cache
def _split(name: str) -> str:
    """Returns the split that a row names; "" if it names none, or all of them."""
    split = canonical_name(name)
    return "" if split == ALL else split


def _image_size(rows: list[Row]) -> tuple[int, int] | None:
    """Returns (height, width) of an image as its rows state it; None if they do not, or state the size of the box."""
    sizes = {(row.values.get("height", ""), row.values.get("width", "")) for row in rows}
    try:
        ((height, width),) = ((float(high), float(wide)) for high, wide in sizes)
    except ValueError:
        return None
    if not (height > 0 and width > 0 and height % 1 == width % 1 == 0):
        return None
    boxes = [box for row in rows if (box := _box(row.values))]
    if all(abs(box[2] - box[0] - height) <= 1 and abs(box[3] - box[1] - width) <= 1 for box in boxes) and boxes:
        return None
    return int(height), int(width)


def _box(values: Mapping[str, str]) -> tuple[float, float, float, float] | None:
    """Returns (top, left, bottom, right) as written; None if it is incomplete."""
    try:
        top, left, bottom, right = (float(values[side]) for side in _CORNERS)
    except ValueError:
        return None
    return (top, left, bottom, right) if math.isfinite(top + left + bottom + right) else None
