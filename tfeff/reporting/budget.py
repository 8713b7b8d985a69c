"""Figures of a search within a budget: accuracy of all networks against a cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tfeff.reporting.comparison import LOG_RATIO, pareto_front, stairs
from tfeff.reporting.figure import (
    BLACK,
    BLUE,
    GRAY,
    SKY_BLUE,
    VERMILION,
    caption,
    error_bars,
    known,
    legend_below,
    new,
    quantity,
    style,
)
from tfeff.reporting.labels import place

KINDS: Mapping[str, tuple[str, str, str]] = {
    "chosen": ("chosen", VERMILION, "*"),
    "finalist": ("finalist", BLUE, "o"),
    "dropped": ("dropped before", SKY_BLUE, "s"),
    "probe": ("linear probe alone", GRAY, "D"),
    "short training": ("short training alone", GRAY, "D"),
}
"""Kind of point -> (label, color, marker)."""


def growth_figure(
    points: Sequence[tuple[int, float]], band: Sequence[tuple[float, float, float, float]], *, metric: str, unit: str
) -> Figure:
    """Draws accuracy against the number of training images, with a forecast.

    Args:
        points: (images, value) of each training.
        band: (images, expected value, low, high) at increasing numbers of images.
    """
    figure = new(7.0, 4.4)
    axes = figure.add_subplot()
    x, center, low, high = (np.array(column, np.float64) for column in zip(*band, strict=True))
    axes.fill_between(x, low, high, color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(x, center, color=BLUE, linewidth=1.5)
    known_x, known_y = (np.array(column, np.float64) for column in zip(*points, strict=True))
    axes.plot(known_x, known_y, linestyle="none", marker="o", markersize=5, color=BLUE, alpha=0.6)
    axes.axvline(known_x.max(), color=BLACK, linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training images")
    quantity(axes.yaxis, metric, unit)
    style(axes, grid="both")
    handles = [
        Line2D([], [], linestyle="none", marker="o", color=BLUE, alpha=0.6, label="a training"),
        Line2D([], [], color=BLUE, label="power law, with its 95 % interval"),
        Line2D([], [], color=BLACK, linewidth=1, linestyle="--", label="all images of a fold"),
    ]
    legend_below(figure, handles, columns=3)
    return figure


def budget_figure(
    points: Sequence[Mapping[str, Any]],
    *,
    cost: str,
    unit: str,
    scale: float,
    bound: float | None,
    metric: str,
    metric_unit: str,
) -> Figure:
    """Draws networks by cost and accuracy, with intervals, the Pareto front of the finalists, and the bound.

    Args:
        points: networks with `name`, `cost` (> 0), `mean`, `low` and `high` (limits of its interval, or None) and
            `kind`, a key of `KINDS`.
        cost: name of the cost.
        unit: its unit.
        scale: value of the unit.
        bound: the budget's limit of this cost; None if there is none.
    """
    figure = new(7.4, 4.9)
    axes = figure.add_subplot()
    x = np.array([point["cost"] / scale for point in points], np.float64)
    ends = [*x, bound / scale] if bound is not None else list(x)
    low, high = min(ends), max(ends)
    if high / low < LOG_RATIO:
        axes.set_xlim(0.0, 1.12 * high)
    else:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.25, high * 1.25)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if bound is not None:
        axes.axvline(bound / scale, color=BLACK, linewidth=1, linestyle="--", zorder=1)
    steps = np.empty((0, 2))
    complete = [i for i, point in enumerate(points) if point["kind"] in ("chosen", "finalist")]
    if complete:
        values = np.array([points[i]["mean"] for i in complete], np.float64)
        front = pareto_front(x[complete], values)
        steps = stairs([*x[complete][front], axes.get_xlim()[1]], [*values[front], values[front[-1]]])
        axes.plot(*steps.T, color=GRAY, linewidth=1, zorder=1)
    handles = []
    for kind, (label, color, marker) in KINDS.items():
        own = [i for i, point in enumerate(points) if point["kind"] == kind]
        if not own:
            continue
        bars = [
            {"mean": points[i]["mean"], "low": points[i]["low"], "high": points[i]["high"]}
            for i in own
            if known(points[i]["low"])
        ]
        error_bars(axes, [float(x[i]) for i in own if known(points[i]["low"])], bars, color=color)
        size = 14 if kind == "chosen" else 6
        axes.plot(
            x[own],
            [points[i]["mean"] for i in own],
            linestyle="none",
            marker=marker,
            markersize=size,
            color=color,
            markeredgecolor="white",
            zorder=5 if kind == "chosen" else 4,
        )
        handles.append(
            Line2D([], [], linestyle="none", marker=marker, markersize=min(size, 10), color=color, label=label)
        )
    if bound is not None:
        handles.append(Line2D([], [], color=BLACK, linewidth=1, linestyle="--", label="budget"))
    axes.set_xlabel(f"{cost} ({unit})" if unit else cost)
    quantity(axes.yaxis, metric, metric_unit)
    style(axes, grid="both")
    legend_below(figure, handles, columns=3)
    named = [i for i, point in enumerate(points) if point["kind"] in ("chosen", "finalist")]
    places = np.array([[x[i], points[i]["mean"]] for i in named], np.float64).reshape(-1, 2)
    place(axes, places, [caption(str(points[i]["name"]), 34) for i in named], lines=[steps], fontsize=8)
    return figure
