"""Galleries: images with their predictions or detections, and contact sheets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from tfeff.durable import replacing
from tfeff.reporting.box_drawing import DetectedImage, text_font
from tfeff.reporting.figure import GRAY, GREEN, VERMILION, caption, literal, new, shrink
from tfeff.reporting.tables import percent

CELL = 2.0  # inches per image
NAME_LENGTH = 20  # characters; longer names are shortened in the middle


def gallery_figure(
    images: Sequence[npt.ArrayLike],
    true: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float],
    *,
    columns: int = 5,
    title: str = "",
) -> Figure:
    """Draws images titled with predicted class and confidence, and with the true class if they differ.

    Args:
        images: [height, width, 1 or 3] or [height, width] each, in [0, 255]; sizes may differ.
        confidence: probability of the predicted class, in [0, 1].
    """
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure = new(max(CELL * columns, 0.12 * len(title)), 2.35 * rows + (0.4 if title else 0.1))
    figure.suptitle(literal(title))
    grid = _grid(figure, rows, columns, len(images))
    for axes, image, label, prediction, probability in zip(grid, images, true, predicted, confidence, strict=False):
        correct = label == prediction
        _show(axes, image)
        text = f"{caption(prediction, NAME_LENGTH)} ({percent(probability, 1)})"
        if not correct:
            text += f"\ntrue: {caption(label, NAME_LENGTH)}"
        drawn = axes.set_title(text, fontsize=8, color=GREEN if correct else VERMILION)
        shrink(figure, drawn, 0.9 * CELL)
    return figure


def _show(axes: Axes, image: npt.ArrayLike) -> None:
    pixels = np.clip(np.rint(np.asarray(image, np.float32)), 0, 255).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[:, :, 0]
    # Small images are shown without interpolation, as the network sees them.
    interpolation = "nearest" if max(pixels.shape[:2]) < 100 else "antialiased"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)


OBJECT_CELL = 3.6  # inches per image, large enough to read the labels
LEGEND = "red: detections, green: ground truth"
OBJECT_COLUMNS = 3
CAPTION_LENGTH = 48  # characters; longer captions are shortened in the middle


def pictures_figure(pictures: Sequence[npt.NDArray[np.uint8]], captions: Sequence[str], *, title: str = "") -> Figure:
    """Draws pictures, uint8 [height, width, 3] of any sizes, each with a caption."""
    columns = max(1, min(OBJECT_COLUMNS, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    # Rows of landscape images need less height.
    tallest = max((min(picture.shape[0] / picture.shape[1], 1.2) for picture in pictures), default=0.3)
    figure = new(max(OBJECT_CELL * columns, 4.5), (OBJECT_CELL * tallest + 0.35) * rows + 0.5)
    figure.suptitle(literal(title), fontsize=10)
    for axes, picture, text in zip(_grid(figure, rows, columns, len(pictures)), pictures, captions, strict=False):
        axes.imshow(picture, interpolation="antialiased")
        drawn = axes.set_title(caption(text, CAPTION_LENGTH), fontsize=8, color=GRAY)
        shrink(figure, drawn, 0.95 * OBJECT_CELL)
    return figure


def detection_gallery_figure(images: Sequence[DetectedImage], captions: Sequence[str], *, title: str = "") -> Figure:
    """Draws images with their detections and objects, each with a caption; the title explains the colors.

    To show single objects, pass crops (`DetectedImage.crop`).
    """
    shown = max(1, min(OBJECT_COLUMNS, len(images)))
    title = f"{caption(title, 20 * shown + 20)}\n{LEGEND}" if title else LEGEND
    return pictures_figure([image.draw() for image in images], captions, title=title)


def _grid(figure: Figure, rows: int, columns: int, count: int) -> npt.NDArray[Any]:
    """Creates axes for so many images, row by row."""
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    if not count:
        grid[0].text(0.5, 0.5, "no images", ha="center", va="center")
    return grid


SHEET_CELL, LINE, LETTERS, GAP = 144, 14, 11, 6  # pixels
SHEET_COLUMNS = 8


def contact_sheet(images: Sequence[npt.NDArray[np.uint8]], captions: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Draws n images in rows.

    Args:
        images: uint8 [height, width, 3] each; sizes may differ.
        captions: n texts of any number of lines; long lines are cut.

    Returns:
        uint8 [height, width, 3].
    """
    lines = max((len(text.splitlines()) for text in captions), default=0)
    columns = max(1, min(SHEET_COLUMNS, len(images)))
    rows = -(-len(images) // columns)
    step_y, step_x = SHEET_CELL + lines * LINE + GAP, SHEET_CELL + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), text_font(LETTERS)
    for number, (pixels, text) in enumerate(zip(images, captions, strict=True)):
        top, left = GAP + number // columns * step_y, GAP + number % columns * step_x
        image = Image.fromarray(thumbnail(pixels))
        sheet.paste(image, (left + (SHEET_CELL - image.width) // 2, top + (SHEET_CELL - image.height) // 2))
        for row, line in enumerate(text.splitlines()):
            while draw.textlength(line, font) > SHEET_CELL:
                line = line[:-2] + "…"
            draw.text((left, top + SHEET_CELL + row * LINE), line, "black", font)
    return np.asarray(sheet)


def thumbnail(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns the image at its size on a contact sheet: its longest side has SHEET_CELL pixels."""
    image = Image.fromarray(pixels)
    scale = SHEET_CELL / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    filtering = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BILINEAR
    return np.asarray(image.resize(size, filtering))


def save_image(pixels: np.ndarray, path: Path) -> None:
    """Writes an image, uint8 [height, width] or [height, width, 3], as JPEG (`.jpg`) or PNG, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        if path.suffix == ".jpg":
            Image.fromarray(pixels).save(file, "JPEG", quality=90)
        else:  # Level 1 compresses photographs almost as well as the default, level 6, in a fraction of the time.
            Image.fromarray(pixels).save(file, "PNG", compress_level=1)
