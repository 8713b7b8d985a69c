"""Error types of a detector: their number and their cost in mean average precision."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.figure import BLUE, ORANGE, caption, known, new, style

NAMES = {
    "class": "classification",
    "box": "localization",
    "both": "classification and localization",
    "duplicate": "duplicate",
    "background": "background",
    "missed": "missed object",
}


def detection_errors_figure(errors: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draws two bars per error type: the number of errors, and the increase of mAP if they were fixed.

    Args:
        errors: type -> `count`, and `gain` in mean average precision, from 0 to 1 (None if undefined). Types that are
            not in NAMES are labeled with their key.
    """
    figure = new(9.0, 0.42 * len(errors) + 1.5)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(errors))
    counts = [error["count"] for error in errors.values()]
    gains = [100 * error["gain"] if known(error["gain"]) else np.nan for error in errors.values()]
    for axes, values, color, form in ((left, counts, BLUE, "{:,.0f}"), (right, gains, ORANGE, "{:.1f}")):
        bars = axes.barh(rows, np.nan_to_num(np.asarray(values, np.float64)), 0.65, color=color)
        texts = [form.format(value) if np.isfinite(value) else "–" for value in values]
        axes.bar_label(bars, texts, padding=3, fontsize=9)
        axes.margins(x=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        style(axes, grid="x")
    left.set_yticks(rows, [caption(NAMES.get(kind, kind), 32) for kind in errors])
    left.set_ylim(len(errors) - 0.5, -0.5)
    left.set_xlabel("errors")
    right.set_xlabel("mAP gain if fixed (percentage points)")
    figure.suptitle("Error types", fontsize=12)
    return figure
