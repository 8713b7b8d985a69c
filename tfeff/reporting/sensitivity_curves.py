"""Sensitivity curves: metrics against one setting at a time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff.reporting.figure import BLUE, VERMILION, new, style

COLUMNS = 4
PANEL_SIZE = (2.6, 2.3)
"""(width, height) in inches."""
LOG_RANGE = 50.0
"""Minimum ratio of the largest and the smallest value for a logarithmic axis."""


def sensitivity_figure(rows: Sequence[Mapping[str, Any]], first: str, second: str) -> Figure:
    """Plots two metrics against the values of a setting, one panel per setting. All panels share both scales.

    Bars are the intervals of the differences: a setting whose bar does not reach the metric of the run's own setting is
    separable from it.

    Args:
        rows: mappings with `form`, `key`, `value`, the metrics, and `differences`: metric -> (its difference from that
            of the run's own setting, both ends of its interval).
        first: key of the metric drawn in blue, with its scale on the left.
        second: key of the metric drawn in red, with its scale on the right.
    """
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["form"], row["key"]), []).append(row)
    columns = max(1, min(COLUMNS, len(panels)))
    lines = max(1, math.ceil(len(panels) / columns))
    figure = new(PANEL_SIZE[0] * columns + 0.8, PANEL_SIZE[1] * lines + 0.5)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    limits = {metric: _limits([end for row in rows for end in _ends(row, metric)]) for metric in (first, second)}
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for number, ((form, key), points) in enumerate(panels.items()):
        axes, other = grid[number], grid[number].twinx()
        points = sorted(points, key=lambda row: row["value"])
        values = [row["value"] for row in points]
        for side, metric, color, line in ((axes, first, BLUE, "-"), (other, second, VERMILION, "--")):
            heights = [row[metric] for row in points]
            bars = np.transpose([row["differences"][metric] for row in points])
            lengths = np.nan_to_num([bars[0] - bars[1], bars[2] - bars[0]]).clip(min=0)
            side.errorbar(
                values, heights, lengths, color=color, linestyle=line, marker="o", markersize=3.5, elinewidth=1
            )
            side.set_ylim(limits[metric])
            side.tick_params(axis="y", labelcolor=color)
        style(axes)
        other.spines[["top", "left"]].set_visible(False)
        if min(values) > 0 and max(values) / min(values) >= LOG_RANGE:
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


def _ends(row: Mapping[str, Any], metric: str) -> list[float]:
    """A metric and both ends of its bar, without NaN."""
    difference, *ends = row["differences"][metric]
    own = row[metric] - difference
    return [value for value in (row[metric], *(own + end for end in ends)) if not math.isnan(value)]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Axis limits: the range of the values, with a margin."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.08 * (high - low) or 0.05
    return low - margin, high + margin
