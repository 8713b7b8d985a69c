"""What boxes could mean instead of what was read: other formats, other image sizes, changed axes."""

from dataclasses import dataclass

import numpy as np

from tfeff.workbench.diagnosis.annotations import Annotations, Boxes, Transform
from tfeff.workbench.diagnosis.box_readings import RELATIVE, Reading, others


@dataclass(frozen=True, eq=False)
class Alternative:
    """Another meaning of boxes.

    Attributes:
        what: what is wrong if they have this meaning, as a sentence without its period.
        transform: from the boxes as they were read to the correct ones.
        fix: what to do.
        same_unit: whether the numbers have the unit in which they were read.
        rotated: whether the boxes were drawn on rotated images.
    """

    what: str
    transform: Transform
    fix: str
    same_unit: bool = True
    rotated: bool = False


def readings(annotations: Annotations, reading: Reading) -> list[Alternative]:
    """Meanings of the four numbers in other formats, of other sizes and of rotated images.

    Args:
        annotations: the boxes.
        reading: how they were read.
    """
    found = [
        Alternative(
            f"the boxes are written as {other}, but they are read as {reading}",
            _converted(annotations, reading, other),
            f"write the boxes as {reading}, for example with tools/convert_annotations.py",
            same_unit=other.unit == reading.unit,
        )
        for other in others(reading)
    ]
    sizes = zip(annotations.annotated_sizes, annotations.sizes, strict=True)
    if any(stated is not None and stated != size for stated, size in sizes):
        found.append(
            Alternative(
                "the boxes belong to images of the size in the annotations, not of the files",
                rescaled(annotations),
                "scale the boxes to the images, or use the images that were annotated",
            )
        )
    if reading.unit == RELATIVE:
        found.append(
            Alternative(
                "x was divided by the height of the image, and y by its width",
                _normalized_again(annotations),
                "divide x and the box's width by the width of the image, y and the box's height by its height",
            )
        )
    for clockwise, word in ((True, "clockwise"), (False, "counterclockwise")):
        found.append(
            Alternative(
                f"the boxes were drawn on images rotated by 90 degrees {word}",
                rotated(annotations, clockwise=clockwise),
                "save the images upright, or rotate the boxes",
                rotated=True,
            )
        )
    return found


def axis_changes(annotations: Annotations) -> list[Alternative]:
    """Swapped and reversed axes."""
    return [
        Alternative(
            "x and y of the boxes are swapped",
            lambda index, boxes: boxes[:, [1, 0, 3, 2]],
            "swap x and y in the annotations",
        ),
        Alternative(
            "the boxes are upside down: y is counted from the bottom",
            _flipped(annotations, vertical=True),
            "write height - y: coordinates start at the top left",
        ),
        Alternative(
            "the boxes are mirrored: x is counted from the right",
            _flipped(annotations, vertical=False),
            "write width - x: coordinates start at the top left",
        ),
    ]


def _converted(annotations: Annotations, reading: Reading, other: Reading) -> Transform:
    """Boxes that were written in another format."""
    sizes = annotations.sizes
    return lambda index, boxes: other.decode(reading.encode(boxes, sizes[index]), sizes[index])


def rescaled(annotations: Annotations) -> Transform:
    """Boxes in images of the size that the annotations state."""

    def transform(index: int, boxes: Boxes) -> Boxes:
        size = annotations.annotated_sizes[index] or annotations.sizes[index]
        return boxes * np.tile(np.array(annotations.sizes[index]) / np.array(size), 2)

    return transform


def _normalized_again(annotations: Annotations) -> Transform:
    """Relative boxes whose x was divided by the height, and y by the width."""

    def transform(index: int, boxes: Boxes) -> Boxes:
        height, width = annotations.sizes[index]
        return boxes * np.tile([width / height, height / width], 2)

    return transform


def _flipped(annotations: Annotations, *, vertical: bool) -> Transform:
    """Boxes whose y (`vertical`) or x is counted from the other end."""

    def transform(index: int, boxes: Boxes) -> Boxes:
        (height, width), (top, left, bottom, right) = annotations.sizes[index], boxes.T
        if vertical:
            return np.stack([height - bottom, left, height - top, right], axis=-1)
        return np.stack([top, width - right, bottom, width - left], axis=-1)

    return transform


def rotated(annotations: Annotations, *, clockwise: bool) -> Transform:
    """Boxes that were drawn on images rotated by 90 degrees, in the stored images."""

    def transform(index: int, boxes: Boxes) -> Boxes:
        (height, width), (top, left, bottom, right) = annotations.sizes[index], boxes.T
        if clockwise:
            return np.stack([height - right, top, height - left, bottom], axis=-1)
        return np.stack([left, width - bottom, right, width - top], axis=-1)

    return transform
