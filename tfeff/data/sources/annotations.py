"""Annotated objects, collected, checked and fixed where possible; datasets with one object per image."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfeff.boxes import area
from tfeff.data.dataset import Dataset, Id, Objects, RawAnnotations
from tfeff.data.defects import Defects
from tfeff.data.images.decoding import Headers
from tfeff.data.images.header import Header, turned_box
from tfeff.data.images.storage import ImageStorage
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

Box = tuple[float, float, float, float]
"""(top, left, bottom, right)."""
CORNERS, SWAPPED_CORNERS = "xmin, ymin, xmax, ymax", "ymin, xmin, ymax, xmax"
SIDES, SWAPPED_SIDES = "xmin, ymin, width, height", "ymin, xmin, height, width"
CENTERS, SWAPPED_CENTERS = "center x, center y, width, height", "center y, center x, height, width"
"""Orders of the four numbers of a box."""
PIXELS, RELATIVE = "in pixels", "relative to the image (0 to 1)"
"""Units of these numbers."""
RELATIVE_LIMIT = 1 + 1e-4
"""The largest coordinate of a relative box, with what rounding may add."""
_FEW = 3
"""Fewer boxes without a fraction could be single pixels in the corner of their images."""
REPEATED = "repeated object"
"""The defect of an object with the box and the class of another one in its image; it is used once."""
OF_SEVERAL_CLASSES = "object with the box of one of another class"
"""The defect of an object at whose place a detector learns another class. Both are used."""


class ObjectCollector:
    """Collector of the objects of one image.

    Args:
        where: the annotation file, for messages.
        size: (height, width) of the image.
        defects: where invalid annotations are counted.
        origin: index of the first row and column. 0: corners are edges, with right and bottom exclusive. 1: corners are
            pixels that belong to the box, as in VOC files; two corners in one row or column are a mistake, so such a
            box has no area.
        orientation: the stored image's Exif orientation, if boxes may have been drawn on the image as stored
            (`Header.orientation`).
        written: the size that the annotation states; None if it does not say.
        relative: whether the boxes were relative, so that none leaves its image, however that is turned.

    Labeling tools show images upright, so boxes are taken to belong to the upright image. They belong to the pixels as
    stored if the annotation states their size, or if it states none and boxes leave the upright image but not the
    stored one. Such boxes are turned with the image, which is a defect that costs nothing. `AnnotatedSplit` decides for
    images that show neither.
    """

    def __init__(
        self,
        where: str,
        size: tuple[int, int],
        defects: Defects,
        *,
        origin: Literal[0, 1] = 0,
        orientation: int = 1,
        written: tuple[int, int] | None = None,
        relative: bool = False,
    ) -> None:
        self._where, (self._height, self._width), self._defects = where, size, defects
        self._origin, self._orientation, self._written = origin, orientation, written
        self._relative, self._assumed_stored = relative, False
        self._pending: list[tuple[int, Box, int, bool, bool, float, Literal[0, 1]]] = []
        self._rows: list[tuple[Box, int, bool, bool, float]] = []
        self._known: dict[Box, list[int]] = {}
        self._raw: list[tuple[Box, int]] = []
        self._unnamed: list[tuple[Box, int]] = []
        self._finished = False

    def add(
        self,
        number: int,
        yxyx: tuple[float, float, float, float],
        label: int,
        *,
        difficult: bool = False,
        crowd: bool = False,
        area: float = math.nan,
        origin: Literal[0, 1] | None = None,
    ) -> None:
        """Adds object `number` (counted from 1, for messages), unless its box is beyond repair.

        Args:
            number: number of the object.
            yxyx: its box.
            label: its class.
            difficult: whether it is marked as difficult.
            crowd: whether the box is around a group of objects.
            area: see `Objects.areas`.
            origin: this box's origin, if it differs from the image's.
        """
        self._pending.append((number, yxyx, label, difficult, crowd, area, self._origin if origin is None else origin))

    def _finish(self) -> None:
        """Checks the objects, all of them together, once."""
        if self._finished:
            return
        self._finished = True
        size = self._height, self._width
        stored = self._assumed_stored or self.drawn_on() == "stored"
        if stored:
            sizes = f"(height, width) {size[::-1]} as stored, {size} upright"
            why = sizes if self._orientation >= 5 else f"orientation {self._orientation}, as in others"
            self._defects.add(
                "boxes drawn on the image before its EXIF orientation was applied",
                f"{self._where}: {why}; the boxes are turned with it",
            )
            self._written = size if self._written else None
        elif self._written is not None and self._written != size:
            where = f"{self._where}: {self._written} written, {size} in the image's header"
            self._defects.add("wrong image size", where)
        for number, box, label, difficult, crowd, pixels, start in self._pending:
            self._check(number, self._turned(box, start) if stored else box, label, difficult, crowd, pixels, start)
        self._raw += [(self._turned(box, self._origin) if stored else box, label) for box, label in self._unnamed]

    @property
    def turned(self) -> bool:
        """Whether the image as stored differs from the upright one, and has objects."""
        return self._orientation > 1 and bool(self._pending)

    def drawn_on(self) -> Literal["stored", "upright", ""]:
        """Returns the image that the boxes belong to, according to the annotation; "" if it does not show that."""
        upright, stored = (self._height, self._width), (self._width, self._height)
        if self._orientation < 5 or upright == stored:
            return ""
        if self._written is not None:
            return "stored" if self._written == stored else "upright" if self._written == upright else ""
        reach = np.array([box for _, box, *_ in self._pending], float).reshape(-1, 4)[:, 2:]
        if self._relative or not len(reach) or not np.isfinite(reach).all():
            return ""
        slack = 1 + 0.01 * max(upright)
        fits_upright, fits_stored = (bool((reach <= np.array(each) + slack).all()) for each in (upright, stored))
        return "" if fits_upright == fits_stored else "upright" if fits_upright else "stored"

    def assume_stored(self) -> bool:
        """Takes the boxes to belong to the pixels as stored, as those of other images do.

        Returns:
            Whether that is possible: not for relative boxes, nor if the annotation states another size.
        """
        self._assumed_stored = not self._relative and self._written in (None, (self._height, self._width))
        return self._assumed_stored

    def _turned(self, box: Box, start: int) -> Box:
        edges = box[0] - start, box[1] - start, box[2], box[3]
        top, left, bottom, right = turned_box(edges, (self._height, self._width), self._orientation)
        return top + start, left + start, bottom, right

    def _check(
        self, number: int, yxyx: Box, label: int, difficult: bool, crowd: bool, pixels: float, first: int
    ) -> None:
        top, left, bottom, right = yxyx
        self._raw.append((yxyx, label))
        if not all(map(math.isfinite, yxyx)):
            self._defects.add("box that is not finite", f"{self._where}, object {number}: {yxyx}", lost="objects")
            return
        if bottom < top or right < left:
            self._defects.add("swapped corners", f"{self._where}, object {number}: {yxyx}")
            top, bottom = min(top, bottom), max(top, bottom)
            left, right = min(left, right), max(left, right)
        if bottom > top and right > left:
            top, left = top - first, left - first
        clipped = max(top, 0.0), max(left, 0.0), min(bottom, float(self._height)), min(right, float(self._width))
        outside = False
        if clipped != (top, left, bottom, right):
            outside = clipped[0] >= clipped[2] or clipped[1] >= clipped[3]
            gone = outside and bottom > top and right > left
            self._defects.add(
                "box outside the image" if gone else "box partly outside",
                f"{self._where}, object {number}: {yxyx} in {self._height} x {self._width}",
                lost="objects" if gone else None,
            )
        if _is_empty(clipped):
            if not outside or bottom <= top or right <= left:
                self._defects.add("box without area", f"{self._where}, object {number}: {yxyx}", lost="objects")
            return
        known = self._known.setdefault(clipped, [])
        if label in known:
            self._defects.add(REPEATED, f"{self._where}, object {number}: {yxyx}")
            return
        if known:
            self._defects.add(OF_SEVERAL_CLASSES, f"{self._where}, object {number}: {yxyx}")
        known.append(label)
        self._rows.append((clipped, label, difficult, crowd, pixels))

    def add_unnamed(self, yxyx: tuple[float, float, float, float], label: int) -> None:
        """Keeps an object of an unknown class, which `objects` lacks; see `RawAnnotations.labels`."""
        self._unnamed.append((yxyx, label))

    def raw_annotations(self) -> RawAnnotations:
        """Returns all objects of the annotation, also those that `objects` lacks."""
        self._finish()
        boxes, labels = zip(*self._raw, strict=True) if self._raw else ((), ())
        return RawAnnotations(np.array(boxes, np.float64).reshape(-1, 4), np.array(labels, np.int64), self._written)

    def objects(self) -> Objects:
        """Returns the objects added so far; their defects are counted now."""
        self._finish()
        boxes, labels, difficult, crowd, areas = zip(*self._rows, strict=True) if self._rows else ((), (), (), (), ())
        return Objects(
            boxes_yxyx=np.array(boxes, np.float32).reshape(-1, 4),
            labels=np.array(labels, np.int32),
            difficult=np.array(difficult, bool),
            crowd=np.array(crowd, bool),
            areas=None if all(map(math.isnan, areas)) else np.array(areas, np.float64),
        )


def are_relative(boxes: Iterable[Box | None]) -> bool:
    """Returns whether boxes are relative to the height and width of their images, not in pixels.

    No coordinate of relative boxes is beyond 1 or -1.

    Args:
        boxes: all boxes of a file, as they are written; None: an incomplete one.
    """
    count, fractions = 0, False
    for box in boxes:
        if box is None or not all(map(math.isfinite, box)):
            continue
        if max(box) > RELATIVE_LIMIT or min(box) < -RELATIVE_LIMIT:
            return False
        count += 1
        fractions = fractions or any(side % 1 for side in box)
    return fractions or count >= _FEW


def stated_area(value: Any) -> float:
    """Returns the area of an object in square pixels, see `Objects.areas`; NaN if the value is none."""
    try:
        area = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return area if 0 < area < math.inf else math.nan


def scaled(box: Box, size: tuple[int, int]) -> Box:
    """Returns a relative box, yxyx, in pixels of an image of a size, (height, width).

    Coordinates usually have six digits: a side that rounding moves past the border of the image is on the border.
    """
    height, width = size
    slack = 1e-5 * max(size)
    top, left, bottom, right = box[0] * height, box[1] * width, box[2] * height, box[3] * width
    return (
        0.0 if abs(top) < slack else top,
        0.0 if abs(left) < slack else left,
        float(height) if abs(bottom - height) < slack else bottom,
        float(width) if abs(right - width) < slack else right,
    )


def _is_empty(box: tuple[float, float, float, float]) -> bool:
    """Returns whether a box has no area in single precision, in which boxes are stored: a sliver may have none."""
    if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
        return False
    stored = np.array(box, np.float32)
    return bool((stored[:2] >= stored[2:]).any())


class AnnotatedSplit:
    """Collector of the images of one split, with their objects.

    Args:
        name: name of the split's dataset.
        options: `channels`, `on_defect` and `keep_raw_annotations` apply.

    Attributes:
        name: name of the split's dataset.
        ids: ids of the images so far.
        defects: where invalid annotations are counted.
        notes: what the user should know, one line each.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name, self._options = name, options
        self.ids, self.defects, self.notes = list[str](), Defects(options.on_defect), list[str]()
        self._sizes, self._objects, self._raw = list[tuple[int, int]](), list[Objects](), list[RawAnnotations]()
        self._turned = dict[int, ObjectCollector]()

    def add(self, id_: str, size: tuple[int, int], found: ObjectCollector) -> None:
        """Adds an image of a size, (height, width)."""
        if found.turned:
            self._turned[len(self.ids)] = found
            found = ObjectCollector("", size, self.defects)  # in its place until all images are known
        self.ids.append(id_)
        self._sizes.append(size)
        self._objects.append(found.objects())
        if self._options.keep_raw_annotations:
            self._raw.append(found.raw_annotations())

    def _add_turned(self) -> None:
        """Adds the objects of images with an EXIF orientation: what some of them show is true of the others."""
        drawn = {place: found.drawn_on() for place, found in self._turned.items()}
        shown, unsure = set(drawn.values()) - {""}, 0
        for place, found in self._turned.items():
            if not drawn[place]:
                unsure += not (shown == {"upright"} or (shown == {"stored"} and found.assume_stored()))
            self._objects[place] = found.objects()
            if self._options.keep_raw_annotations:
                self._raw[place] = found.raw_annotations()
        if unsure:
            self.notes.append(
                f"{self.name}: {unsure:,} images have an EXIF orientation, and their annotations do not show whether "
                "boxes were drawn on the upright image; they are taken to be"
            )
        self._turned.clear()

    def header(self, headers: Headers, path: Path) -> Header | None:
        """Returns the header of an image file. If it cannot be read, that is a defect, and the result is None."""
        header = headers.header(path)
        if isinstance(header, UserError):
            self.defects.add("unreadable image", str(header), lost="images")
            return None
        return header

    def dataset(self, class_names: tuple[str, ...], images: ImageStorage, class_ids: Sequence[Id] = ()) -> Dataset:
        """Returns the split, with its images as `ids` lists them.

        Raises:
            NoImagesError: no images.
        """
        self._add_turned()
        return Dataset(
            name=self.name,
            class_names=class_names,
            ids=self.ids,
            images=images,
            channels=self._options.channels,
            objects=self._objects,
            sizes=np.array(self._sizes, np.int32).reshape(-1, 2),
            defects=self.defects,
            raw_annotations=self._raw,
            notes=tuple(self.notes),
            class_ids=class_ids,
        )


def distinct(names: Sequence[str], where: str, defects: Defects) -> tuple[str, ...]:
    """Returns the class names, of which repeated ones get a number, since a name stands for one class.

    >>> distinct(["cat", "dog", "cat"], "classes.txt", Defects())
    ('cat', 'dog', 'cat (2)')
    """
    found, numbers = dict[str, None](), dict[str, int]()
    for name in names:
        free = name
        while free in found:
            numbers[name] = numbers.get(name, 1) + 1
            free = f"{name} ({numbers[name]})"
        if free != name:
            defects.add("class name used twice", f"{where}: {name}, now {free}")
        found[free] = None
    return tuple(found)


def single_objects(dataset: Dataset) -> Dataset:
    """Returns every image with one object, its label and its box.

    If an image has several objects, the largest is used (the first of equal ones). Difficult objects and crowds do not
    count. Images without an object are skipped. The result's `notes` hold both counts.

    Args:
        dataset: a dataset with objects.

    Raises:
        UserError: no image has an object.
    """
    kept, chosen, several = list[int](), list[Objects](), 0
    for index, objects in enumerate(dataset.objects):
        counted = np.flatnonzero(~objects.ignored)
        if not len(counted):
            continue
        several += len(counted) > 1
        largest = counted[area(objects.boxes_yxyx[counted]).argmax()]
        kept.append(index)
        chosen.append(objects.take(np.array([largest])))
    if not kept:
        raise UserError(f"{dataset.name}: none of its {len(dataset)} images has an object to localize")
    return dataclasses.replace(
        dataset.take(np.array(kept)),
        name=f"objects:{dataset.name}",
        objects=chosen,
        labels=np.array([objects.labels[0] for objects in chosen], np.int32),
        notes=_notes(dataset, len(dataset) - len(kept), several),
    )


def _notes(dataset: Dataset, empty: int, several: int) -> tuple[str, ...]:
    notes = [*dataset.notes]
    if empty:
        notes.append(f"{dataset.name}: skipped {empty} of {len(dataset)} images, which have no object")
    if several:
        notes.append(f"{dataset.name}: {several} of {len(dataset)} images have several objects; the largest is used")
    return tuple(notes)
