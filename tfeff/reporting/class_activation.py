"""Class activation maps of several models over the images that they explain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tfeff.reporting.figure import GREEN, VERMILION, caption, new, shrink

DENSITY = 110  # pixels per inch
CELL, GAP, GROUP_GAP = 180, 6, 24  # pixels: side of an image, gaps between images and between models
MARGIN, HEADER, TITLE = 24, 26, 22  # pixels: left of the images, above the first row, above each row
OPACITY = 0.55  # of the largest values of a map
HEAT, SIGNED = colormaps["inferno"], colormaps["RdBu_r"]
NAME_LENGTH = 40  # characters; longer names are shortened in the middle


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a model predicts for an image, and where it sees it.

    Attributes:
        image: uint8 [height, width, 1 or 3], as the network sees it.
        title: prediction and confidence.
        correct: whether the prediction is right.
        maps: float [h, w] each, any size; drawn over the image in this order.
    """

    image: npt.NDArray[np.uint8]
    title: str
    correct: bool
    maps: Sequence[npt.NDArray[np.floating]]


def heat_overlay(image: npt.NDArray[np.uint8], heat: npt.ArrayLike, *, signed: bool = False) -> npt.NDArray[np.uint8]:
    """Blends a map over an image in gray, scaled by its largest absolute value.

    Values >= 0 are drawn from dark to light; of signed ones, red is positive, blue negative, and 0 transparent.

    Args:
        image: uint8 [height, width, 1 or 3].
        heat: float [h, w], any size; enlarged by bicubic interpolation.
        signed: whether the map can have negative values.

    Returns:
        uint8 [height, width, 3].
    """
    values = np.asarray(heat, np.float32)
    height, width = image.shape[:2]
    enlarged = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))
    largest = float(np.abs(enlarged).max()) or 1.0
    gray = np.repeat(np.asarray(image, np.float32).mean(axis=2, keepdims=True), 3, axis=2)
    if signed:
        scaled = np.clip(enlarged / largest, -1, 1)
        colors = SIGNED((scaled + 1) / 2)[..., :3] * 255
        opacity = OPACITY * np.minimum(1, 2 * np.abs(scaled))[..., np.newaxis]
    else:
        colors = HEAT(np.clip(enlarged / largest, 0, 1))[..., :3] * 255
        opacity = np.float32(OPACITY)
    return np.clip(np.rint((1 - opacity) * gray + opacity * colors), 0, 255).astype(np.uint8)


def class_activation_figure(
    examples: Sequence[tuple[str, Sequence[Explanation]]], model_names: Sequence[str], map_names: Mapping[str, bool]
) -> Figure:
    """Draws a row per example: for each model, the image as the model sees it and its maps.

    Args:
        examples: for each example its title, such as the true class, and each model's explanation.
        map_names: names of the maps -> whether they are signed.
    """
    columns = 1 + len(map_names)
    step, group = CELL + GAP, columns * (CELL + GAP) + GROUP_GAP
    width, height = MARGIN + len(model_names) * group - GROUP_GAP, HEADER + len(examples) * (CELL + TITLE)
    # One image for all cells: a figure of so many axes takes seconds to draw.
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = new(width / DENSITY, height / DENSITY)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    for model, name in enumerate(model_names):
        left = MARGIN + model * group
        center = left + (group - GROUP_GAP - GAP) / 2
        _write(figure, axes, center, 12, caption(name, NAME_LENGTH), columns * CELL, size=11)
        for column, kind in enumerate(map_names, 1):
            _write(figure, axes, left + column * step + CELL / 2, HEADER + TITLE - 10, kind, CELL)
        for row, (_, explained) in enumerate(examples):
            each, top = explained[model], HEADER + TITLE + row * (CELL + TITLE)
            overlays = [
                heat_overlay(each.image, heat, signed=signed)
                for signed, heat in zip(map_names.values(), each.maps, strict=True)
            ]
            for column, pixels in enumerate([each.image, *overlays]):
                _paste(canvas, pixels, top, left + column * step)
            color = GREEN if each.correct else VERMILION
            _write(figure, axes, left + CELL / 2, top - 10, caption(each.title, 60), CELL, color=color)
    for row, (title, _) in enumerate(examples):
        middle = HEADER + TITLE + row * (CELL + TITLE) + CELL / 2
        _write(figure, axes, MARGIN / 2, middle, caption(title, 40), CELL, rotation=90)
    axes.imshow(canvas, aspect="auto", extent=(0, width, height, 0), interpolation="antialiased")
    axes.set_axis_off()
    return figure


def _write(
    figure: Figure, axes: Axes, x: float, y: float, text: str, width: float, *, size: float = 8, **style: Any
) -> None:
    """Writes a centered text, at most `width` pixels wide."""
    drawn = axes.text(x, y, text, ha="center", va="center", fontsize=size, **style)
    shrink(figure, drawn, 0.95 * width / DENSITY)


def _paste(canvas: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint8], top: int, left: int) -> None:
    """Draws an image into a cell, as large as fits."""
    height, width = pixels.shape[:2]
    scale = CELL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3))))
    filtering = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BICUBIC
    resized = np.asarray(image.resize(size, filtering))
    top, left = top + (CELL - size[1]) // 2, left + (CELL - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = resized
