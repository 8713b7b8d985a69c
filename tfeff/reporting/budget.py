"""Figures of a search within a budget: accuracy of all networks against a cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
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
        Line2D([], [], color=BLUE, label="power law, with 95 % intervals of the change"),
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
    screening: tuple[str, str],
) -> Figure:
    """Draws networks by cost and accuracy, with intervals, their Pareto fronts, and the bound.

    If some have only a probe or a short training, a second panel shows that of all networks that have one, with its own
    front: these values are not comparable with those of trainings on folds.

    Args:
        points: networks with `name`, `cost` (> 0), `kind` (a key of `KINDS`), `mean`, `low` and `high` (limits of its
            interval) and `screened`; the last four can be None.
        cost: name of the cost.
        unit: its unit.
        scale: value of the unit.
        bound: the budget's limit of this cost; None if there is none.
        screening: what `screened` is, such as "accuracy of the probe", and its unit.
    """
    alone = [point["mean"] is None for point in points]
    titles = ({} if all(alone) else {"mean": (metric, metric_unit)}) | ({"screened": screening} if any(alone) else {})
    figure = new(7.4, 1.5 + 3.4 * len(titles))
    panels = figure.subplots(len(titles), 1, sharex=True, squeeze=False)[:, 0]
    ends = [point["cost"] / scale for point in points] + ([] if bound is None else [bound / scale])
    low, high = min(ends), max(ends)
    if high / low < LOG_RATIO:
        panels[0].set_xlim(0.0, 1.12 * high)
    else:
        panels[0].set_xscale("log")
        panels[0].set_xlim(low / 1.25, high * 1.25)
        panels[0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[0].xaxis.set_minor_formatter(NullFormatter())
    panels[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[-1].set_xlabel(f"{cost} ({unit})" if unit else cost)
    labeled = []
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        shown = [point for point in points if point[key] is not None]
        places, texts, lines = _networks(axes, shown, key, scale)
        if bound is not None:
            axes.axvline(bound / scale, color=BLACK, linewidth=1, linestyle="--", zorder=1)
            lines.append(np.array([(bound / scale, y) for y in axes.get_ylim()]))
        labeled.append((axes, places, texts, lines))
        quantity(axes.yaxis, *title)
        style(axes, grid="both")
    handles = [
        Line2D([], [], linestyle="none", marker=marker, markersize=10 if marker == "*" else 6, color=color, label=label)
        for kind, (label, color, marker) in KINDS.items()
        if any(point["kind"] == kind for point in points)
    ]
    handles.append(Line2D([], [], color=GRAY, linewidth=1, label="Pareto front"))
    if bound is not None:
        handles.append(Line2D([], [], color=BLACK, linewidth=1, linestyle="--", label="budget"))
    legend_below(figure, handles, columns=3)
    for axes, places, texts, lines in labeled:  # when the layout is known
        place(axes, places, texts, lines=lines, fontsize=8)
    return figure


def _networks(
    axes: Axes, points: Sequence[Mapping[str, Any]], key: str, scale: float
) -> tuple[np.ndarray, list[str], list[np.ndarray]]:
    """Draws networks by cost and one of their values, and the Pareto front.

    Returns:
        Places of n networks, float [n, 2]; their names, empty if they are not shown; and lines that names should avoid,
        float [m, 2] each.
    """
    x, y = (np.array([point[name] for point in points], np.float64) for name in ("cost", key))
    x /= scale
    front = pareto_front(x, y)
    steps = stairs([*x[front], axes.get_xlim()[1]], [*y[front], y[front[-1]]])
    axes.plot(*steps.T, color=GRAY, linewidth=1, zorder=1)
    lines = [steps]
    for kind, (_, color, marker) in KINDS.items():
        own = [i for i, point in enumerate(points) if point["kind"] == kind]
        bars = [i for i in own if key == "mean" and known(points[i]["low"])]
        error_bars(axes, list(x[bars]), [points[i] for i in bars], color=color)
        lines += [np.array([(x[i], points[i][end]) for end in ("low", "high")]) for i in bars]
        size, order = (14, 5) if kind == "chosen" else (6, 4)
        axes.plot(
            *(x[own], y[own]),
            linestyle="none",
            marker=marker,
            markersize=size,
            color=color,
            markeredgecolor="white",
            zorder=order,
        )
    named = {
        *front,
        *(i for i, point in enumerate(points) if key == "mean" and point["kind"] in ("chosen", "finalist")),
    }
    texts = [caption(str(point["name"]), 34) if i in named else "" for i, point in enumerate(points)]
    return np.stack([x, y], axis=1), texts, lines
