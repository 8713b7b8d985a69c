"""What all figures share: colours, captions, and the way to a file. No pyplot, hence no global state and no display."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeGuard

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import offset_copy

# Okabe & Ito 2008: colours that people with any colour vision tell apart.
BLUE, SKY_BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00"
BLACK, GRAY, LIGHT_GRAY = "#000000", "#666666", "#DDDDDD"

FORMATS = ("png", "svg")
DOTS_ASIDE = 4.5  # points from an error bar to the dots of its single values


def new(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, whose axes make room for their own labels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(axes: Axes, *, grid: Literal["x", "y", "both"] = "y") -> None:
    """A light grid behind the data along "x", "y" or "both", and no frame above or to the right."""
    axes.grid(axis=grid, color=LIGHT_GRAY, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def quantity(axis: Axis, name: str, unit: str) -> None:
    """Labels an axis with a quantity and its unit; where that is "%", values from 0 to 1 are shown as percents."""
    axis.set_label_text(f"{caption(name, 60)} ({unit})" if unit else caption(name, 60))
    if unit == "%":
        axis.set_major_formatter(PercentFormatter(1.0, symbol=None))


def known(value: float | None) -> TypeGuard[float]:
    """Whether a value can be drawn: it is there, and finite."""
    return value is not None and bool(np.isfinite(value))


def error_bars(
    axes: Axes,
    positions: Sequence[float],
    points: Sequence[Mapping[str, Any]],
    *,
    colour: str,
    direction: Literal["x", "y"] = "y",
) -> None:
    """Bars from each point's `low` to its `high`, for those that have both, and beside them its `values` as faint dots.

    Args:
        axes: where to draw.
        positions: of the points, along the other direction.
        points: mappings with `mean`, and if known `low`, `high` (borders of an interval) and `values` (single trials).
        colour: of bars and dots.
        direction: along which axis the values lie.
    """
    dots = [
        (position, value)
        for position, point in zip(positions, points, strict=True)
        for value in point.get("values") or ()
        if known(value)
    ]
    bars = [
        (position, point["mean"], point["low"], point["high"])
        for position, point in zip(positions, points, strict=True)
        if known(point.get("low")) and known(point.get("high"))
    ]
    across, values = np.reshape(dots, (-1, 2)).T
    aside = (DOTS_ASIDE, 0.0) if direction == "y" else (0.0, -DOTS_ASIDE)  # a bar would cover them
    axes.plot(
        *((across, values) if direction == "y" else (values, across)),
        transform=offset_copy(axes.transData, axes.get_figure(root=True), *aside, units="points"),
        linestyle="none",
        marker="o",
        markersize=3.5,
        markeredgewidth=0,
        color=colour,
        alpha=0.35,
        zorder=2,
    )
    across, means, lows, highs = np.reshape(bars, (-1, 4)).T
    reach = np.maximum([means - lows, highs - means], 0)  # equal values differ from their mean by a rounding
    if direction == "y":
        axes.errorbar(across, means, yerr=reach, fmt="none", ecolor=colour, elinewidth=1.4, capsize=3.5, zorder=3)
    else:
        axes.errorbar(means, across, xerr=reach, fmt="none", ecolor=colour, elinewidth=1.4, capsize=3.5, zorder=3)


def caption(text: str, length: int) -> str:
    """A name as it may stand in a figure: one line of at most `length` characters, nothing taken for mathematics.

    The middle is left out, since the ends of class names tell more apart.

    >>> caption("black-footed albatross", 15)
    'black-f…batross'
    >>> caption("US$", 15)
    'US\\\\$'
    """
    line = " ".join(text.split())
    if len(line) > length:
        tail = (length - 1) // 2
        line = f"{line[: length - 1 - tail]}…{line[len(line) - tail :]}"
    return line.replace("$", r"\$")


def captions(texts: Sequence[str], length: int) -> list[str]:
    """Each text as `caption` gives it."""
    return [caption(text, length) for text in texts]


def shrink(figure: Figure, text: Text, inches: float) -> None:
    """Makes a text's font smaller until the text is at most so long: wide letters need more room than most."""
    extent = text.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    length = max(extent.width, extent.height) / figure.dpi
    text.set_fontsize(float(text.get_fontsize()) * min(1.0, inches / length))


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> tuple[Path, Path]:
    """Writes a figure as PNG and as SVG.

    The same figure gives the same bytes, so that version control sees only real changes.

    Args:
        figure: what to write.
        path: file name; its suffix, if .png or .svg, gives way to both. Missing folders are made.
        dpi: pixels an inch of the PNG.

    Returns:
        The paths (PNG, SVG).
    """
    stem = Path(path)
    if stem.suffix.lower() in {f".{suffix}" for suffix in FORMATS}:
        stem = stem.with_suffix("")
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, svg = (stem.with_name(f"{stem.name}.{suffix}") for suffix in FORMATS)
    figure.savefig(png, dpi=dpi, metadata={"Software": None})
    with matplotlib.rc_context({"svg.hashsalt": stem.name}):
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg


def rgb(figure: Figure, *, dpi: int = 100) -> npt.NDArray[np.uint8]:
    """A figure's pixels, uint8 [height, width, 3], as TensorBoard's image summaries take them."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
