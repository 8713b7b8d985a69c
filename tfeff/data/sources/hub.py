"""Hugging Face datasets on disk, without the package `datasets`: see `hub_layout` for their files.

Labels and classes are those of the features that the files state; without these, columns are found by their usual
names. Nothing is downloaded, and no code of a dataset runs.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.data.dataset import Dataset, NoImagesError
from tfeff.data.defects import Defects
from tfeff.data.images import header
from tfeff.data.names import listed, shown
from tfeff.data.sources import hub_features as features
from tfeff.data.sources import hub_layout
from tfeff.data.sources.annotations import (
    CORNERS,
    PIXELS,
    RELATIVE,
    SIDES,
    AnnotatedSplit,
    ObjectCollector,
    are_relative,
    scaled,
    stated_area,
)
from tfeff.data.sources.hub_tables import Tables
from tfeff.data.sources.source import FURTHER_CLASSES, Options, Source
from tfeff.data.splits import ALL, checked_fractions, find_split
from tfeff.errors import UserError

_LABELS = ("label", "labels", "class", "category", "target")
_NOT_INSIDE = "image that is not in the tables, which only name its file"


_FORMS = ("[x, y, width, height]", "corners [xmin, ymin, xmax, ymax]")
"""Forms of boxes."""
_VOTING = 1000
"""Images whose boxes decide about the form."""


class HubDataset(Source):
    """A Hugging Face dataset.

    Args:
        root: its folder, or one of its tables.
        options: `channels`, `fractions`, `seed` and `on_defect` apply.

    Raises:
        UserError: no dataset, or one without images.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(f"hf:{root}", options)
        layout = hub_layout.find(self.name, Path(root))
        self._paths, self._layout_notes = layout.splits, layout.notes
        self._columns = dict[tuple[str, str], list[Any]]()
        self._tables = {split: Tables(paths) for split, paths in layout.splits.items()}
        self._features = next(iter(self._tables.values())).features
        for split, tables in self._tables.items():
            if tables.features != self._features:
                raise UserError(f"{self.name}: the columns or classes of {split} are not those of the other splits")
        images = [key for key, feature in self._features.items() if features.kind(feature) == "Image"]
        if not images:
            raise UserError(f"{self.name}: no column has images; there are {listed(list(self._features), 20)}")
        self._image = images[0]
        if self.drawn:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of the dataset, or those of `fractions`."""
        return tuple(self.options.fractions if self.drawn else self._tables)

    @property
    def drawn(self) -> bool:
        """Whether the dataset has no splits."""
        return list(self._tables) == [ALL]

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        others = [
            key for key, feature in self._features.items() if features.kind(feature) == "Image" and key != self._image
        ]
        ignored = (f"{self.name}: images are those of {self._image}, not of {listed(others)}",) if others else ()
        return (*self._layout_notes, *ignored)

    @property
    def lists_cheaply(self) -> bool:
        """Whether a split can be loaded without its images: not from Parquet files, which compress them in groups."""
        return not any(path.suffix == ".parquet" for paths in self._paths.values() for path in paths)

    def _rows(self, column: str, split: str) -> tuple[Tables, list[str], list[Any]]:
        """Returns the tables of a split, an id of each of their rows, and the values of a column."""
        parts = [split] if split in self._tables else list(self._tables)
        tables = self._tables[parts[0]] if len(parts) == 1 else Tables([p for part in parts for p in self._paths[part]])
        values = [self._column(part, column) for part in parts]
        ids = [f"{part}[{row}]" for part, found in zip(parts, values, strict=True) for row in range(len(found))]
        return tables, ids, [value for found in values for value in found]

    def _column(self, part: str, column: str) -> list[Any]:
        """Returns the values of a column; read once."""
        key = part, column
        if key not in self._columns:
            self._columns[key] = self._tables[part].column(column)
        return self._columns[key]


class HubLabeledImages(HubDataset):
    """Images with one label each, in the order of their rows.

    Rows without a label, such as those of a test split whose labels are secret, are left out.

    The label is a `ClassLabel` with a usual name; else the column `label` of texts or whole numbers, another
    `ClassLabel`, or another column of texts or whole numbers with a usual name. If there are several such columns, a
    note says which one is learned.

    Args:
        root: as for `HubDataset`.
        options: as for `HubDataset`.

    Raises:
        UserError: as for `HubDataset`, or there is no label, or a class that the training split lacks.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(root, options)
        classes = [key for key, feature in self._features.items() if features.kind(feature) == "ClassLabel"]
        candidates = [key for key, feature in self._features.items() if key in classes or features.is_label(feature)]
        usual = [key for name in _LABELS for key in candidates if key.lower() == name]
        several = [key for key in self._features if key.lower() in _LABELS and features.is_list(self._features[key])]
        if several and not usual and not classes:
            raise UserError(
                f"{self.name}: the column {several[0]} has a list of labels for each image, and classifiers learn one: "
                "write a column with one label per image"
            )
        if not usual and not classes:
            raise UserError(
                f"{self.name} is not a classification dataset: no column is a ClassLabel or is called label; there are "
                f"{listed(list(self._features), 20)}"
            )
        usual_classes = [key for key in usual if key in classes]
        exact = [key for key in usual if key.lower() == "label"]
        self._label, *self._others = dict.fromkeys([*usual_classes, *exact, *classes, *usual])
        columns = {part: self._column(part, self._label) for part in self._tables}
        self._classes = features.Classes.of(
            self._features[self._label], [v for found in columns.values() for v in found]
        )
        learned = {part: {*map(self._classes.number, found)} - {-1} for part, found in columns.items()}
        self._unlabeled = [part for part, found in learned.items() if not found and any(learned.values())]
        for part in self._unlabeled:
            del self._tables[part]
        train = find_split("train", list(self._tables))
        if train is not None:
            unknown = sorted(set[int]().union(*learned.values()) - learned[train])
            if unknown and not options.further_classes:
                name = shown(self._classes.names[unknown[0]])
                raise UserError(f'{self.name}: no image of the split {train} has the label "{name}"; {FURTHER_CLASSES}')

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        others = f"{self.name}: labels are those of {self._label}, not of {listed(self._others)}"
        unlabeled = (f"{self.name}: ignored the split {part}, which has no labels" for part in self._unlabeled)
        return (*super().notes, *((others,) if self._others else ()), *unlabeled)

    def _load(self, split: str) -> Dataset:
        """Reads one split: the labels, and which rows have an image. For the latter, Parquet files are decompressed.

        Raises:
            NoImagesError: no row has both image and label.
        """
        tables, ids, values = self._rows(self._label, split)
        labels, rows = np.array([self._classes.number(value) for value in values], np.int64), np.arange(len(ids))
        if self.drawn and split != ALL:
            rows = self._draw(ids, split, labels)
        images, places = tables.images(self._image, len(ids))
        place = np.full(len(ids), -1)
        place[places] = np.arange(len(places))
        defects = Defects(self.options.on_defect)
        for row in rows[(labels[rows] < 0) | (place[rows] < 0)].tolist():
            where = f"{self.name}, {ids[row]}"
            if place[row] < 0:
                defects.add(_NOT_INSIDE, where, lost="images")
            else:
                value = values[row]
                kind = "image without a label" if value in features.UNLABELED else "class without a name"
                defects.add(kind, f"{where}: {shown(str(value))}", lost="images")
        rows = rows[(labels[rows] >= 0) & (place[rows] >= 0)]
        if not len(rows):
            raise NoImagesError(f"{self.name}/{split}", defects)
        return Dataset(
            name=f"{self.name}/{split}",
            class_names=self._classes.names,
            ids=[ids[row] for row in rows],
            images=images.take(place[rows]),
            channels=self.options.channels,
            labels=labels[rows],
            defects=defects,
        )


class HubAnnotatedImages(HubDataset):
    """Images with objects, in the order of their rows.

    A column has the objects of an image: boxes, in pixels or relative to width and height, and their classes, as in
    `objects: {bbox, category}`. The fields `difficult`, `iscrowd` and, if boxes are in pixels, `area` are read if
    present. Boxes are [x, y, width, height] as in COCO, or corners [xmin, ymin, xmax, ymax] if more boxes of the first
    1,000 images with boxes fit as these. Boxes that fit as the other form alone are counted as a defect, as are columns
    `width` and `height` that differ from the size of the image.

    Args:
        root: as for `HubDataset`.
        options: as for `HubDataset`.

    Raises:
        UserError: as for `HubDataset`, or there are no boxes with classes.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(root, options)
        found = [
            keys for key, feature in self._features.items() if (keys := features.object_keys(key, feature)) is not None
        ]
        if not found:
            raise UserError(
                f"{self.name} is not a detection dataset: no column has boxes (bbox) and classes (category); there are "
                f"{listed(list(self._features), 20)}"
            )
        self._keys = found[0]
        fields = features.fields_of(self._features[self._keys.objects])
        used = [
            label
            for part in self._tables
            for row in self._column(part, self._keys.objects)
            for label in features.values_of(row, self._keys.label)
        ]
        self._classes = features.Classes.of(fields[self._keys.label], used)

    @property
    def lists_cheaply(self) -> bool:
        """No: the headers of the images are inside the tables."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        form = ", relative to width and height" if self._relative else ""
        return (*super().notes, f"{self.name}: boxes are read as {_FORMS[self._corners]}{form}")

    @property
    def box_format(self) -> tuple[str, str]:
        """See `Source`."""
        return CORNERS if self._corners else SIDES, RELATIVE if self._relative else PIXELS

    @cached_property
    def _relative(self) -> bool:
        """Whether boxes are relative to width and height."""
        rows = (row for part in self._tables for row in self._column(part, self._keys.objects))
        boxes = (box for row in rows for box in features.values_of(row, self._keys.box))
        return are_relative(tuple(box) if features.is_box(box) else None for box in boxes)

    def _fits(self, box: Sequence[float], size: tuple[int, int]) -> tuple[bool, bool]:
        """Returns whether a box fits an image of a size, (height, width), in each of `_FORMS`, with some tolerance."""
        height, width = size
        a, b, c, d = (x * side for x, side in zip(box, (width, height) * 2, strict=True)) if self._relative else box
        slack = 1 + 0.01 * max(height, width)
        return (
            c >= 0 <= d and a + c <= width + slack and b + d <= height + slack,
            c > a and d > b and c <= width + slack and d <= height + slack,
        )

    @cached_property
    def _corners(self) -> bool:
        """Whether boxes are corners: more of them fit the first images with boxes as these."""
        part = next(iter(self._tables))
        annotations = self._column(part, self._keys.objects)
        images, rows = self._tables[part].images(self._image, len(annotations))
        written = self._written_sizes(part, len(annotations))
        place = {row: index for index, row in enumerate(rows.tolist())}
        fitting, voting = np.zeros(2, np.int64), 0
        for row, objects in enumerate(annotations):
            boxes = [box for box in features.values_of(objects, self._keys.box) if features.is_box(box)]
            if not boxes or row not in place:
                continue
            try:
                size = header.read(images.encoded(place[row]), self.name).annotated_size(written[row])
            except (UserError, OSError):
                continue
            fitting += np.sum([self._fits(box, size) for box in boxes], axis=0)
            voting += 1
            if voting == _VOTING:
                break
        return bool(fitting[1] > fitting[0])

    def _written_sizes(self, split: str, count: int) -> list[tuple[int, int] | None]:
        """Returns (height, width) of each of the `count` images of a split, as columns state it; None without them."""
        sides = [features.find(self._features, names) for names in (features.HEIGHT, features.WIDTH)]
        columns = [[None] * count if side is None else self._rows(side, split)[2] for side in sides]
        return [(height, width) if height and width else None for height, width in zip(*columns, strict=True)]

    def _load(self, split: str) -> Dataset:
        """Reads one split.

        Raises:
            UserError: no images, or (with `on_defect="stop"`) an invalid annotation.
        """
        keys, found = self._keys, AnnotatedSplit(f"{self.name}/{split}", self.options)
        tables, ids, annotations = self._rows(keys.objects, split)
        written = self._written_sizes(split, len(ids))
        images, rows = tables.images(self._image, len(ids))
        place, kept = {row: index for index, row in enumerate(rows.tolist())}, list[int]()
        chosen = {*self._drawn_names(ids, split)} if self._draws(split) else None
        for row, (name, objects) in enumerate(zip(ids, annotations, strict=True)):
            where = f"{self.name}, {name}"
            if chosen is not None and name not in chosen:
                continue
            if row not in place:
                found.defects.add(_NOT_INSIDE, where, lost="images")
                continue
            try:
                head = header.read(images.encoded(place[row]), where)
            except (UserError, OSError) as error:
                found.defects.add("unreadable image", str(error), lost="images")
                continue
            collector = ObjectCollector(
                where,
                head.size,
                found.defects,
                orientation=head.orientation,
                written=written[row],
                relative=self._relative,
            )
            self._collect(collector, where, objects, head.annotated_size(written[row]), found.defects)
            found.add(name, head.size, collector)
            kept.append(place[row])
        return found.dataset(self._classes.names, images.take(np.array(kept, np.int64)), self._classes.ids)

    def _draws(self, split: str) -> bool:
        return self.drawn and split != ALL

    def _collect(
        self, collector: ObjectCollector, where: str, objects: Any, size: tuple[int, int], defects: Defects
    ) -> None:
        """Adds the objects of an image, whose boxes were drawn on one of a size, (height, width)."""
        keys = self._keys
        boxes, labels = features.values_of(objects, keys.box), features.values_of(objects, keys.label)
        if len(boxes) != len(labels):
            defects.add("objects whose boxes and classes differ in number", where, lost="objects", count=len(boxes))
            return
        further = [features.values_of(objects, key) for key in (keys.difficult, keys.crowd, keys.area)]
        difficult, crowd, areas = (each if len(each) == len(boxes) else [None] * len(boxes) for each in further)
        for number, (box, label) in enumerate(zip(boxes, labels, strict=True), 1):
            if not features.is_box(box):
                defects.add("object without a complete box", f"{where}, object {number}: {box}", lost="objects")
                continue
            fits = self._fits(box, size)
            if fits[not self._corners] and not fits[self._corners]:
                defects.add(f"box that fits only as {_FORMS[not self._corners]}", f"{where}, object {number}: {box}")
            left, top, right, bottom = box if self._corners else (box[0], box[1], box[0] + box[2], box[1] + box[3])
            yxyx = top, left, bottom, right
            if self._relative:
                yxyx = scaled(yxyx, size)
            known = self._classes.number(label)
            if known < 0:
                place = f"{where}, object {number}: {shown(str(label))}"
                defects.add("class without a name", place, lost="objects")
                collector.add_unnamed(yxyx, -1)
                continue
            collector.add(
                number,
                yxyx,
                known,
                difficult=bool(difficult[number - 1]),
                crowd=bool(crowd[number - 1]),
                area=math.nan if self._relative else stated_area(areas[number - 1]),
            )
