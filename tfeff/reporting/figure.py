"""Shared by all figures: colors, style, captions and saving. Does not use pyplot, which has global state."""

import io
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeGuard

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import offset_copy

from tfeff.durable import replacing
from tfeff.errors import printable
from tfeff.reporting.tables import shortened

# Names can have characters that no installed font has; a figure shows boxes in their place.
warnings.filterwarnings("ignore", message="Glyph .* missing from font")

# Okabe & Ito 2008: a palette for all types of color vision.
BLUE, SKY_BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00"
PURPLE = "#CC79A7"
BLACK, GRAY, LIGHT_GRAY = "#000000", "#666666", "#DDDDDD"
SPLIT_COLORS = (BLUE, ORANGE, SKY_BLUE, VERMILION, GREEN, PURPLE)
"""Colors of the splits of a dataset, in their order; more splits repeat them."""

FORMATS = ("png", "svg")
DPI = 150  # of saved figures
DOT_OFFSET = 4.5  # points between an error bar and the dots of its values


class ShownFigure(Figure):
    """A figure that a notebook shows, although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=80)
        return file.getvalue()


def new(width: float, height: float) -> Figure:
    """Creates an empty figure with a size in inches and constrained layout."""
    figure = ShownFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def split_color(number: int) -> str:
    """Returns the color of the split with this number, counted from 0."""
    return SPLIT_COLORS[number % len(SPLIT_COLORS)]


def style(axes: Axes, *, grid: Literal["x", "y", "both"] = "y") -> None:
    """Adds a light grid behind the data and removes the top and right spines."""
    axes.grid(axis=grid, color=LIGHT_GRAY, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def quantity(axis: Axis, name: str, unit: str) -> None:
    """Labels an axis with a quantity and its unit. With unit "%", values in [0, 1] are formatted as percentages."""
    axis.set_label_text(with_unit(name, unit))
    if unit == "%":
        axis.set_major_formatter(PercentFormatter(1.0, symbol=None))


def with_unit(name: str, unit: str) -> str:
    """Returns the name of a quantity with its unit, if any.

    >>> with_unit("latency", "ms"), with_unit("mAP", "")
    ('latency (ms)', 'mAP')
    """
    return f"{caption(name, 60)} ({unit})" if unit else caption(name, 60)


def known(value: float | None) -> TypeGuard[float]:
    """Returns whether a value is neither None nor NaN nor infinite."""
    return value is not None and bool(np.isfinite(value))


def error_bars(
    axes: Axes,
    positions: Sequence[float],
    points: Sequence[Mapping[str, Any]],
    *,
    color: str,
    direction: Literal["x", "y"] = "y",
) -> None:
    """Draws error bars from `low` to `high`, and `values` as faint dots next to them.

    Args:
        positions: positions of the points along the other axis.
        points: mappings with `mean`, and optionally `low` and `high` (limits of an interval) and `values` (of trials).
        direction: axis of the values.
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
    offset = (DOT_OFFSET, 0.0) if direction == "y" else (0.0, -DOT_OFFSET)  # bars would cover the dots
    axes.plot(
        *((across, values) if direction == "y" else (values, across)),
        transform=offset_copy(axes.transData, axes.get_figure(root=True), *offset, units="points"),
        linestyle="none",
        marker="o",
        markersize=3.5,
        markeredgewidth=0,
        color=color,
        alpha=0.35,
        zorder=2,
    )
    across, means, lows, highs = np.reshape(bars, (-1, 4)).T
    reach = np.maximum([means - lows, highs - means], 0)  # the mean of equal values may differ by rounding
    if direction == "y":
        axes.errorbar(across, means, yerr=reach, fmt="none", ecolor=color, elinewidth=1.4, capsize=3.5, zorder=3)
    else:
        axes.errorbar(means, across, xerr=reach, fmt="none", ecolor=color, elinewidth=1.4, capsize=3.5, zorder=3)


def legend_below(figure: Figure, handles: Sequence[Artist], *, columns: int, note: str = "") -> None:
    """Adds a legend below all axes, with a note as its title; none without handles."""
    if handles:
        place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": 9}
        figure.legend(handles=handles, title=note or None, title_fontsize=8.5, **place)


def caption(text: str, length: int) -> str:
    """Formats text for a figure: one line of at most `length` characters, with `$` escaped.

    Longer text is shortened in the middle. Before an underscore at the beginning is a space without width, because
    Matplotlib's legends omit such labels.

    >>> caption("US$", 15), caption("_a", 15)
    ('US\\\\$', '\\u200b_a')
    """
    shown = shortened(" ".join(printable(text).split()), length).replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def literal(text: str) -> str:
    """Escapes each `$` of a title that is not escaped yet (see `caption`).

    Matplotlib reads formulas between two of them.
    """
    return re.sub(r"(?<!\\)\$", r"\\$", text)


def captions(texts: Sequence[str], length: int) -> list[str]:
    """Applies `caption` to each text."""
    return [caption(text, length) for text in texts]


def shrink(figure: Figure, text: Text, inches: float) -> None:
    """Reduces the font size of a text to limit its length, because letters differ in width."""
    extent = text.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    length = max(extent.width, extent.height) / figure.dpi
    text.set_fontsize(float(text.get_fontsize()) * min(1.0, inches / length))


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = DPI) -> tuple[Path, Path]:
    """Writes a figure as PNG and SVG; the path may end in .png, .svg or neither. Equal figures give identical files.

    Returns:
        The paths (PNG, SVG).
    """
    stem = Path(path)
    if stem.suffix.lower() in {f".{suffix}" for suffix in FORMATS}:
        stem = stem.with_suffix("")
    pixels, vectors = (stem.with_name(f"{stem.name}.{suffix}") for suffix in FORMATS)
    save_png(figure, pixels, dpi=dpi)
    figure.set_layout_engine("none")  # keeps the layout: computing it takes a third of each drawing
    with replacing(vectors) as file:
        file.write(svg(figure, salt=stem.name))
    return pixels, vectors


def save_all(figures: Mapping[str, tuple[Figure, str]], directory: Path) -> list[Path]:
    """Writes captioned figures as PNG and SVG into a directory, under their names; returns the files."""
    return [path for name, (figure, _) in figures.items() for path in save(figure, directory / name)]


def save_png(figure: Figure, path: Path, *, dpi: int = DPI) -> None:
    """Writes a figure as PNG alone; otherwise as `save`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})


def svg(figure: Figure, *, salt: str = "figure") -> bytes:
    """Draws a figure as SVG; equal figures give identical bytes, with the same salt of the names inside."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def rgb(figure: Figure, *, dpi: int = 100) -> npt.NDArray[np.uint8]:
    """Renders a figure to uint8 [height, width, 3], for TensorBoard image summaries."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
