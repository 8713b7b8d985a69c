"""Accuracy against cost for networks scaled in a single dimension or in all dimensions (compound).

A *point* is a mapping that describes a network: `label`, `method` (a key of `METHODS`), `phi`, `relative_macs`
(multiply-adds relative to the baseline's), `macs`, `latency` (seconds, or None), `mean`, `low` and `high` (95 %
interval, or None), and `values` (one per fold). Points whose `mean` is None or NaN are skipped. Every curve starts at
the baseline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator
from matplotlib.typing import LineStyleType
from scipy.optimize import isotonic_regression

from tfeff.reporting.comparison import LOG_RATIO, pareto_front, stairs
from tfeff.reporting.figure import (
    BLACK,
    BLUE,
    DOT_OFFSET,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
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

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """Label and style of a scaling method."""

    label: str
    color: str
    marker: str
    linestyle: LineStyleType


METHODS = {
    "baseline": Method("baseline", BLACK, "X", "none"),
    "depth": Method("depth alone", BLUE, "o", "--"),
    "width": Method("width alone", ORANGE, "s", "-."),
    "resolution": Method("resolution alone", GREEN, "^", ":"),
    "width+resolution": Method("width and resolution", PURPLE, "P", "-."),
    "compound": Method("compound", VERMILION, "D", "-"),
}
OTHERS = ("depth", "width", "resolution", "width+resolution")
"""Methods that compound scaling is compared with."""

MIN_DISTANCE = 0.13  # octaves of multiply-adds between two error bars
LABEL_LENGTH = 28  # characters
NOTE = "bars: 95 % interval; faint dots: single folds"


def method_figure(points: Sequence[Point], method: str, *, metric: str, unit: str = "%") -> Figure:
    """Draws accuracy against relative multiply-adds for one method, with labeled points.

    Args:
        points: all points. Only this method and the baseline are drawn, but all points determine the axis limits, so
            that the figures of all methods are comparable.
        method: a key of `METHODS`.
        unit: its unit; "%" formats values in [0, 1] as percentages, "" means no unit.
    """
    figure = new(5.8, 4.4)
    axes = figure.add_subplot()
    drawn = _drawn(points, ("baseline", method))
    positions = _curves(axes, drawn)
    _limits(axes, points)
    axes.set_title(f"Scaling: {METHODS[method].label}", fontsize=11)
    _axis_labels(axes, metric, unit)
    _legend(figure, drawn)
    curve = np.stack([positions, [point["mean"] for point in drawn]], axis=1)
    place(
        axes,
        curve,
        [caption(str(point["label"]), LABEL_LENGTH) for point in drawn],
        lines=[curve[np.argsort(positions)], *_bars(positions, drawn)] if drawn else [],
        radius=2 + DOT_OFFSET,
    )
    return figure


def methods_figure(points: Sequence[Point], *, metric: str, unit: str = "%") -> Figure:
    """Draws accuracy against relative multiply-adds for all methods; points of equal cost are drawn side by side.

    Arguments as in `method_figure`.
    """
    figure = new(6.4, 4.8)
    axes = figure.add_subplot()
    drawn = _drawn(points, tuple(METHODS))
    _curves(axes, drawn)
    _limits(axes, drawn)
    axes.set_title("Scaling methods", fontsize=11)
    _axis_labels(axes, metric, unit)
    _legend(figure, drawn, f"{NOTE}; points of equal cost are side by side")
    return figure


def single_against_compound_figure(points: Sequence[Point], *, metric: str, unit: str = "%") -> Figure:
    """Draws compound scaling and each other method, one panel per method with shared axes.

    Arguments as in `method_figure`. Methods without points have no panel.
    """
    drawn = _drawn(points, tuple(METHODS))
    single = [method for method in OTHERS if any(point["method"] == method for point in drawn)] or ["compound"]
    figure = new(2.4 + 3.0 * len(single), 4.2)
    for axes, method in zip(figure.subplots(1, len(single), sharey=True, squeeze=False)[0], single, strict=True):
        _curves(axes, _drawn(points, ("baseline", method, "compound")))
        _limits(axes, drawn)
        axes.set_title(METHODS[method].label, fontsize=11)
        _axis_labels(axes, metric, unit)
        axes.label_outer()
    figure.suptitle("Compound scaling and other methods", fontsize=12)
    _legend(figure, drawn)
    return figure


def latency_figure(points: Sequence[Point], *, metric: str, unit: str = "%", minimized: bool = False) -> Figure:
    """Draws accuracy against the measured latency of one image, and the labeled Pareto front.

    The front consists of the points that no point of the same or lower latency surpasses. Points without a latency are
    skipped and counted in the legend. Arguments as in `method_figure`, and whether a smaller metric is better.
    """
    means = _drawn(points, tuple(METHODS))
    drawn = [point for point in means if known(point.get("latency"))]
    missing = len(means) - len(drawn)
    milliseconds = np.array([1e3 * point["latency"] for point in drawn])
    figure = new(6.4, 4.8)
    axes = figure.add_subplot()
    axes.set_title("Accuracy and latency" if unit == "%" else f"{caption(metric, 40)} and latency", fontsize=11)

    front = pareto_front(milliseconds, [-point["mean"] if minimized else point["mean"] for point in drawn])
    steps = stairs(milliseconds[front], [drawn[i]["mean"] for i in front])
    axes.plot(*steps.T, color=GRAY, linewidth=1, zorder=1)
    for name, method in METHODS.items():
        indices = [i for i, point in enumerate(drawn) if point["method"] == name]
        if indices:
            # Without dots of single folds: points of equal latency overlap.
            without_values = [{**drawn[i], "values": ()} for i in indices]
            _markers(axes, milliseconds[indices], without_values, method)
    if not drawn:
        _empty(axes)
    elif max(milliseconds) >= LOG_RATIO * min(milliseconds):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(LogLocator(10, subs=()))
    axes.margins(x=0.12, y=0.08)
    axes.set_xlabel("latency (ms, batch size 1)")
    quantity(axes.yaxis, metric, unit)
    style(axes, grid="both")
    note = "bars: 95 % interval"
    if missing:
        note += f"; points without a latency: {missing}"
    _legend(figure, drawn, note, [Line2D([], [], color=GRAY, linewidth=1, label="Pareto front")])

    lines = [*([steps] if front else []), *_bars(milliseconds, drawn)]
    texts = [caption(str(point["label"]), LABEL_LENGTH) if i in front else "" for i, point in enumerate(drawn)]
    place(axes, [(x, point["mean"]) for x, point in zip(milliseconds, drawn, strict=True)], texts, lines=lines)
    return figure


def spread_apart(values: npt.ArrayLike, distance: float) -> npt.NDArray[np.float64]:
    """Moves positions at least `distance` apart, closest to `values` by least squares, in the same order.

    >>> spread_apart([1.0, 1.0, 3.0], 0.5)
    array([0.75, 1.25, 3.  ])
    """
    targets = np.asarray(values, np.float64)
    order = np.argsort(targets, kind="stable")
    steps = distance * np.arange(len(targets))
    positions = np.empty(len(targets))
    if len(targets):  # without the steps, positions must not fall
        positions[order] = isotonic_regression(targets[order] - steps).x + steps
    return positions


def _drawn(points: Sequence[Point], methods: Sequence[str]) -> list[Point]:
    """Returns points of these methods that have a mean, in the order of the methods."""
    return [point for method in methods for point in points if point["method"] == method and known(point.get("mean"))]


def _curves(axes: Axes, points: Sequence[Point]) -> npt.NDArray[np.float64]:
    """Draws each method's curve on a log2 axis and returns the x positions of its points."""
    axes.set_xscale("log", base=2)
    positions = np.exp2(spread_apart([np.log2(point["relative_macs"]) for point in points], MIN_DISTANCE))
    start = [i for i, point in enumerate(points) if point["method"] == "baseline"]
    for name, method in METHODS.items():
        indices = [i for i, point in enumerate(points) if point["method"] == name]
        if indices:
            along = sorted(start + indices, key=lambda i: positions[i]) if name != "baseline" else []
            axes.plot(
                positions[along],
                [points[i]["mean"] for i in along],
                color=method.color,
                linestyle=method.linestyle,
                linewidth=1.2,
                zorder=2,
            )
            _markers(axes, positions[indices], [points[i] for i in indices], method)
    if not points:
        _empty(axes)
    return positions


def _markers(axes: Axes, positions: npt.NDArray[np.float64], points: Sequence[Point], method: Method) -> None:
    """Draws means with their intervals; a mean without an interval has a hollow marker."""
    error_bars(axes, positions.tolist(), points, color=method.color)
    for hollow in (False, True):
        shown = [i for i, point in enumerate(points) if hollow is not _has_interval(point)]
        axes.plot(
            positions[shown],
            [points[i]["mean"] for i in shown],
            linestyle="none",
            marker=method.marker,
            markersize=6.5,
            color=method.color,
            markerfacecolor="white" if hollow else method.color,
            zorder=4,
            label=f"_{method.label}",
        )


def _has_interval(point: Point) -> bool:
    return known(point.get("low")) and known(point.get("high"))


def _bars(positions: npt.NDArray[np.float64], points: Sequence[Point]) -> list[npt.NDArray[np.float64]]:
    """Returns the error bars as polylines, float [2, 2] each."""
    return [
        np.array([(position, point["low"]), (position, point["high"])])
        for position, point in zip(positions, points, strict=True)
        if _has_interval(point)
    ]


def _limits(axes: Axes, points: Sequence[Point]) -> None:
    """Sets the x limits to octaves from 1 to at least 2, and the y limits to include every interval and value."""
    octaves = spread_apart(
        [np.log2(point["relative_macs"]) for point in points if known(point.get("mean"))], MIN_DISTANCE
    )
    heights = [
        value
        for point in points
        if known(point.get("mean"))
        for value in (point["mean"], point.get("low"), point.get("high"), *(point.get("values") or ()))
        if known(value)
    ]
    low, high = min([0.0, *octaves]) - 0.4, max([1.0, *octaves]) + 0.4
    axes.set_xlim(2.0**low, 2.0**high)
    ticks = 2.0 ** np.arange(np.ceil(low), np.floor(high) + 1)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    if heights:
        margin = 0.08 * (max(heights) - min(heights)) or 0.02 * abs(max(heights)) or 0.02
        axes.set_ylim(min(heights) - margin, max(heights) + margin)


def _axis_labels(axes: Axes, metric: str, unit: str) -> None:
    axes.set_xlabel("relative multiply-adds (x baseline)")
    quantity(axes.yaxis, metric, unit)
    style(axes)


def _legend(figure: Figure, points: Sequence[Point], note: str = NOTE, more: Sequence[Line2D] = ()) -> None:
    methods = [METHODS[name] for name in METHODS if any(point["method"] == name for point in points)]
    handles = [
        Line2D(
            [], [], color=m.color, marker=m.marker, markersize=6, linestyle=m.linestyle, linewidth=1.2, label=m.label
        )
        for m in methods
    ] + list(more)
    if not all(map(_has_interval, points)):
        note += "; hollow: no interval"
    legend_below(figure, handles, columns=min(3, len(handles)), note=note)


def _empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no points", ha="center", va="center", transform=axes.transAxes, color=GRAY)
