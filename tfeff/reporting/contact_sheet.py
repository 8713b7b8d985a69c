"""A contact sheet: small images in a grid, each with a caption."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

CELL, LINE, GAP = 144, 14, 6  # pixels
COLUMNS = 8


def contact_sheet(images: Sequence[npt.NDArray[np.uint8]], captions: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Draws n images in rows.

    Args:
        images: uint8 [height, width, 3] each; sizes may differ.
        captions: n texts of any number of lines; long lines are cut.

    Returns:
        uint8 [height, width, 3].
    """
    lines = max((len(text.splitlines()) for text in captions), default=0)
    columns = max(1, min(COLUMNS, len(images)))
    rows = -(-len(images) // columns)
    step_y, step_x = CELL + lines * LINE + GAP, CELL + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, (pixels, text) in enumerate(zip(images, captions, strict=True)):
        top, left = GAP + number // columns * step_y, GAP + number % columns * step_x
        image = Image.fromarray(thumbnail(pixels))
        sheet.paste(image, (left + (CELL - image.width) // 2, top + (CELL - image.height) // 2))
        for row, line in enumerate(text.splitlines()):
            while draw.textlength(line, font) > CELL:
                line = line[:-2] + "…"
            draw.text((left, top + CELL + row * LINE), line, "black", font)
    return np.asarray(sheet)


def thumbnail(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image at its size on a contact sheet: its longest side has CELL pixels."""
    image = Image.fromarray(pixels)
    scale = CELL / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    filtering = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BILINEAR
    return np.asarray(image.resize(size, filtering))
