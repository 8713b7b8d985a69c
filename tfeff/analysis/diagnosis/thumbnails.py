"""Small pictures of images and their boxes, for the page."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from tfeff.analysis.pixel_statistics import pixels_of
from tfeff.boxes import relative_from_yxyx
from tfeff.data.dataset import Dataset
from tfeff.data.names import shown

SIDE = 224
"""Pixels of the longest side of a thumbnail."""
CONTEXT = 0.5
"""Margin around an object, relative to its longer side."""
ANNOTATED, DETECTED = (0, 150, 0), (225, 0, 0)
"""Colors of boxes."""


def relative_boxes(images: Dataset, index: int) -> npt.NDArray[np.float64]:
    """Returns the boxes of an image relative to its size, boxes_yxyx float64 [n, 4]."""
    height, width = images.sizes[index].tolist()
    return relative_from_yxyx(images.objects[index].boxes_yxyx.astype(np.float64), (height, width))


def thumbnail(
    images: Dataset,
    index: int,
    *,
    crop: npt.NDArray[np.float64] | None = None,
    boxes: Sequence[tuple[npt.NDArray[np.float64] | None, tuple[int, int, int]]] = (),
) -> Iterator[tuple[npt.NDArray[np.uint8], str]]:
    """Yields a small picture of an image and its file name; nothing if it is unreadable.

    Args:
        crop: box relative to the image, yxyx; shown with CONTEXT around it, and drawn if `boxes` are empty.
        boxes: relative boxes and their colors.
    """
    pixels = pixels_of(images, index)
    if pixels is None:
        return
    top, left, scale = 0, 0, 1.0
    height, width = pixels.shape[:2]
    if crop is not None:
        box = crop * (height, width, height, width)
        side = max(32.0, (1 + 2 * CONTEXT) * max(box[2] - box[0], box[3] - box[1]))
        middle = (box[:2] + box[2:]) / 2
        top, left = (
            int(np.clip(center - side / 2, 0, max(whole - side, 0)))
            for center, whole in zip(middle, (height, width), strict=True)
        )
        pixels = pixels[top : top + round(side), left : left + round(side)]
        boxes = boxes or [(crop, ANNOTATED)]
    scale = SIDE / max(pixels.shape[:2])
    if scale > 1 and crop is None:
        scale = 1.0
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    small = np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
    for own, color in boxes:
        if own is not None:
            y0, x0, y1, x1 = (
                ((own * (height, width, height, width) - (top, left, top, left)) * scale).round().astype(int).tolist()
            )
            cv2.rectangle(small, (x0, y0), (x1 - 1, y1 - 1), color, 2)
    yield small, shown(str(images.ids[index]).rpartition("/")[2])
