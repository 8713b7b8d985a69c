"""Figures of a dataset: the boxes of its objects."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from tfeff.reporting.figure import new, quantity, split_color, style

CELLS = 40
"""Cells of the map of centers, on each side."""


def box_figures(
    boxes: Mapping[str, npt.NDArray[np.float64]], sizes: Mapping[str, npt.NDArray[np.float64]]
) -> dict[str, Figure]:
    """Plots how large the boxes of each split are, their shapes, and where their centers lie.

    Args:
        boxes: name of a split -> boxes_yxyx in pixels, [n, 4], n > 0.
        sizes: name of a split -> (height, width) of the image of each box, [n, 2].

    Returns:
        `box_sizes`, `box_shapes` and `box_centers`.
    """
    sides = {name: np.maximum(each[:, 2:] - each[:, :2], 0.5) for name, each in boxes.items()}
    middles = np.concatenate([(each[:, :2] + each[:, 2:]) / 2 / sizes[name] for name, each in boxes.items()])
    return {
        "box_sizes": _histogram(
            {name: np.sqrt(each.prod(axis=1)) for name, each in sides.items()}, "square root of the area (pixels)", 0.5
        ),
        "box_shapes": _histogram(
            {name: each[:, 1] / each[:, 0] for name, each in sides.items()}, "width / height", 0.25
        ),
        "box_centers": _density(middles),
    }


def _histogram(values: Mapping[str, npt.NDArray[np.float64]], label: str, step: float) -> Figure:
    """Returns shares of positive values in bins whose edges grow by a factor of 2 ** `step`."""
    figure = new(4.6, 3.5)
    axes = figure.subplots()
    together = np.log2(np.concatenate(list(values.values())))
    edges = np.arange(np.floor(together.min()), np.ceil(together.max()) + 1.5 * step, step)
    for number, (name, each) in enumerate(values.items()):
        weights, color = np.full(len(each), 1 / len(each)), split_color(number)
        axes.hist(each, (2.0**edges).tolist(), weights=weights, histtype="step", color=color, linewidth=1.6, label=name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}"))
    axes.set_xlabel(label)
    quantity(axes.yaxis, "share of the objects", "%")
    axes.legend(frameon=False, fontsize=8)
    style(axes, grid="both")
    return figure


def _density(points_yx: npt.NDArray[np.float64]) -> Figure:
    """Returns a map of points relative to the image, [n, 2]."""
    figure = new(4.6, 3.5)
    axes = figure.subplots()
    y, x = np.clip(points_yx, 0, 1).T
    counts, _, _ = np.histogram2d(y, x, bins=CELLS, range=[[0, 1], [0, 1]])
    axes.imshow(counts, extent=(0, 1, 1, 0), cmap="Blues", aspect="auto", interpolation="nearest")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlabel("x, relative to the width")
    axes.set_ylabel("y, relative to the height")
    return figure
