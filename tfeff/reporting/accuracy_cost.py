"""Accuracy of models against their cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tfeff.reporting.figure import BLUE, GRAY, caption, error_bars, new, quantity, style
from tfeff.reporting.labels import place
from tfeff.reporting.pareto import LOG_RATIO, pareto_front, stairs

NAME_LENGTH = 24  # characters; longer names are shortened in the middle


def accuracy_cost_figure(points: Sequence[Mapping[str, Any]], *, cost: str, title: str = "") -> Figure:
    """Draws accuracy with intervals against cost, and the Pareto front as steps; large ratios on a logarithmic axis.

    Args:
        points: models with `name`, `cost` (> 0), `accuracy`, `low` and `high` (limits of its interval).
        cost: what the cost is.
        title: title of the figure.
    """
    figure = new(7.0, 4.6)
    axes = figure.add_subplot()
    x = np.array([point["cost"] for point in points], np.float64)
    y = np.array([point["accuracy"] for point in points], np.float64)
    low, high = float(x.min()), float(x.max())
    if high / low < LOG_RATIO:
        edges = 0.0, 1.18 * high
    else:
        axes.set_xscale("log")
        margin = (high / low) ** 0.12
        edges = low / margin, high * margin
        if high / low < 100:  # too few powers of ten to read the axis
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(*edges)
    front = pareto_front(x, y)
    steps = stairs([*x[front], edges[1]], [*y[front], y[front[-1]]])
    axes.plot(*steps.T, color=GRAY, linewidth=1, zorder=1)
    bars = [{"mean": point["accuracy"], "low": point["low"], "high": point["high"]} for point in points]
    error_bars(axes, x.tolist(), bars, color=BLUE)
    axes.plot(x, y, linestyle="none", marker="o", markersize=7, color="white", markeredgecolor=BLUE, zorder=4)
    axes.plot(x[front], y[front], linestyle="none", marker="o", markersize=7, color=BLUE, zorder=4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
    axes.set_xlabel(cost)
    quantity(axes.yaxis, "accuracy", "%")
    style(axes, grid="both")
    axes.set_title(title)
    figure.legend(
        handles=[
            Line2D([], [], color=GRAY, marker="o", markerfacecolor=BLUE, markeredgecolor=BLUE, label="Pareto front"),
            Line2D([], [], linestyle="none", marker="o", color="white", markeredgecolor=BLUE, label="other models"),
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    bars_drawn = [[(at, bar["low"]), (at, bar["high"])] for at, bar in zip(x, bars, strict=True)]
    names = [caption(str(point["name"]), NAME_LENGTH) for point in points]
    place(axes, np.stack([x, y], axis=1), names, lines=[steps, *bars_drawn], fontsize=9)
    return figure


def _count(value: float) -> str:
    """A large number with the suffix of its power of 1000.

    >>> [_count(value) for value in (500, 20_000, 3.5e6, 4e9)]
    ['500', '20 k', '3.5 M', '4 G']
    """
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"
