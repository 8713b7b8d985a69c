"""Images under augmentation, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfeff.reporting.figure import VERMILION, literal, new

_INCHES = 1.6  # width of an image


@dataclass(frozen=True, eq=False)
class Example:
    """An image with its boxes.

    Attributes:
        pixels: uint8 [height, width, 1 or 3].
        boxes_yxyx: float32 [n, 4], in pixels.
    """

    pixels: np.ndarray
    boxes_yxyx: np.ndarray

    def equals(self, other: "Example") -> bool:
        """Returns whether both have the same pixels and boxes."""
        same = np.array_equal(self.pixels, other.pixels)
        return same and np.array_equal(self.boxes_yxyx, other.boxes_yxyx)


def augmentation_figure(columns: Mapping[str, Sequence[Example]]) -> Figure:
    """Draws a row for each image and a column for each variation, with boxes.

    Args:
        columns: title of each column -> the images, in the same order.
    """
    rows = max(map(len, columns.values()))
    height, width = next(iter(columns.values()))[0].pixels.shape[:2]
    figure = new(_INCHES * len(columns), _INCHES * height / width * rows + 0.5)
    panels = figure.subplots(rows, len(columns), squeeze=False)
    for column, (title, examples) in enumerate(columns.items()):
        panels[0][column].set_title(literal(title), fontsize=8)
        for row, example in enumerate(examples):
            panel = panels[row][column]
            panel.set_axis_off()
            panel.imshow(
                np.squeeze(example.pixels, 2) if example.pixels.shape[2] == 1 else example.pixels,
                cmap="gray",
                vmin=0,
                vmax=255,
            )
            for top, left, bottom, right in example.boxes_yxyx:
                panel.add_patch(
                    Rectangle(
                        (left - 0.5, top - 0.5), right - left, bottom - top, fill=False, color=VERMILION, linewidth=1
                    )
                )
    return figure
