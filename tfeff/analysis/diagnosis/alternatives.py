"""What boxes could mean instead of what was read: other formats, other image sizes, changed axes."""

from dataclasses import dataclass

import numpy as np

from tfeff.analysis.diagnosis.annotations import Annotations, Boxes, Transform
from tfeff.data.sources.annotations import (
    CENTERS,
    CORNERS,
    PIXELS,
    RELATIVE,
    SIDES,
    SWAPPED_CENTERS,
    SWAPPED_CORNERS,
    SWAPPED_SIDES,
)

X_FIRST = (CORNERS, SIDES, CENTERS)
ORDERS = (*X_FIRST, SWAPPED_CORNERS, SWAPPED_SIDES, SWAPPED_CENTERS)
PERCENT, THOUSANDTHS = "in percent of the image", "in thousandths of the image (0 to 1000)"
UNITS = {PIXELS: None, RELATIVE: 1.0, PERCENT: 100.0, THOUSANDTHS: 1000.0}
"""Unit -> the number that means the whole height or width; None: pixels."""


# Boxes in images that were changed in one way while the boxes were not: yxyx, in pixels, or relative to the image.


def swapped(boxes: Boxes, height: float = 1.0, width: float = 1.0) -> Boxes:
    """Swaps x and y."""
    return boxes[:, [1, 0, 3, 2]]


def upside_down(boxes: Boxes, height: float = 1.0, width: float = 1.0) -> Boxes:
    """Counts y from the bottom."""
    top, left, bottom, right = boxes.T
    return np.stack([height - bottom, left, height - top, right], axis=-1)


def mirrored(boxes: Boxes, height: float = 1.0, width: float = 1.0) -> Boxes:
    """Counts x from the right."""
    top, left, bottom, right = boxes.T
    return np.stack([top, width - right, bottom, width - left], axis=-1)


def clockwise(boxes: Boxes, height: float = 1.0, width: float = 1.0) -> Boxes:
    """Converts boxes drawn on images rotated by 90 degrees clockwise to the stored images of this size."""
    top, left, bottom, right = boxes.T
    return np.stack([height - right, top, height - left, bottom], axis=-1)


def counterclockwise(boxes: Boxes, height: float = 1.0, width: float = 1.0) -> Boxes:
    """Returns the inverse of `clockwise`."""
    top, left, bottom, right = boxes.T
    return np.stack([left, width - bottom, right, width - top], axis=-1)


ROTATIONS = {"clockwise": clockwise, "counterclockwise": counterclockwise}


@dataclass(frozen=True)
class Reading:
    """A format of boxes."""

    order: str
    unit: str

    def __str__(self) -> str:
        return f"{self.order}, {self.unit}"

    def decode(self, numbers: Boxes, size: tuple[int, int]) -> Boxes:
        """Converts the four numbers of each annotation to boxes_yxyx [n, 4] in pixels.

        The image has this (height, width).
        """
        boxes = swapped(numbers) if self.order in X_FIRST else numbers
        start, end = boxes[:, :2], boxes[:, 2:]
        if self.order in (SIDES, SWAPPED_SIDES):
            end = start + end
        if self.order in (CENTERS, SWAPPED_CENTERS):
            start, end = start - end / 2, start + end / 2
        return np.concatenate([start, end], axis=1) * self._pixels(size)

    def encode(self, boxes_yxyx: Boxes, size: tuple[int, int]) -> Boxes:
        """Returns the inverse of `decode`."""
        start, end = np.split(boxes_yxyx / self._pixels(size), 2, axis=1)
        if self.order in (SIDES, SWAPPED_SIDES):
            end = end - start
        if self.order in (CENTERS, SWAPPED_CENTERS):
            start, end = (start + end) / 2, end - start
        numbers = np.concatenate([start, end], axis=1)
        return swapped(numbers) if self.order in X_FIRST else numbers

    def _pixels(self, size: tuple[int, int]) -> Boxes:
        """Returns what 1 means, for yxyx."""
        whole = UNITS[self.unit]
        return np.ones(4) if whole is None else np.tile(np.array(size, float) / whole, 2)


def others(reading: Reading) -> list[Reading]:
    """Returns all other formats, those of the same unit and order of axes first."""
    every = [Reading(order, unit) for unit in UNITS for order in ORDERS]
    return sorted(
        (each for each in every if each != reading),
        key=lambda each: (each.unit != reading.unit, (each.order in X_FIRST) != (reading.order in X_FIRST)),
    )


@dataclass(frozen=True, eq=False)
class Alternative:
    """Another meaning of boxes.

    Attributes:
        what: what is wrong if they have this meaning, as a sentence without its period.
        transform: converts boxes as they were read to the correct ones.
        same_unit: whether the numbers have the unit in which they were read.
    """

    what: str
    transform: Transform
    fix: str
    same_unit: bool = True


def readings(annotations: Annotations, reading: Reading | None) -> list[Alternative]:
    """Returns meanings of the four numbers in other formats, of other sizes and of rotated images.

    If it is unknown how the numbers were read, other formats are left out.
    """
    found = [] if reading is None else _other_formats(annotations, reading)
    sizes = zip(annotations.annotated_sizes, annotations.sizes, strict=True)
    if any(stated is not None and stated != size for stated, size in sizes):
        found.append(
            Alternative(
                "the boxes belong to images of the size in the annotations, not of the files",
                rescaled(annotations),
                "scale the boxes to the images, or use the images that were annotated",
            )
        )
    if reading and reading.unit == RELATIVE:
        found.append(
            Alternative(
                "x was divided by the height of the image, and y by its width",
                annotations.by_size(lambda boxes, h, w: boxes * np.tile([w / h, h / w], 2)),
                "divide x and the box's width by the width of the image, y and the box's height by its height",
            )
        )
    return found + [
        Alternative(
            f"the boxes were drawn on images rotated by 90 degrees {direction}",
            annotations.by_size(turned),
            "save the images upright, or rotate the boxes",
        )
        for direction, turned in ROTATIONS.items()
    ]


def _other_formats(annotations: Annotations, reading: Reading) -> list[Alternative]:
    return [
        Alternative(
            f"the boxes are written as {other}, but they are read as {reading}",
            _converted(annotations, reading, other),
            f"write the boxes as {reading}: export them again with the right option, or convert the numbers",
            same_unit=other.unit == reading.unit,
        )
        for other in others(reading)
    ]


def axis_changes(annotations: Annotations) -> list[Alternative]:
    """Returns swapped and reversed axes."""
    return [
        Alternative(
            "x and y of the boxes are swapped",
            annotations.by_size(swapped),
            "swap x and y in the annotations",
        ),
        Alternative(
            "the boxes are upside down: y is counted from the bottom",
            annotations.by_size(upside_down),
            "write height - y: coordinates start at the top left",
        ),
        Alternative(
            "the boxes are mirrored: x is counted from the right",
            annotations.by_size(mirrored),
            "write width - x: coordinates start at the top left",
        ),
    ]


def _converted(annotations: Annotations, reading: Reading, other: Reading) -> Transform:
    """Returns boxes that were written in another format."""
    sizes = annotations.sizes
    return lambda index, boxes: other.decode(reading.encode(boxes, sizes[index]), sizes[index])


def rescaled(annotations: Annotations) -> Transform:
    """Returns boxes in images of the size that the annotations state."""

    def transform(index: int, boxes: Boxes) -> Boxes:
        size = annotations.annotated_sizes[index] or annotations.sizes[index]
        return boxes * np.tile(np.array(annotations.sizes[index]) / np.array(size), 2)

    return transform
