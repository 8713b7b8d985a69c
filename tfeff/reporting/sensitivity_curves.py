"""Two metrics against the values of settings that are changed one at a time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from tfeff.reporting.figure import BLUE, VERMILION, new, style

COLUMNS = 4
PANEL = (2.6, 2.3)
"""(width, height) in inches."""
LOG_RATIO = 50.0
"""Minimum ratio of the largest to the smallest value for a logarithmic axis."""


def sensitivity_figure(rows: Sequence[Mapping[str, Any]], left: str, right: str) -> Figure:
    """One panel per form and key, with two metrics against the key's value.

    Args:
        rows: dicts with `form`, `key`, `value` and the metrics.
        left: metric drawn in blue; its axis, on the left, is the same in all panels.
        right: metric drawn in red; its axis, on the right, is the same in all panels.
    """
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["form"], row["key"]), []).append(row)
    columns = max(1, min(COLUMNS, len(panels)))
    lines = max(1, math.ceil(len(panels) / columns))
    figure = new(PANEL[0] * columns + 0.8, PANEL[1] * lines + 0.5)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    limits = {metric: _limits([row[metric] for row in rows]) for metric in (left, right)}
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for number, ((form, key), points) in enumerate(panels.items()):
        axes, right_axes = grid[number], grid[number].twinx()
        points = sorted(points, key=lambda row: row["value"])
        values = [row["value"] for row in points]
        for target, metric, color, line in ((axes, left, BLUE, "-"), (right_axes, right, VERMILION, "--")):
            target.plot(
                values, [row[metric] for row in points], color=color, linestyle=line, marker="o", markersize=3.5
            )
            target.set_ylim(limits[metric])
            target.tick_params(axis="y", labelcolor=color)
        style(axes)
        right_axes.spines[["top", "left"]].set_visible(False)
        if min(values) > 0 and max(values) / min(values) >= LOG_RATIO:
            axes.set_xscale("log")
        axes.set_title(f"{form}.{key}", fontsize=9)
        if number % columns == 0:
            axes.set_ylabel(left, color=BLUE)
        else:
            axes.tick_params(axis="y", labelleft=False)
        if number % columns == columns - 1 or number == len(panels) - 1:
            right_axes.set_ylabel(right, color=VERMILION)
        else:
            right_axes.tick_params(axis="y", labelright=False)
    return figure


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """A range that contains all values, with a margin."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.08 * (high - low) or 0.05
    return low - margin, high + margin
