"""Formats in which four numbers can mean a box, and the boxes that annotations mean in each of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float64]

CORNERS, SWAPPED_CORNERS = "xmin, ymin, xmax, ymax", "ymin, xmin, ymax, xmax"
SIDES, SWAPPED_SIDES = "xmin, ymin, width, height", "ymin, xmin, height, width"
CENTERS, SWAPPED_CENTERS = "center x, center y, width, height", "center y, center x, height, width"
ORDERS = (CORNERS, SIDES, CENTERS, SWAPPED_CORNERS, SWAPPED_SIDES, SWAPPED_CENTERS)
PIXELS, RELATIVE = "in pixels", "relative to the image (0 to 1)"
PERCENT, THOUSANDTHS = "in percent of the image", "in thousandths of the image (0 to 1000)"
UNITS = {PIXELS: None, RELATIVE: 1.0, PERCENT: 100.0, THOUSANDTHS: 1000.0}
"""Unit -> the number that means the whole height or width; None: pixels."""


@dataclass(frozen=True)
class Reading:
    """A format of boxes.

    Attributes:
        order: what the four numbers are.
        unit: of the numbers.
    """

    order: str
    unit: str

    def __str__(self) -> str:
        return f"{self.order}, {self.unit}"

    def decode(self, numbers: Boxes, size: tuple[int, int]) -> Boxes:
        """boxes_yxyx [n, 4] in pixels, from the four numbers of each annotation, for the image's (height, width)."""
        first, second, third, fourth = numbers.T
        if self.order in (CORNERS, SIDES, CENTERS):
            first, second, third, fourth = second, first, fourth, third
        if self.order in (SIDES, SWAPPED_SIDES):
            third, fourth = first + third, second + fourth
        if self.order in (CENTERS, SWAPPED_CENTERS):
            first, second, third, fourth = (
                first - third / 2,
                second - fourth / 2,
                first + third / 2,
                second + fourth / 2,
            )
        return np.stack([first, second, third, fourth], axis=-1) * self._pixels(size)

    def encode(self, boxes_yxyx: Boxes, size: tuple[int, int]) -> Boxes:
        """The inverse of `decode`."""
        top, left, bottom, right = (boxes_yxyx / self._pixels(size)).T
        if self.order in (SIDES, SWAPPED_SIDES):
            top, left, bottom, right = top, left, bottom - top, right - left
        if self.order in (CENTERS, SWAPPED_CENTERS):
            top, left, bottom, right = (top + bottom) / 2, (left + right) / 2, bottom - top, right - left
        if self.order in (CORNERS, SIDES, CENTERS):
            top, left, bottom, right = left, top, right, bottom
        return np.stack([top, left, bottom, right], axis=-1)

    def _pixels(self, size: tuple[int, int]) -> Boxes:
        """What 1 means, for yxyx."""
        whole = UNITS[self.unit]
        return np.ones(4) if whole is None else np.tile(np.array(size, float) / whole, 2)


DECLARED = {
    "voc": Reading(CORNERS, PIXELS),
    "coco": Reading(SIDES, PIXELS),
    "yolo": Reading(CENTERS, RELATIVE),
    "tfds": Reading(SWAPPED_CORNERS, RELATIVE),
}
"""Scheme of a source -> how it reads boxes."""


def declared(source: str) -> Reading:
    """How a source reads its boxes, by its name, such as `voc:<directory>`."""
    return DECLARED.get(source.partition(":")[0], Reading(SWAPPED_CORNERS, PIXELS))


def others(reading: Reading) -> list[Reading]:
    """All other formats, those of the same unit and order of axes first."""
    every = [Reading(order, unit) for unit in UNITS for order in ORDERS]
    swapped = reading.order in (SWAPPED_CORNERS, SWAPPED_SIDES, SWAPPED_CENTERS)
    return sorted(
        (each for each in every if each != reading),
        key=lambda each: (each.unit != reading.unit, each.order.startswith(("y", "center y")) != swapped),
    )
