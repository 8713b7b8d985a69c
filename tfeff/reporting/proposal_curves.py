"""Figures of region proposals: recall curves, and boxes on an image."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from tfeff.reporting.figure import BLACK, BLUE, GRAY, GREEN, ORANGE, SKY_BLUE, VERMILION, caption, new, quantity, style

COLORS = (BLUE, VERMILION, GREEN, ORANGE, SKY_BLUE, BLACK)
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^vP"


def proposals_figure(
    curves: Mapping[str, Mapping[str, npt.ArrayLike]],
    counts: Sequence[int],
    *,
    thresholds: Sequence[float],
    at: int,
    title: str = "Region proposals",
) -> Figure:
    """Plots recall and average best overlap against the number of proposals, and recall against the IoU threshold.

    Args:
        curves: method -> `recall@.5`, `recall@.7` and `ABO`, each float [counts], in [0, 1]; and `by overlap`, float
            [thresholds], the recall with `at` proposals.
        counts: numbers of proposals, ascending.
        thresholds: IoU thresholds.
        at: number of proposals of `by overlap`.
        title: title of the figure.
    """
    figure = new(10.5, 7.4)
    panels = figure.subplots(2, 2)
    for axes, key, name in zip(
        panels.flat[:3],
        ("recall@.5", "recall@.7", "ABO"),
        ("recall at IoU 0.5", "recall at IoU 0.7", "average best overlap (IoU)"),
        strict=True,
    ):
        for index, (label, curve) in enumerate(curves.items()):
            _line(axes, counts, curve[key], label, index)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("proposals per image")
        quantity(axes.yaxis, name, "%" if key != "ABO" else "")
        axes.set_ylim(0, 1)
        style(axes, grid="both")
    last = panels.flat[3]
    for index, (label, curve) in enumerate(curves.items()):
        _line(last, thresholds, curve["by overlap"], label, index)
    last.set_xlabel("IoU threshold")
    quantity(last.yaxis, f"recall with {at:,} proposals", "%")
    last.set_ylim(0, 1)
    style(last, grid="both")
    figure.suptitle(caption(title, 90), fontsize=12)
    if curves:
        handles, labels = last.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(curves)), frameon=False, fontsize=9)
    return figure


def _line(axes: Axes, x: Sequence[float], y: npt.ArrayLike, label: str, index: int) -> None:
    axes.plot(
        x,
        np.asarray(y, np.float64),
        color=COLORS[index % len(COLORS)],
        linestyle=LINES[index // len(COLORS) % len(LINES)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=4,
        markeredgecolor="white",
        markeredgewidth=0.5,
        linewidth=1.4,
        label=caption(label, 40),
    )


def boxes_figure(
    image: npt.NDArray[np.uint8],
    boxes_yxyx: npt.ArrayLike,
    *,
    objects_yxyx: npt.ArrayLike = (),
    title: str = "",
) -> Figure:
    """Draws proposals (blue, the first one red, fading by rank) and objects (green) on an image.

    Args:
        image: uint8 [height, width, 3].
        boxes_yxyx: float [n, 4], best first.
        objects_yxyx: float [m, 4].
        title: title of the figure.
    """
    height, width = image.shape[:2]
    side = 7.0 / max(height, width)
    figure = new(max(3.0, width * side), max(2.0, height * side) + (0.4 if title else 0.0))
    axes = figure.add_subplot()
    axes.imshow(image)
    axes.set_axis_off()
    boxes = np.asarray(boxes_yxyx, np.float64).reshape(-1, 4)
    for index, box in reversed(list(enumerate(boxes))):
        strength = 1.0 - index / max(1, len(boxes))
        _rectangle(axes, box, VERMILION if index == 0 else BLUE, 0.6 + 1.2 * strength, 0.25 + 0.75 * strength)
    for box in np.asarray(objects_yxyx, np.float64).reshape(-1, 4):
        _rectangle(axes, box, GREEN, 2.0, 1.0)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    if title:
        figure.suptitle(caption(title, 80), fontsize=11, color=GRAY)
    return figure


def _rectangle(axes: Axes, box: npt.NDArray[np.float64], color: str, width: float, alpha: float) -> None:
    top, left, bottom, right = box - 0.5
    axes.plot(
        [left, right, right, left, left],
        [top, top, bottom, bottom, top],
        color=color,
        linewidth=width,
        alpha=alpha,
        solid_joinstyle="miter",
    )
