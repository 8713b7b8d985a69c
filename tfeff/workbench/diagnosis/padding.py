"""Uniform bars at the borders of images (letterboxing), and boxes that ignore them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

UNIFORM = 6
"""Largest range of a color in a row of a bar, which may be compressed as JPEG."""
SMALLEST = 0.02
"""Minimum width of a bar, relative to the side of the image."""

Boxes = npt.NDArray[np.float64]


def picture(image: npt.NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """The part of an image without bars, yxyx relative to it; (0, 0, 1, 1) if there are none.

    Bars lie along one axis only, as resizing with a fixed aspect ratio leaves them, and have a single color. Images on
    a uniform background, whose borders are uniform along both axes, have no bars.

    Args:
        image: uint8 [height, width, 3].
    """
    whole = (0.0, 0.0, 1.0, 1.0)
    rows, columns = _inner(image), _inner(image.transpose(1, 0, 2))
    if (rows == (0.0, 1.0)) == (columns == (0.0, 1.0)):
        return whole
    top, bottom = rows
    left, right = columns
    return top, left, bottom, right


def _inner(image: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Start and end of the rows between uniform ones, relative to the height."""
    height = len(image)
    uniform = (np.ptp(image.astype(np.int16), axis=1) <= UNIFORM).all(axis=1)
    if uniform.all():
        return 0.0, 1.0
    first, last = int((~uniform).argmax()), height - int((~uniform[::-1]).argmax())
    colors = np.concatenate([image[:first], image[last:]]).reshape(-1, image.shape[2])
    if len(colors) and (np.abs(colors - np.median(colors, axis=0)) > UNIFORM).any():
        return 0.0, 1.0  # such as sky above and a floor below
    start = first / height if first >= SMALLEST * height else 0.0
    end = last / height if height - last >= SMALLEST * height else 1.0
    return start, end


def outside(boxes: Boxes, inner: Sequence[float]) -> npt.NDArray[np.float64]:
    """How much of each box lies on the bars, as a share of its area.

    Args:
        boxes: yxyx relative to the image, float64 [n, 4].
        inner: `picture` of the image.
    """
    limits = np.asarray(inner)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-9)
    kept = np.minimum(boxes[:, 2:], limits[2:]) - np.maximum(boxes[:, :2], limits[:2])
    return 1.0 - np.prod(np.clip(kept, 0.0, None) / sides, axis=1)


def shifted(boxes: Boxes, inner: Sequence[float]) -> Boxes:
    """Boxes that were scaled as if the image had been stretched, where they belong in the padded image."""
    limits = np.asarray(inner)
    start, extent = np.tile(limits[:2], 2), np.tile(limits[2:] - limits[:2], 2)
    return start + boxes * extent
