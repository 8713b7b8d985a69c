"""An image with what was found in it, and with what is there."""

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

from tfeff.reporting.box_labels import label_places

RED, GREEN, BLUE, WHITE = (225, 0, 0), (0, 150, 0), (0, 0, 200), (255, 255, 255)

LEAST_SIDE = 720
"""Smaller pictures (by the root of their area, in pixels) are enlarged to this, so that there is room for letters."""

PIXELLED_BELOW = 100  # longest side of images whose pixels keep their edges when enlarged
LINES, LETTERS = 1 / 280, 1 / 42  # width of a line and height of letters, as shares of the side
PLATE = 200  # opacity of the plate under a label, of 255


@dataclass(frozen=True, eq=False)
class DetectedImage:
    """An image, what was found in it, and what is there.

    Attributes:
        image: [height, width, 3], [height, width, 1] or [height, width], in [0, 255].
        boxes_yxyx: float [n, 4], detections.
        names: n classes.
        scores: float [n]; None where there are none.
        objects_yxyx: float [m, 4].
    """

    image: npt.NDArray[Any]
    boxes_yxyx: npt.NDArray[np.floating]
    names: Sequence[str]
    scores: npt.NDArray[np.floating] | None
    objects_yxyx: npt.NDArray[np.floating]

    def drawn(self) -> npt.NDArray[np.uint8]:
        """The picture, as `draw_detections` makes it."""
        return draw_detections(self.image, self.boxes_yxyx, self.names, self.scores, objects_yxyx=self.objects_yxyx)

    def around(self, box_yxyx: npt.ArrayLike, *, context: float = 1.0) -> "DetectedImage":
        """The square around a box, at least 32 pixels wide; less where the image ends, which it does not leave.

        Args:
            box_yxyx: float [4].
            context: how much is shown on each side, in longer sides of the box.
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
    object_names: Sequence[str] = (),
) -> npt.NDArray[np.uint8]:
    """Detections in red, each with its class and score in blue; objects in green underneath, a little wider.

    Lines and letters grow with the picture, so that it may be shown at any size. Labels stay inside of it, and off each
    other as long as there is room; the surest detections choose their places first.

    Args:
        image: [height, width, 3], [height, width, 1] or [height, width], in [0, 255].
        boxes_yxyx: float [n, 4], pixels of the image; what lies outside of it is left out.
        names: n classes.
        scores: float [n]; None writes classes alone.
        objects_yxyx: float [m, 4].
        object_names: m classes, written in green; empty writes none.

    Returns:
        uint8 [height, width, 3]; images smaller than about 720 x 720 come back enlarged.
    """
    picture, scale = _enlarged(image)
    height, width = picture.height, picture.width
    side = math.sqrt(height * width)
    line = max(1, round(LINES * side))
    boxes = np.asarray(boxes_yxyx, np.float64).reshape(-1, 4) * scale
    objects = np.asarray(objects_yxyx, np.float64).reshape(-1, 4) * scale
    score = np.zeros(len(boxes)) if scores is None else np.asarray(scores, np.float64)
    order = np.argsort(-score, kind="stable")
    order = order[((boxes[order, :2] < (height, width)) & (boxes[order, 2:] > 0)).all(axis=1)]

    draw = ImageDraw.Draw(picture, "RGBA")
    for box in objects:
        _frame(draw, box, (height, width), GREEN, outer=line, inner=line)
    for box in boxes[order[::-1]]:  # the surest on top
        _frame(draw, box, (height, width), RED, outer=0, inner=line)

    texts = [(names[i] if scores is None else f"{names[i]} {score[i]:.2f}", boxes[i], BLUE) for i in order]
    texts += [(name, box, GREEN) for name, box in zip(object_names, objects, strict=False)]
    _write(draw, [(" ".join(text.split()), box, colour) for text, box, colour in texts], (height, width))
    return np.asarray(picture)


def _enlarged(image: npt.ArrayLike) -> tuple[Image.Image, npt.NDArray[np.float64]]:
    """The image as RGB, large enough to write on, and by how much boxes in it have grown, float64 [4]."""
    pixels = np.clip(np.rint(np.asarray(image, np.float32)), 0, 255).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    picture = Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
    height, width = pixels.shape[:2]
    scale = LEAST_SIDE / math.sqrt(height * width)
    if scale <= 1.0:
        return picture, np.ones(4)
    pixelled = max(height, width) < PIXELLED_BELOW
    larger = (max(1, round(height * scale)), max(1, round(width * scale)))
    resampling = Image.Resampling.NEAREST if pixelled else Image.Resampling.BICUBIC
    return picture.resize(larger[::-1], resampling), np.tile(np.divide(larger, (height, width)), 2)


def _frame(
    draw: ImageDraw.ImageDraw,
    box: npt.NDArray[np.float64],
    size: tuple[int, int],
    colour: tuple[int, int, int],
    *,
    outer: int,
    inner: int,
) -> None:
    """A rectangle whose line reaches so many pixels out of the box and into it, inside the picture."""
    whole = [*size, *size]
    top, left, bottom, right = np.clip(np.rint(box), 0, whole)
    if bottom <= top or right <= left:
        return
    # Clipped again, so that a line along the picture's border does not lose its width.
    top, left, bottom, right = np.clip([top - outer, left - outer, bottom + outer, right + outer], 0, whole)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=outer + inner)


def _write(
    draw: ImageDraw.ImageDraw,
    labels: Sequence[tuple[str, npt.NDArray[np.float64], tuple[int, int, int]]],
    size: tuple[int, int],
) -> None:
    """Labels, each (text, its box, its colour); a text without letters needs no place."""
    height, width = size
    letters = max(8, min(round(LETTERS * math.sqrt(height * width)), int(0.6 * height)))
    font, margin = _font(letters), max(1, letters // 6)
    labels = [(_fitting(text, font, width - 2 * margin), box, colour) for text, box, colour in labels if text]
    tall = sum(font.getmetrics()) + margin
    sizes = [(tall, math.ceil(font.getlength(text)) + 2 * margin) for text, _, _ in labels]
    places = label_places([box for _, box, _ in labels], sizes, size)
    # The first, which are the surest, on top of those that found no place of their own.
    for (text, _, colour), (top, left, bottom, right) in zip(reversed(labels), places[::-1], strict=True):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=(*WHITE, PLATE))
        draw.text((left + margin, (top + bottom) / 2), text, fill=colour, font=font, anchor="lm")


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, without as much of its middle as it takes to fit: the ends of names, and scores, tell most."""
    shown, kept = text, len(text)
    while font.getlength(shown) > width and kept > 1:
        kept -= 1
        tail = kept - kept // 2
        shown = f"{text[: kept // 2]}…{text[len(text) - tail :]}"
    return shown


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib brings it along: the same letters on every machine.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
