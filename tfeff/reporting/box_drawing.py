"""Drawings of detections and ground truth on an image.

Labels are placed next to their boxes, inside the image and, if possible, without overlap.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

RED, GREEN, BLUE, WHITE = (225, 0, 0), (0, 150, 0), (0, 0, 200), (255, 255, 255)

MIN_SIDE = 720
"""Smaller images (by the square root of their area, in pixels) are enlarged to this size to make room for labels."""

NEAREST_BELOW = 100  # images with a longest side below this are enlarged without interpolation
LINE_WIDTH, LETTER_HEIGHT = 1 / 280, 1 / 42  # relative to the square root of the image's area
LABELS = 300
"""Detections, and objects, with a label; of more, which would hide the image, only the frames are drawn."""
LABEL_OPACITY = 200  # of the background of labels, out of 255


@dataclass(frozen=True, eq=False)
class DetectedImage:
    """An image with its detections and ground truth.

    Attributes:
        image: [height, width, 3], [height, width, 1] or [height, width], in [0, 255].
        boxes_yxyx: float [n, 4], boxes of the detections.
        names: n class names.
        scores: float [n], or None.
        objects_yxyx: float [m, 4], boxes of the objects.
    """

    image: npt.NDArray[Any]
    boxes_yxyx: npt.NDArray[np.floating]
    names: Sequence[str]
    scores: npt.NDArray[np.floating] | None
    objects_yxyx: npt.NDArray[np.floating]

    def draw(self) -> npt.NDArray[np.uint8]:
        """Draws the boxes with `draw_detections`."""
        return draw_detections(self.image, self.boxes_yxyx, self.names, self.scores, objects_yxyx=self.objects_yxyx)

    def crop(self, box_yxyx: npt.ArrayLike, *, context: float = 1.0) -> "DetectedImage":
        """Crops a square around a box, at least 32 pixels wide, shifted and if necessary cut to stay in the image.

        Args:
            box_yxyx: float [4].
            context: margin on each side, relative to the longer side of the box.
        """
        top, left, bottom, right = np.asarray(box_yxyx, np.float64).tolist()
        side = max(32, math.ceil((1 + 2 * context) * max(bottom - top, right - left)))
        height, width = self.image.shape[:2]
        row = round(min(max((top + bottom - side) / 2, 0), max(height - side, 0)))
        column = round(min(max((left + right - side) / 2, 0), max(width - side, 0)))
        return replace(
            self,
            image=self.image[row : row + side, column : column + side],
            boxes_yxyx=self.boxes_yxyx - (row, column, row, column),
            objects_yxyx=self.objects_yxyx - (row, column, row, column),
        )


def draw_detections(
    image: npt.ArrayLike,
    boxes_yxyx: npt.ArrayLike,
    names: Sequence[str],
    scores: npt.ArrayLike | None = None,
    *,
    objects_yxyx: npt.ArrayLike = (),
) -> npt.NDArray[np.uint8]:
    """Draws detections in red, labeled with class and score in blue, over objects in green with a wider line.

    Line width and font size are proportional to the image size. Labels stay inside the image and do not overlap if
    there is room; detections with higher scores are placed first. Beyond `LABELS`, detections have no label.

    Args:
        image: [height, width, 3], [height, width, 1] or [height, width], in [0, 255].
        boxes_yxyx: float [n, 4], in pixels of the image; boxes outside the image are not drawn.
        names: n class names.
        scores: float [n]; None draws labels without scores.
        objects_yxyx: float [m, 4].

    Returns:
        uint8 [height, width, 3]; images smaller than about 720 x 720 are enlarged.
    """
    picture, scale = _enlarged(image)
    height, width = picture.height, picture.width
    side = math.sqrt(height * width)
    line = max(1, round(LINE_WIDTH * side))
    boxes = np.asarray(boxes_yxyx, np.float64).reshape(-1, 4) * scale
    objects = np.asarray(objects_yxyx, np.float64).reshape(-1, 4) * scale
    score = np.zeros(len(boxes)) if scores is None else np.asarray(scores, np.float64)
    order = np.argsort(-score, kind="stable")
    order = order[((boxes[order, :2] < (height, width)) & (boxes[order, 2:] > 0)).all(axis=1)]

    draw = ImageDraw.Draw(picture, "RGBA")
    for box in objects:
        _frame(draw, box, (height, width), GREEN, outer=line, inner=line)
    for box in boxes[order[::-1]]:  # the highest score on top
        _frame(draw, box, (height, width), RED, outer=0, inner=line)

    texts = [(names[i] if scores is None else f"{names[i]} {score[i]:.2f}", boxes[i]) for i in order[:LABELS]]
    _write(draw, [(" ".join(text.split()), box) for text, box in texts], (height, width))
    return np.asarray(picture)


def _enlarged(image: npt.ArrayLike) -> tuple[Image.Image, npt.NDArray[np.float64]]:
    """Returns the image as RGB, enlarged to MIN_SIDE, and the scale of its boxes, float64 [4]."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        pixels = np.clip(np.rint(np.asarray(pixels, np.float32)), 0, 255).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    picture = Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
    height, width = pixels.shape[:2]
    scale = MIN_SIDE / math.sqrt(height * width)
    if scale <= 1.0:
        return picture, np.ones(4)
    larger = (max(1, round(height * scale)), max(1, round(width * scale)))
    resampling = Image.Resampling.NEAREST if max(height, width) < NEAREST_BELOW else Image.Resampling.BICUBIC
    return picture.resize(larger[::-1], resampling), np.tile(np.divide(larger, (height, width)), 2)


def _frame(
    draw: ImageDraw.ImageDraw,
    box: npt.NDArray[np.float64],
    size: tuple[int, int],
    color: tuple[int, int, int],
    *,
    outer: int,
    inner: int,
) -> None:
    """Draws a rectangle, `outer` pixels outside the box and `inner` pixels inside it, clipped to the image."""
    limits = [*size, *size]
    top, left, bottom, right = np.clip(np.rint(box), 0, limits)
    if bottom <= top or right <= left:
        return
    # Clipped again to keep the line width at the image border.
    top, left, bottom, right = np.clip([top - outer, left - outer, bottom + outer, right + outer], 0, limits)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=color, width=outer + inner)


def _write(
    draw: ImageDraw.ImageDraw,
    labels: Sequence[tuple[str, npt.NDArray[np.float64]]],
    size: tuple[int, int],
) -> None:
    """Draws labels, each (text, box); empty texts are skipped."""
    height, width = size
    letters = max(8, min(round(LETTER_HEIGHT * math.sqrt(height * width)), int(0.6 * height)))
    font, margin = text_font(letters), max(1, letters // 6)
    labels = [(_shortened(text, font, width - 2 * margin), box) for text, box in labels if text]
    label_height = sum(font.getmetrics()) + margin
    sizes = [(label_height, math.ceil(font.getlength(text)) + 2 * margin) for text, _ in labels]
    places = place_labels([box for _, box in labels], sizes, size)
    # In reverse order, so labels of higher scores are on top where labels overlap.
    for (text, _), (top, left, bottom, right) in zip(reversed(labels), places[::-1], strict=True):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=(*WHITE, LABEL_OPACITY))
        draw.text((left + margin, (top + bottom) / 2), text, fill=BLUE, font=font, anchor="lm")


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Returns the text, shortened in the middle to fit: the end contains the score."""
    shown, kept = text, len(text)
    while font.getlength(shown) > width and kept > 1:
        kept -= 1
        tail = kept - kept // 2
        shown = f"{text[: kept // 2]}…{text[len(text) - tail :]}"
    return shown


@functools.cache
def text_font(size: int) -> ImageFont.FreeTypeFont:
    """Returns Matplotlib's own font, with Latin, Greek and Cyrillic letters, for equal results on every machine.

    Args:
        size: height in pixels.
    """
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


Pixels = npt.NDArray[np.float64]

ALONG = (0.0, 1.0, 0.5, 0.25, 0.75)
"""Positions of a label along a side of its box, relative to the free length, in order of preference."""


def place_labels(boxes_yxyx: npt.ArrayLike, sizes: Sequence[tuple[int, int]], image_size: tuple[int, int]) -> Pixels:
    """Chooses a position for each label: above, below, inside or beside its box.

    Labels are placed one after the other. If no position is free, a label goes where it covers the least of the labels
    placed before.

    Args:
        boxes_yxyx: float [n, 4], in pixels of the image.
        sizes: (height, width) of each label; labels larger than the image start at its corner.
        image_size: (height, width).

    Returns:
        float64 [n, 4], yxyx, inside the image.
    """
    placed = np.zeros((0, 4))
    for box, size in zip(np.asarray(boxes_yxyx, np.float64).reshape(-1, 4), sizes, strict=True):
        candidates = _candidates(box, np.array(size, np.float64), np.array(image_size, np.float64))
        covered = _intersections(candidates, placed).sum(axis=1)
        placed = np.vstack([placed, candidates[covered.argmin()]])  # the first one with the least overlap
    return placed


def _candidates(box: Pixels, size: Pixels, image_size: Pixels) -> Pixels:
    """Returns float64 [candidates, 4], all inside the image, in order of preference."""
    height, width = size
    top, left, bottom, right = np.clip(box, 0.0, [*image_size, *image_size])
    across = [left + share * (right - left - width) for share in ALONG]
    down = [top + share * (bottom - top - height) for share in ALONG]
    corners = [(y, x) for y in (top - height, bottom, top, bottom - height) for x in across]
    corners += [(y, x) for x in (right, left - width) for y in down]
    # Positions further away, for crowded images.
    corners += [(y, x) for y in (top - 2 * height, bottom + height) for x in across]
    start = np.clip(np.array(corners), 0.0, np.maximum(image_size - size, 0.0))
    return np.concatenate([start, np.minimum(start + size, image_size)], axis=1)


def _intersections(first: Pixels, second: Pixels) -> Pixels:
    """Returns float64 [first, second], areas of intersection."""
    sides = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    return np.clip(sides, 0.0, None).prod(axis=-1)
