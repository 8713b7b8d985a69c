"""Figures of a sweep: the candidates with intervals, the effect of each setting, and a map of two settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from tfeff.reporting.candidates import STANDINGS
from tfeff.reporting.figure import (
    BLACK,
    BLUE,
    GRAY,
    caption,
    error_bars,
    known,
    legend_below,
    new,
    quantity,
    style,
    with_unit,
)
from tfeff.reporting.training_curves import LINES

ROW_HEIGHT = 0.27
"""Inches per candidate."""
LABEL_LENGTH = 60
COLUMNS = 3
COLORS = colormaps["cividis"]
DARK = 0.5
"""Relative value of a cell below which its text is white."""


def ranking_figure(rows: Sequence[Mapping[str, Any]], *, metric: str, unit: str) -> Figure:
    """Draws the mean and the interval of each candidate, the best on top.

    Args:
        rows: candidates with `label`, `mean`, `low`, `high`, `values` (one per fold) and `standing` (a key of
            `candidates.STANDINGS`), in their order. Candidates without a mean are skipped.
        unit: its unit; "%" for values in [0, 1].
    """
    shown = [row for row in rows if known(row["mean"])]
    figure = new(8.5, ROW_HEIGHT * max(3, len(shown)) + 1.4)
    axes = figure.add_subplot()
    for height, row in enumerate(shown):
        standing = STANDINGS[row["standing"]]
        error_bars(axes, [height], [row], color=standing.color, direction="x")
        axes.plot(
            row["mean"], height, marker=standing.marker, markersize=0.7 * standing.size, color=standing.color, zorder=4
        )
    axes.set_ylim(max(1, len(shown)) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)), [caption(row["label"], LABEL_LENGTH) for row in shown], fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    quantity(axes.xaxis, metric, unit)
    style(axes, grid="x")
    present = [STANDINGS[name] for name in STANDINGS if any(row["standing"] == name for row in shown)]
    handles = [
        Line2D([], [], linestyle="none", marker=each.marker, color=each.color, label=each.label) for each in present
    ]
    legend_below(figure, handles, columns=4)
    return figure


def effects_figure(axes_of_sweep: Sequence[Mapping[str, Any]], *, metric: str, unit: str) -> Figure:
    """Draws the candidates' means against the value of each key; with intervals, unless `means` summarize them.

    Args:
        axes_of_sweep: mappings with `key`, `log` (whether its scale is logarithmic), `order` (values of a list, empty
            for a range), `points` (candidates: `value` as text, `mean`, `low` and `high`) and, of a list, `means` (the
            same of all candidates with a value).
    """
    columns = min(COLUMNS, len(axes_of_sweep))
    lines = -(-len(axes_of_sweep) // columns)
    figure = new(3.4 * columns + 0.6, 2.8 * lines + 0.3)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for panel in panels[len(axes_of_sweep) :]:
        panel.set_axis_off()
    for panel, axis in zip(panels, axes_of_sweep, strict=False):
        points = [point for point in axis["points"] if known(point["mean"])]
        order = list(axis["order"])
        places = [order.index(point["value"]) if order else float(point["value"]) for point in points]
        means = [point["mean"] for point in points]
        panel.plot(places, means, linestyle="none", marker="o", markersize=4, color=BLUE, alpha=0.5)
        if order:
            summary = [mean for mean in axis["means"] if known(mean["mean"])]
            drawn = [order.index(mean["value"]) for mean in summary]
            panel.plot(
                drawn, [mean["mean"] for mean in summary], marker="_", markersize=16, color=BLACK, linewidth=1, zorder=3
            )
            error_bars(panel, drawn, summary, color=BLACK, direction="y")
            panel.set_xticks(range(len(order)), [caption(value, 18) for value in order])
            panel.set_xlim(-0.5, len(order) - 0.5)
        else:
            error_bars(panel, places, points, color=BLUE, direction="y")
            if axis["log"]:
                panel.set_xscale("log")
        panel.set_xlabel(axis["key"])
        style(panel)
    for line in range(lines):
        quantity(panels[line * columns].yaxis, metric, unit)
    return figure


def map_figure(
    rows: Sequence[Mapping[str, Any]], across: Mapping[str, Any], down: Mapping[str, Any], *, metric: str, unit: str
) -> Figure:
    """Draws the candidates of a grid of two keys as a matrix of cells with mean and interval.

    Args:
        rows: candidates with `settings` (key -> value), `mean`, `low`, `high` and `standing`.
        across: the key of the columns: `key` and `order` (its values).
        down: the key of the rows.
    """

    def number(value: float) -> str:
        return f"{100 * value:.1f}" if unit == "%" else f"{value:.3g}"

    columns, lines = list(across["order"]), list(down["order"])
    cells = {(row["settings"][down["key"]], row["settings"][across["key"]]): row for row in rows}
    means = [row["mean"] for row in rows if known(row["mean"])]
    scale = Normalize(min(means, default=0.0), max(means, default=1.0))
    figure = new(1.25 * len(columns) + 1.8, 0.62 * len(lines) + 1.3)
    axes = figure.add_subplot()
    for y, line in enumerate(lines):
        for x, column in enumerate(columns):
            row = cells.get((line, column))
            if row is None or not known(row["mean"]):
                continue
            level = float(scale(row["mean"]))
            chosen = row["standing"] == "winner"
            cell = Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=COLORS(level), zorder=3 if chosen else 2)
            if chosen:
                cell.set(edgecolor=BLACK, linewidth=2.0)
            axes.add_patch(cell)
            text = number(row["mean"])
            if known(row["low"]) and known(row["high"]):
                text += f"\n{number(row['low'])} to {number(row['high'])}"
            if row["standing"] == "eliminated":
                text += " (early)"
            axes.text(
                x, y, text, ha="center", va="center", fontsize=8.5, color="white" if level < DARK else BLACK, zorder=4
            )
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), [caption(value, 16) for value in columns])
    axes.set_yticks(range(len(lines)), [caption(value, 16) for value in lines])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(across["key"])
    axes.set_ylabel(down["key"])
    axes.set_title(f"{with_unit(metric, unit)}, with 95 % interval", fontsize=9, color=GRAY)
    return figure


def cost_figure(curves: Mapping[str, Sequence[Mapping[str, Any]]], *, metric: str, unit: str) -> Figure:
    """Draws curves by name: the `best` mean so far (None before the first candidate is complete) against `epochs`."""
    figure = new(7.0, 3.6)
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(curves.items()):
        drawn = [(point["epochs"], point["best"]) for point in points if known(point["best"])]
        if drawn:
            color, line = LINES[number % len(LINES)]
            # Later curves are thinner, so that none hides another.
            width = max(1.2, 3.2 - 0.7 * number)
            axes.step(*zip(*drawn, strict=True), where="post", label=name, color=color, linestyle=line, linewidth=width)
            axes.plot(*drawn[-1], marker="o", color=color)
    axes.set_xlim(left=0)
    axes.set_xlabel("training (epochs, total of all trials)")
    quantity(axes.yaxis, f"best {metric} so far", unit)
    style(axes, grid="both")
    if len(curves) > 1:
        axes.legend(frameon=False)
    return figure
