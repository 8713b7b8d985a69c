"""Differences of the models' accuracies, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff.reporting.figure import BLUE, GRAY, captions, error_bars, new, quantity, style

NAME_LENGTH = 24  # characters; longer names are shortened in the middle


def paired_differences_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws one row per pair of models: the difference of their accuracies and its interval.

    Args:
        rows: pairs with `first`, `second` (names), `difference` (first minus second), `low` and `high`.
    """
    figure = new(7.5, 0.4 * len(rows) + 1.3)
    axes = figure.add_subplot()
    heights = np.arange(len(rows))
    axes.axvline(0, color=GRAY, linewidth=1, linestyle="--", zorder=1)
    bars = [{"mean": row["difference"], "low": row["low"], "high": row["high"]} for row in rows]
    error_bars(axes, heights.tolist(), bars, color=BLUE, direction="x")
    axes.plot([row["difference"] for row in rows], heights, linestyle="none", marker="o", color=BLUE, zorder=4)
    firsts = captions([row["first"] for row in rows], NAME_LENGTH)
    seconds = captions([row["second"] for row in rows], NAME_LENGTH)
    axes.set_yticks(heights, [f"{first} − {second}" for first, second in zip(firsts, seconds, strict=True)])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    quantity(axes.xaxis, "difference of accuracies", "percentage points")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+g}" if value else "0")
    style(axes, grid="x")
    return figure
