"""Figures that compare models: accuracy against cost, by class and by example, differences, embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tfeff.reporting.figure import (
    BLACK,
    BLUE,
    GRAY,
    LIGHT_GRAY,
    VERMILION,
    caption,
    captions,
    error_bars,
    legend_below,
    new,
    quantity,
    split_color,
    style,
)
from tfeff.reporting.labels import place

MARKERS = "osD^vP"
MAX_NAMED = 24  # classes in the legend


def embedding_map_figure(
    coordinates: npt.ArrayLike,
    labels: npt.ArrayLike,
    correct: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    explained: Sequence[float],
    title: str = "",
) -> Figure:
    """Draws examples at their first two principal components, in the color and marker of their class.

    Misclassified examples have a black edge. With more than 24 classes, those after the 24 most frequent are gray.

    Args:
        coordinates: float [n, 2].
        labels: int [n], true classes.
        correct: bool [n], whether the prediction is right.
        explained: share of the variance along each component.
    """
    xy, label, right = np.asarray(coordinates, np.float64), np.asarray(labels), np.asarray(correct, bool)
    counts = np.bincount(label, minlength=len(class_names))
    named = np.sort(np.argsort(-counts, kind="stable")[:MAX_NAMED])
    size = float(np.sqrt(np.clip(6000 / max(len(xy), 1), 8, 30)))  # points
    figure = new(7.0, 5.4)
    axes = figure.add_subplot()
    x, y = xy.T
    spread = np.arange(10) if len(named) <= 10 else np.linspace(0.04, 0.96, len(named))
    colors = [to_hex(color) for color in colormaps["tab10" if len(named) <= 10 else "turbo"](spread)]
    groups = [
        (label == index, colors[rank], MARKERS[rank % len(MARKERS)], caption(class_names[index], 20))
        for rank, index in enumerate(named)
    ]
    others = ~np.isin(label, named)
    if others.any():
        groups.append((others, LIGHT_GRAY, "o", "other classes"))
    handles = []
    for chosen, color, marker, name in groups:
        shape: dict[str, Any] = {"linestyle": "none", "marker": marker, "color": color}
        fill: dict[str, Any] = {"zorder": 1} if chosen is others else {"alpha": 0.7}
        found, wrong = chosen & right, chosen & ~right
        axes.plot(x[found], y[found], markersize=size, markeredgewidth=0, **fill, **shape)
        edge: dict[str, Any] = {"markeredgecolor": BLACK, "markeredgewidth": 0.9}
        axes.plot(x[wrong], y[wrong], markersize=1.35 * size, zorder=4, **edge, **shape)
        handles.append(Line2D([], [], label=name, **shape))
    if not right.all():
        shape = {"linestyle": "none", "marker": "o", "markerfacecolor": "white", "markeredgecolor": BLACK}
        handles.append(Line2D([], [], label="misclassified", **shape))
    axes.set_xlabel(f"first principal component ({100 * explained[0]:.0f} % of the variance)")
    axes.set_ylabel(f"second principal component ({100 * explained[1]:.0f} %)")
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    axes.spines[:].set_color(GRAY)
    axes.set_title(captions([title], 70)[0])
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8)
    return figure


MAX_CLASSES = 100


def class_accuracy_figure(
    class_names: Sequence[str], model_names: Sequence[str], accuracy: npt.ArrayLike, *, metric: str = "accuracy"
) -> Figure:
    """Draws a table of accuracies (recall) or another metric in color, the class with the lowest mean on top.

    With more than 100 classes, the 100 with the lowest mean are shown.

    Args:
        accuracy: float [models, classes], in [0, 1]; NaN for classes without examples, which are omitted.
    """
    values = np.asarray(accuracy, np.float64)
    present = np.flatnonzero(np.isfinite(values).all(axis=0))
    order = present[np.argsort(values[:, present].mean(axis=0), kind="stable")][:MAX_CLASSES]
    shown = values[:, order].T
    names = captions([class_names[index] for index in order], 28)
    title = f"{metric[0].upper()}{metric[1:]} per class"
    if len(order) < len(present):
        title += f"\n(the {len(order)} of {len(present)} classes with the lowest mean)"
    width = float(np.clip(7.0 / len(model_names), 0.5, 1.2))
    row = float(np.clip(8.0 / len(order), 0.2, 0.4))
    models = captions(model_names, 28)
    height = 0.6 if max(map(len, models)) <= 8 else 0.08 * max(map(len, models))
    figure = new(width * len(models) + 0.09 * max(map(len, names)) + 1.8, row * len(order) + 1.1 + height)
    axes = figure.add_subplot()
    axes.set_facecolor(LIGHT_GRAY)
    low = min(0.9, float(np.floor(10 * shown.min()) / 10)) if shown.size else 0.0
    colors = colormaps["cividis"]
    image = axes.imshow(shown, cmap=colors, vmin=low, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(shown):
        dark = (value - low) / (1 - low) < 0.55
        axes.text(j, i, f"{100 * value:.1f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
    horizontal = max(map(len, models)) <= 8
    axes.set_xticks(range(len(models)), models, rotation=0 if horizontal else 90, fontsize=9)
    axes.set_yticks(range(len(order)), names, fontsize=float(np.clip(300 / len(order), 6.5, 10)))
    axes.tick_params(length=0)
    axes.set_title(title)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=20, pad=0.03)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    bar.set_label(f"{metric} (%)")
    return figure


MAX_NUMBERED = 20  # with more classes, numbers no longer fit next to the bars


def class_distribution_figure(
    class_names: Sequence[str], counts: Mapping[str, npt.ArrayLike], *, noun: str = "images"
) -> Figure:
    """Draws each class's share of the examples, for one to three sets of examples, in the order of the first.

    With up to 20 classes, the numbers stand next to the bars; with more than 100, every n-th class is shown, as the
    title says.

    Args:
        counts: name of a set -> number of its examples of each class, [classes].
        noun: what an example is.
    """
    values = {name: np.asarray(count, np.float64) for name, count in counts.items()}
    order = np.argsort(-next(iter(values.values())), kind="stable")
    step = -(-len(order) // MAX_CLASSES)
    order = order[::step]
    names = captions([class_names[index] for index in order], 32)
    rows, height = np.arange(len(order)), 0.8 / len(values)
    figure = new(5.5 + 0.08 * max(map(len, names)), float(np.clip(6.0 / len(order), 0.18, 0.5)) * len(order) + 1.3)
    axes = figure.add_subplot()
    for number, (name, count) in enumerate(values.items()):
        offset = (number - (len(values) - 1) / 2) * height
        label = f"{name} ({count.sum():,.0f} {noun})"
        shares = count[order] / max(count.sum(), 1)
        bars = axes.barh(rows + offset, shares, height, color=split_color(number), label=label)
        if len(order) <= MAX_NUMBERED:
            axes.bar_label(bars, [f" {each:,.0f}" for each in count[order]], fontsize=8)
    axes.set_yticks(rows, names, fontsize=float(np.clip(300 / len(order), 6.5, 10)))
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.tick_params(axis="y", length=0)
    quantity(axes.xaxis, f"share of the {noun}", "%")
    style(axes, grid="x")
    if step > 1:
        axes.set_title(f"Every {_ordinal(step)} of {len(class_names):,} classes")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _ordinal(number: int) -> str:
    """Returns a number of at least 2 as an ordinal.

    >>> [_ordinal(number) for number in (2, 3, 10, 11, 22, 101, 112)]
    ['2nd', '3rd', '10th', '11th', '22nd', '101st', '112th']
    """
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else suffix}"


def paired_differences_figure(rows: Sequence[Mapping[str, Any]], *, metric: str = "accuracies") -> Figure:
    """Draws one row per pair of models: the `difference` of `first` and `second` in accuracy, from `low` to `high`."""
    figure = new(7.5, 0.4 * len(rows) + 1.3)
    axes = figure.add_subplot()
    heights = np.arange(len(rows))
    axes.axvline(0, color=GRAY, linewidth=1, linestyle="--", zorder=1)
    bars = [{"mean": row["difference"], "low": row["low"], "high": row["high"]} for row in rows]
    error_bars(axes, heights.tolist(), bars, color=BLUE, direction="x")
    axes.plot([row["difference"] for row in rows], heights, linestyle="none", marker="o", color=BLUE, zorder=4)
    firsts = captions([row["first"] for row in rows], 24)
    seconds = captions([row["second"] for row in rows], 24)
    axes.set_yticks(heights, [f"{first} − {second}" for first, second in zip(firsts, seconds, strict=True)])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    quantity(axes.xaxis, f"difference of {metric}", "percentage points")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+g}" if value else "0")
    style(axes, grid="x")
    return figure


MAX_EXAMPLES = 3000  # more columns than pixels


def predictions_matrix_figure(model_names: Sequence[str], correct: npt.ArrayLike, *, examples: int) -> Figure:
    """Draws a row per model and a column per example that at least one model misclassifies.

    Args:
        correct: bool [models, n], for these examples; the most often misclassified first. At most 3000 are shown.
    """
    right = np.asarray(correct, bool)
    missed = right.shape[1]
    shown = right[:, :MAX_EXAMPLES]
    models = captions(model_names, 28)
    figure = new(9.0, 0.34 * len(models) + 1.7)
    axes = figure.add_subplot()
    title = f"{missed:,} of {examples:,} examples are misclassified by at least one model"
    if missed > shown.shape[1]:
        title += f" (the first {shown.shape[1]:,} are shown)"
    axes.set_title(title, fontsize=11)
    if missed:
        # 0: correct, 1: wrong, 2: wrong like all others
        cells = np.where(shown, 0, np.where((~shown).all(axis=0), 2, 1))
        colors = ListedColormap([LIGHT_GRAY, VERMILION, BLACK])
        axes.imshow(cells, cmap=colors, vmin=0, vmax=2, aspect="auto", interpolation="nearest")
        axes.set_yticks(np.arange(0.5, len(models) - 1), minor=True)
        axes.grid(which="minor", axis="y", color="white", linewidth=2)
        if missed <= 150:
            axes.set_xticks(np.arange(0.5, missed - 1), minor=True)
            axes.grid(which="minor", axis="x", color="white", linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value + 1:.0f}")
    else:
        axes.set_xticks([])
        axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_yticks(range(len(models)), models)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("examples, the most often misclassified first")
    handles = [
        Patch(color=LIGHT_GRAY, label="correct"),
        Patch(color=VERMILION, label="wrong"),
        Patch(color=BLACK, label="wrong for all models"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def accuracy_cost_figure(points: Sequence[Mapping[str, Any]], *, cost: str, metric: str = "accuracy") -> Figure:
    """Draws accuracy or another metric with intervals against cost, and the Pareto front as steps.

    Large ratios of costs are on a logarithmic axis.

    Args:
        points: models with `name`, `cost` (> 0), `accuracy`, `low` and `high` (limits of its interval).
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
    quantity(axes.yaxis, metric, "%")
    style(axes, grid="both")
    handles = [
        Line2D([], [], color=GRAY, marker="o", markerfacecolor=BLUE, markeredgecolor=BLUE, label="Pareto front"),
        Line2D([], [], linestyle="none", marker="o", color="white", markeredgecolor=BLUE, label="other models"),
    ]
    legend_below(figure, handles, columns=2)
    bars_drawn = [[(at, bar["low"]), (at, bar["high"])] for at, bar in zip(x, bars, strict=True)]
    names = [caption(str(point["name"]), 24) for point in points]
    place(axes, np.stack([x, y], axis=1), names, lines=[steps, *bars_drawn], fontsize=9)
    return figure


def _count(value: float) -> str:
    """Returns a large number with the suffix of its power of 1000.

    >>> [_count(value) for value in (500, 20_000, 3.5e6, 4e9)]
    ['500', '20 k', '3.5 M', '4 G']
    """
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


LOG_RATIO = 4.0
"""Minimum ratio of the largest to the smallest cost for a logarithmic axis."""


def pareto_front(cost: npt.ArrayLike, value: npt.ArrayLike) -> list[int]:
    """Returns indices of the points that no point of the same or lower cost surpasses in value, cheapest first.

    >>> pareto_front([1, 2, 3, 3], [0.5, 0.4, 0.6, 0.7])
    [0, 3]
    """
    costs, values = np.asarray(cost, np.float64), np.asarray(value, np.float64)
    front: list[int] = []
    for i in np.lexsort((-values, costs)).tolist():
        if not front or values[i] > values[front[-1]]:
            front.append(i)
    return front


def stairs(cost: npt.ArrayLike, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns corners of the steps through n points of increasing cost, float [2n - 1, 2].

    >>> stairs([1, 3], [0.5, 0.7]).tolist()
    [[1.0, 0.5], [3.0, 0.5], [3.0, 0.7]]
    """
    corners = np.repeat(np.stack([np.asarray(cost, np.float64), np.asarray(value, np.float64)], axis=1), 2, axis=0)
    return np.stack([corners[1:, 0], corners[:-1, 1]], axis=1)
