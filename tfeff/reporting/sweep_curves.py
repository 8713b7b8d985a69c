"""Measures against one setting at a time: what each ratio and threshold is worth."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from tfeff.reporting.figure import BLUE, VERMILION, new, style

COLUMNS = 4
PANEL = (2.6, 2.3)
"""Inches, width and height."""
WIDE = 50.0
"""Largest over smallest value from which on an axis is logarithmic."""


def sweep_figure(rows: Sequence[Mapping[str, Any]], first: str, second: str) -> Figure:
    """A panel for each form and key: two measures against the key's value.

    Args:
        rows: dicts with `form`, `key`, `value` and the measures.
        first: a measure, drawn in blue with the scale at the left, which all panels share.
        second: another one, drawn in red with the scale at the right, which all panels share.
    """
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["form"], row["key"]), []).append(row)
    columns = max(1, min(COLUMNS, len(panels)))
    lines = max(1, math.ceil(len(panels) / columns))
    figure = new(PANEL[0] * columns + 0.8, PANEL[1] * lines + 0.5)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    limits = {of: _limits([row[of] for row in rows]) for of in (first, second)}
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for number, ((form, key), points) in enumerate(panels.items()):
        axes, other = grid[number], grid[number].twinx()
        points = sorted(points, key=lambda row: row["value"])
        values = [row["value"] for row in points]
        for drawn, of, colour, line in ((axes, first, BLUE, "-"), (other, second, VERMILION, "--")):
            drawn.plot(values, [row[of] for row in points], color=colour, linestyle=line, marker="o", markersize=3.5)
            drawn.set_ylim(limits[of])
            drawn.tick_params(axis="y", labelcolor=colour)
        style(axes)
        other.spines[["top", "left"]].set_visible(False)
        if min(values) > 0 and max(values) / min(values) >= WIDE:
            axes.set_xscale("log")
        axes.set_title(f"{form}.{key}", fontsize=9)
        if number % columns == 0:
            axes.set_ylabel(first, color=BLUE)
        else:
            axes.tick_params(axis="y", labelleft=False)
        if number % columns == columns - 1 or number == len(panels) - 1:
            other.set_ylabel(second, color=VERMILION)
        else:
            other.tick_params(axis="y", labelright=False)
    return figure


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """A range that holds all values, with some room."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.08 * (high - low) or 0.05
    return low - room, high + room
