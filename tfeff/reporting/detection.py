"""Figures of detectors: precision-recall curves, number and cost of each type of error, IoU of boxes, proposals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from tfeff.reporting.figure import (
    BLACK,
    BLUE,
    GREEN,
    LIGHT_GRAY,
    ORANGE,
    SKY_BLUE,
    VERMILION,
    caption,
    captions,
    known,
    legend_below,
    new,
    quantity,
    style,
)

COLORS = (BLUE, VERMILION, GREEN, ORANGE, SKY_BLUE)
LINES = ("-", "--", "-.")
MAX_COLORED = len(COLORS) * len(LINES)
NAME_LENGTH = 28  # characters; longer names are shortened in the middle


def precision_recall_figure(
    class_names: Sequence[str],
    precision: Sequence[npt.ArrayLike],
    average_precision: Sequence[float | None],
    objects: Sequence[int],
    *,
    title: str = "Precision-recall curves",
) -> Figure:
    """Draws one curve per class, sorted by descending average precision, and their mean.

    With more than 15 classes, the best and worst 7 have colors and a legend entry; the others are gray. Classes without
    objects have no curve.

    Args:
        precision: float [n] of each class, at recalls evenly spaced from 0 to 1; None or NaN if undefined.
        average_precision: average precision of each class; None or NaN if undefined.
    """
    defined = [label for label in range(len(class_names)) if known(average_precision[label])]
    order = sorted(defined, key=lambda label: -(average_precision[label] or 0.0))
    half = MAX_COLORED // 2
    named = order if len(order) <= MAX_COLORED else [*order[:half], *order[-half:]]

    figure = new(9.2, 5.2)
    axes = figure.add_subplot()

    def draw(curve: npt.ArrayLike, **style: Any) -> None:
        heights = np.asarray(curve, np.float64)
        axes.plot(np.linspace(0, 1, len(heights)), heights, **style)

    for label in set(order) - set(named):
        draw(precision[label], color=LIGHT_GRAY, linewidth=0.8, zorder=1)
    for index, label in enumerate(named):
        text = f"{caption(class_names[label], NAME_LENGTH)}, {average_precision[label]:.3f} ({objects[label]:,})"
        color, line = COLORS[index % len(COLORS)], LINES[index // len(COLORS)]
        draw(precision[label], color=color, linestyle=line, linewidth=1.5, label=text)
    if len(order) > 1:
        mean = np.mean([np.asarray(precision[label], np.float64) for label in order], axis=0)
        value = np.mean([average_precision[label] or 0.0 for label in order])
        draw(mean, color=BLACK, linewidth=2.2, label=f"mean of {len(order)} classes, {value:.3f}")
    if not order:
        axes.text(0.5, 0.5, "no objects", ha="center", va="center")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.01)
    quantity(axes.xaxis, "recall", "%")
    quantity(axes.yaxis, "interpolated precision", "%")
    style(axes, grid="both")
    if order:
        figure.legend(
            loc="outside right upper", fontsize=8, frameon=False, title="class, AP (objects)", title_fontsize=8
        )
    figure.suptitle(caption(title, 90), fontsize=12)
    return figure


ERROR_NAMES = {
    "class": "classification",
    "box": "localization",
    "both": "classification and localization",
    "duplicate": "duplicate",
    "background": "background",
    "missed": "missed object",
}
"""Error type -> its name in tables and figures."""


def detection_errors_figure(errors: Mapping[str, Mapping[str, Any]], *, title: str = "Error types") -> Figure:
    """Draws two bars per error type: the number of errors, and the increase of mAP if they were fixed.

    Args:
        errors: key of ERROR_NAMES -> `count`, and `gain` in mean average precision, from 0 to 1 (None if undefined).
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
    left.set_yticks(rows, [caption(ERROR_NAMES[kind], 32) for kind in errors])
    left.set_ylim(len(errors) - 0.5, -0.5)
    left.set_xlabel("errors")
    right.set_xlabel("mAP gain if fixed (percentage points)")
    figure.suptitle(title, fontsize=12)
    return figure


def compared_errors_figure(model_names: Sequence[str], errors: Sequence[Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Draws the error types of several detectors side by side: their number, and the increase of mAP without them.

    Args:
        errors: for each model, type -> `count` and `gain`, as for `detection_errors_figure`.
    """
    kinds, models = list(errors[0]), len(model_names)
    height = 0.8 / models
    figure = new(9.5, (0.16 * models + 0.25) * len(kinds) + 1.4)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(kinds))
    for number, (name, of) in enumerate(zip(captions(model_names, 28), errors, strict=True)):
        place_of = rows + (number - (models - 1) / 2) * height
        color = COLORS[number] if models <= len(COLORS) else colormaps["viridis"](number / (models - 1))
        gains = [100 * of[kind]["gain"] if known(of[kind]["gain"]) else 0.0 for kind in kinds]
        left.barh(place_of, [of[kind]["count"] for kind in kinds], height, color=color, label=name)
        right.barh(place_of, gains, height, color=color)
    for axes, label in ((left, "errors"), (right, "mAP gain if fixed (percentage points)")):
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlim(left=0)
        axes.set_xlabel(label)
        axes.tick_params(axis="y", length=0)
        style(axes, grid="x")
    left.set_yticks(rows, [ERROR_NAMES[kind] for kind in kinds])
    left.set_ylim(len(kinds) - 0.5, -0.5)
    legend_below(figure, list(left.get_legend_handles_labels()[0]), columns=min(models, 3))
    return figure


def iou_figure(counts: Sequence[int], mean: float, threshold: float) -> Figure:
    """Draws a histogram of the IoU of predicted boxes.

    Args:
        counts: number of images in bins of equal width from 0 to 1.
        threshold: minimum IoU of a correct box; bars below have another color.
    """
    edges = np.linspace(0, 1, len(counts) + 1)
    middle = (edges[:-1] + edges[1:]) / 2
    correct = edges[:-1] >= threshold - 1e-9
    share = np.sum(counts, where=correct) / max(1, np.sum(counts))
    figure = new(6.0, 3.8)
    axes = figure.subplots()
    for chosen, color, label in (
        (~correct, VERMILION, f"below {threshold:g}: {100 * (1 - share):.1f} %"),
        (correct, BLUE, f"{threshold:g} and above: {100 * share:.1f} %"),
    ):
        axes.bar(middle[chosen], np.asarray(counts)[chosen], 0.92 / len(counts), color=color, label=label)
    axes.axvline(mean, color=ORANGE, linestyle="--", linewidth=1.4, label=f"mean {mean:.3f}")
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU (intersection over union)")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("IoU of predicted boxes")
    style(axes)
    legend_below(figure, axes.get_legend_handles_labels()[0], columns=3)
    return figure


PROPOSAL_COLORS, PROPOSAL_LINES = (*COLORS, BLACK), (*LINES, ":")
MARKERS = "osD^vP"


def proposals_figure(
    curves: Mapping[str, Mapping[str, npt.ArrayLike]],
    counts: Sequence[int],
    *,
    thresholds: Sequence[float],
    at: int,
    title: str = "Region proposals",
) -> Figure:
    """Plots recall and average best overlap against the number of proposals, and recall against the IoU threshold.

    Args:
        curves: method -> `recall@.5`, `recall@.7` and `ABO`, each float [counts], in [0, 1]; and `by overlap`, float
            [thresholds], the recall with `at` proposals.
        counts: numbers of proposals, ascending.
    """
    figure = new(10.5, 7.4)
    panels = figure.subplots(2, 2)
    for axes, key, name in zip(
        panels.flat[:3],
        ("recall@.5", "recall@.7", "ABO"),
        ("recall at IoU 0.5", "recall at IoU 0.7", "average best overlap (IoU)"),
        strict=True,
    ):
        for index, (label, curve) in enumerate(curves.items()):
            _line(axes, counts, curve[key], label, index)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("proposals per image")
        quantity(axes.yaxis, name, "%" if key != "ABO" else "")
        axes.set_ylim(0, 1)
        style(axes, grid="both")
    last = panels.flat[3]
    for index, (label, curve) in enumerate(curves.items()):
        _line(last, thresholds, curve["by overlap"], label, index)
    last.set_xlabel("IoU threshold")
    quantity(last.yaxis, f"recall with {at:,} proposals", "%")
    last.set_ylim(0, 1)
    style(last, grid="both")
    figure.suptitle(caption(title, 90), fontsize=12)
    legend_below(figure, last.get_legend_handles_labels()[0], columns=min(4, len(curves)))
    return figure


def _line(axes: Axes, x: Sequence[float], y: npt.ArrayLike, label: str, index: int) -> None:
    axes.plot(
        x,
        np.asarray(y, np.float64),
        color=PROPOSAL_COLORS[index % len(PROPOSAL_COLORS)],
        linestyle=PROPOSAL_LINES[index // len(PROPOSAL_COLORS) % len(PROPOSAL_LINES)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=4,
        markeredgecolor="white",
        markeredgewidth=0.5,
        linewidth=1.4,
        label=caption(label, 40),
    )
