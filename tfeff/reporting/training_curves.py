"""Curves of training: a run, several runs, ways to train the same network, and a learning-rate range test."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.figure import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    SKY_BLUE,
    VERMILION,
    caption,
    known,
    legend_below,
    literal,
    new,
    style,
)

# One panel per row: label and scale of its y-axis, and the keys of its metrics.
PANELS = (
    ("loss", "linear", ("train_loss", "validation_loss")),
    ("accuracy", "linear", ("train_accuracy", "validation_accuracy")),
    ("mean IoU", "linear", ("train_iou", "validation_iou")),
    ("mAP, IoU 0.5", "linear", ("validation_mean_ap",)),
    ("recall at 1", "linear", ("validation_recall_at_1",)),
    ("MAP@R", "linear", ("validation_map_at_r",)),
    ("share of regions", "linear", ("validation_called_background", "validation_background_recall")),
    ("learning rate", "log", ("learning_rate",)),
    ("images/s", "linear", ("images_per_second",)),
)
SHORT = 20
"""Points of a curve up to which they have markers: a single point would be invisible without one."""
BEST = (
    "validation_accuracy",
    "validation_iou",
    "validation_mean_ap",
    "validation_recall_at_1",
    "validation_map_at_r",
)
"""Metrics whose highest value is marked."""
COLORS = {"train": BLUE, "validation": ORANGE}
OF_REGIONS = {
    "validation_called_background": ("objects classified as background", VERMILION),
    "validation_background_recall": ("background recall", ORANGE),
}
"""Label and color of curves that share a panel though they are of the same split."""


def training_figure(rows: Sequence[Mapping[str, Any]], *, title: str = "Training") -> Figure:
    """Plots loss, metrics, learning rate and speed against the epoch, one panel each.

    Args:
        rows: metrics of each epoch: `epoch`, and any of those in `PANELS`. Keys that are missing, None or NaN in some
            rows leave gaps, which the curve bridges. Panels without values are omitted.
    """
    panels = _panels(rows)
    columns = min(2, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    figure = new(5.0 * columns, 3.2 * lines + 0.4)
    figure.suptitle(literal(title))
    for index, panel in enumerate(panels):
        _draw(figure.add_subplot(lines, columns, index + 1), *panel)
    return figure


def training_panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Returns the panels of `training_figure` as figures of their own, by the label of their y-axis."""
    figures = dict[str, Figure]()
    for panel in _panels(rows):
        figures[panel[0]] = new(5.0, 3.2)
        _draw(figures[panel[0]].add_subplot(), *panel)
    return figures


_Curves = Mapping[str, Sequence[tuple[float, float]]]


def _panels(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, _Curves]]:
    """Returns the label, scale and curves of each panel that has values."""
    return [
        (label, scale, curves)
        for label, scale, keys in PANELS
        if (curves := {key: points for key in keys if (points := _points(rows, key))})
    ]


def _draw(axes: Axes, label: str, scale: str, curves: _Curves) -> None:
    for key, points in curves.items():
        epochs, values = zip(*points, strict=True)
        split = key.split("_")[0]
        name, color = OF_REGIONS.get(key, (split, COLORS.get(split, BLUE)))
        marker = "o" if len(points) <= SHORT else None
        axes.plot(epochs, values, color=color, label=name, marker=marker, markersize=3)
        if key in BEST:
            best = int(np.argmax(values))
            axes.axhline(values[best], color=ORANGE, linewidth=0.8, linestyle=":")
            axes.set_title(f"best validation: {values[best]:.4f} at epoch {epochs[best]:g}", fontsize=9, loc="right")
    if scale == "log" and all(value > 0 for points in curves.values() for _, value in points):
        axes.set_yscale("log")
    elif label in ("loss", "images/s"):
        top = max(value for points in curves.values() for _, value in points)
        axes.set_ylim(0, 1.05 * top or 1)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(curves) > 1:
        axes.legend(frameon=False)
    style(axes)


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    present = ((row["epoch"], row.get(key)) for row in rows)
    return [(epoch, value) for epoch, value in present if value is not None and np.isfinite(value)]


# Distinguishable in grayscale.
LINES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (ORANGE, ":"), (SKY_BLUE, "-"), (GRAY, "--"))
DASHES = ("-", "--", "-.", ":")
LOG_RATIO = 20  # largest over smallest loss above which the axis is logarithmic
LABEL_LENGTH = 40  # characters; longer labels are shortened in the middle

Curve = Sequence[tuple[float, float]]  # (epoch, loss)


def line_style(index: int) -> tuple[str, str]:
    """Returns the color and the dashes of the curve with a number; those of 24 curves differ."""
    color, dashes = LINES[index % len(LINES)]
    return color, DASHES[(DASHES.index(dashes) + index // len(LINES)) % len(DASHES)]


def runs_figure(runs: Mapping[str, Sequence[Mapping[str, Any]]], key: str, label: str) -> Figure | None:
    """Plots a metric of several runs against the epoch, one line for each run.

    Args:
        runs: name of a run -> metrics of each epoch, as for `training_figure`.
        key: the metric.
        label: its name.

    Returns:
        The figure; None if no run has the metric.
    """
    curves = {name: points for name, rows in runs.items() if (points := _points(rows, key))}
    if not curves:
        return None
    figure = new(5.0, 3.4)
    axes = figure.add_subplot()
    for index, name in enumerate(runs):  # a run has the same line for each metric
        if name in curves:
            color, dashes = line_style(index)
            marker = "o" if len(curves[name]) <= SHORT else None
            axes.plot(
                *zip(*curves[name], strict=True),
                color=color,
                linestyle=dashes,
                marker=marker,
                markersize=3,
                label=caption(name, LABEL_LENGTH),
            )
    values = [value for points in curves.values() for _, value in points]
    if min(values) > 0 and max(values) > LOG_RATIO * min(values):
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    style(axes)
    legend_below(figure, axes.get_legend_handles_labels()[0], columns=1)
    return figure


def loss_figure(runs: Mapping[str, Sequence[Curve]], *, title: str = "Loss") -> Figure:
    """Draws the mean loss over the folds and a band from the smallest to the largest fold.

    The axis is logarithmic if the losses differ by more than a factor of 20. Missing and non-finite losses are ignored;
    the legend counts the folds that diverged.

    Args:
        runs: label, such as "with batch normalization" -> one list per fold of (epoch, loss in nats).
    """
    figure = new(6.4, 4.6)
    axes = figure.add_subplot()
    drawn: list[float] = []
    for index, (label, folds) in enumerate(runs.items()):
        by_epoch: dict[float, list[float]] = {}
        for fold in folds:
            for epoch, value in fold:
                if known(value):
                    by_epoch.setdefault(epoch, []).append(value)
        epochs = sorted(by_epoch)
        losses = [by_epoch[epoch] for epoch in epochs]
        drawn += [value for values in losses for value in values]
        diverged = sum(any(not known(value) for _, value in fold) for fold in folds)
        notes = [f"{len(folds)} fold{'s' if len(folds) != 1 else ''}", *([f"{diverged} diverged"] if diverged else [])]
        color, linestyle = LINES[index % len(LINES)]
        axes.plot(
            epochs,
            [float(np.mean(values)) for values in losses],
            color=color,
            linestyle=linestyle,
            marker="o" if len(epochs) <= SHORT else None,
            markersize=3,
            label=f"{caption(label, LABEL_LENGTH)} ({', '.join(notes)})",
        )
        if len(folds) > 1:
            lowest, highest = list(map(min, losses)), list(map(max, losses))
            axes.fill_between(epochs, lowest, highest, color=color, alpha=0.2, linewidth=0)
    if drawn and min(drawn) > 0 and max(drawn) > LOG_RATIO * min(drawn):
        axes.set_yscale("log")
    elif drawn:
        axes.set_ylim(min(0, min(drawn)), 1.05 * max(drawn) or 1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_title(literal(title), fontsize=11)
    style(axes)
    handles, _ = axes.get_legend_handles_labels()
    legend_below(figure, handles, columns=1, note="lines: mean over folds; bands: smallest to largest fold")
    return figure


def range_test_figure(rates: Sequence[float], losses: Sequence[float], means: Sequence[float], found: float) -> Figure:
    """Draws the loss of each update, its moving average, and the learning rate that was found.

    Args:
        rates: learning rate of each update, increasing.
        means: their moving average; NaN where there is none.
    """
    figure = new(6.4, 4.2)
    axes = figure.add_subplot()
    axes.plot(rates, losses, "o", color=SKY_BLUE, markersize=3, label="single updates")
    axes.plot(rates, means, color=BLUE, label="moving average")
    axes.axvline(found, color=VERMILION, linestyle="--", label=f"lowest: {found:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate, increasing from update to update")
    axes.set_ylabel("training loss")
    style(axes)
    legend_below(figure, axes.get_legend_handles_labels()[0], columns=3)
    return figure
