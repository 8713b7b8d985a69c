"""Why detections were wrong: how often, and what mending would bring."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.figure import BLUE, ORANGE, caption, known, new, style

NAMES = {
    "class": "wrong class",
    "box": "poor box",
    "both": "wrong class and poor box",
    "duplicate": "found again",
    "background": "nothing there",
    "missed": "object missed",
}


def detection_errors_figure(errors: Mapping[str, Mapping[str, Any]], *, title: str = "Kinds of errors") -> Figure:
    """Two bars a kind of error: how many there are, and by how much mAP would rise without them.

    Args:
        errors: kind -> `count`, and `gain` in mean average precision, from 0 to 1 (None where undefined); kinds without
            a name here go by their own.
        title: what the figure is of.
    """
    figure = new(9.0, 0.42 * len(errors) + 1.5)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(errors))
    counts = [of["count"] for of in errors.values()]
    gains = [100 * of["gain"] if known(of["gain"]) else np.nan for of in errors.values()]
    for axes, values, colour, form in ((left, counts, BLUE, "{:,.0f}"), (right, gains, ORANGE, "{:.1f}")):
        bars = axes.barh(rows, np.nan_to_num(np.asarray(values, np.float64)), 0.65, color=colour)
        texts = [form.format(value) if np.isfinite(value) else "–" for value in values]
        axes.bar_label(bars, texts, padding=3, fontsize=9)
        axes.margins(x=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        style(axes, grid="x")
    left.set_yticks(rows, [caption(NAMES.get(kind, kind), 32) for kind in errors])
    left.set_ylim(len(errors) - 0.5, -0.5)
    left.set_xlabel("errors (number)")
    right.set_xlabel("mAP gained, were they mended (points of 100)")
    figure.suptitle(caption(title, 90), fontsize=12)
    return figure
