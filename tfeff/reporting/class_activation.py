"""Class activation maps of several models over the images that they explain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tfeff.reporting.figure import GREEN, VERMILION, caption, new, shrink

CELL = 1.75  # inches per image
HEAT, SIGNED = colormaps["inferno"], colormaps["RdBu_r"]


@dataclass(frozen=True, eq=False)
class Explained:
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


def heat_overlay(
    image: npt.NDArray[np.uint8], heat: npt.ArrayLike, *, signed: bool = False, strength: float = 0.55
) -> npt.NDArray[np.uint8]:
    """Blends a map over an image in gray, scaled by its largest absolute value.

    Values >= 0 are drawn from dark to light; of signed ones, red is positive, blue negative, and 0 transparent.

    Args:
        image: uint8 [height, width, 1 or 3].
        heat: float [h, w], any size; enlarged by bicubic interpolation.
        signed: whether the map can have negative values.
        strength: opacity of the colors, in [0, 1].

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
        opacity = strength * np.minimum(1, 2 * np.abs(scaled))[..., np.newaxis]
    else:
        colors = HEAT(np.clip(enlarged / largest, 0, 1))[..., :3] * 255
        opacity = np.float32(strength)
    return np.clip(np.rint((1 - opacity) * gray + opacity * colors), 0, 255).astype(np.uint8)


def class_activation_figure(
    examples: Sequence[tuple[str, Sequence[Explained]]],
    model_names: Sequence[str],
    map_names: Mapping[str, bool],
    *,
    name_length: int = 20,
) -> Figure:
    """Draws a row per example: for each model, the image as the model sees it and its maps.

    Args:
        examples: for each example its title, such as the true class, and what each model makes of it.
        model_names: names of the models.
        map_names: names of the maps -> whether they are signed.
        name_length: maximum length of names in characters; longer names are shortened in the middle.
    """
    columns = len(model_names) * (1 + len(map_names))
    figure = new(CELL * columns + 0.4, (CELL + 0.25) * len(examples) + 0.6)
    parts = figure.subfigures(1, len(model_names), squeeze=False, wspace=0.02)[0]
    for model, part in enumerate(parts):
        part.suptitle(caption(model_names[model], 2 * name_length), fontsize=11)
        grid = part.subplots(len(examples), 1 + len(map_names), squeeze=False)
        for row, (title, explained) in enumerate(examples):
            each = explained[model]
            pixels = each.image[:, :, 0] if each.image.shape[2] == 1 else each.image
            _show(grid[row, 0], pixels)
            color = GREEN if each.correct else VERMILION
            shrink(figure, grid[row, 0].set_title(caption(each.title, 60), fontsize=8, color=color), 0.95 * CELL)
            if model == 0:
                text = grid[row, 0].text(
                    -0.04, 0.5, caption(title, 40), rotation=90, ha="right", va="center", fontsize=8,
                    transform=grid[row, 0].transAxes,
                )  # fmt: skip
                shrink(figure, text, CELL)
            kinds = zip(map_names.items(), each.maps, strict=True)
            for number, ((name, signed), heat) in enumerate(kinds, 1):
                _show(grid[row, number], heat_overlay(each.image, heat, signed=signed))
                grid[row, number].set_title(name if row == 0 else "", fontsize=8)
    return figure


def _show(axes: Axes, pixels: npt.NDArray[np.uint8]) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if max(pixels.shape[:2]) < 100 else None)
    axes.set_axis_off()
