"""Figures of classifiers: confusion matrix, precision and recall per class and by threshold, reliability (Guo et al.
2017, figure 1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.figure import BLUE, GRAY, LIGHT_GRAY, ORANGE, SKY_BLUE, VERMILION, captions, literal, new, style

MAX_NUMBERED = 30  # with more classes, numbers no longer fit into the cells
MAX_DRAWN = 100  # with more classes, only those that are confused most often are drawn
MAX_SIDE = 14.0  # inches


def confusion_figure(
    pairs: Mapping[str, npt.ArrayLike],
    class_names: Sequence[str],
    *,
    background: bool = False,
    title: str = "Confusion matrix",
) -> Figure:
    """Draws a confusion matrix, counts with true classes in rows; colors are shares of the true class's examples.

    The color scale is nonlinear to show rare errors. With up to 30 classes, cells contain the numbers of examples. With
    more than 100 classes, 100 are drawn, those of the most frequent errors. Classes without examples have gray rows.

    Args:
        pairs: `true`, `predicted` and `count`, int [pairs] each: the true and the predicted class of each pair that
            occurs, and its number of examples.
        background: whether a class after those with a name is the background, which is always drawn.
    """
    true, predicted, count = (np.asarray(pairs[key], np.int64) for key in ("true", "predicted", "count"))
    names = [*class_names, *(["background"] if background else [])]
    support = np.bincount(true, count, minlength=len(names)).astype(np.int64)
    drawn = np.arange(len(names))
    if len(class_names) > MAX_DRAWN:
        ranked = _most_confused(true, predicted, count, support)
        drawn = np.append(np.sort(ranked[ranked < len(class_names)][:MAX_DRAWN]), drawn[len(class_names) :])
        inside = np.isin(true, drawn) & np.isin(predicted, drawn)
        errors, all_errors = (int(count[(true != predicted) & chosen].sum()) for chosen in (inside, True))
        title += f"\n(the {MAX_DRAWN} of {len(class_names):,} classes that are confused most often; "
        title += f"they have {errors:,} of {all_errors:,} errors)"
        true, predicted = (np.searchsorted(drawn, classes[inside]) for classes in (true, predicted))
        count = count[inside]
    classes = len(drawn)
    counts = np.zeros((classes, classes), np.int64)
    counts[true, predicted] = count
    share = np.divide(counts, support[drawn, None], out=np.full(counts.shape, np.nan), where=support[drawn, None] > 0)

    cell = min(float(np.clip(5.0 / classes, 0.13, 0.9)), MAX_SIDE / classes)  # inches
    names = captions([names[i] for i in drawn.tolist()], 24)
    margin = 1.0 + 0.07 * max(map(len, names))
    side = max(cell * classes, 2.0)
    figure = new(side + margin + 1.2, side + margin + 0.3 * title.count("\n"))
    axes = figure.add_subplot()
    axes.set_facecolor(LIGHT_GRAY)
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0.0, 1.0))

    size = float(np.clip(45 * cell, 6, 10))  # points
    axes.set_xticks(range(classes), names, rotation=90, fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(literal(title))
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(0.5, classes - 1), minor=True)
    axes.set_yticks(np.arange(0.5, classes - 1), minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", color="white", linewidth=0.5)
    figure.colorbar(
        image, ax=axes, label="share of true class", shrink=0.8, aspect=25, pad=0.02, ticks=[0, 0.05, 0.2, 0.5, 1]
    )

    if classes <= MAX_NUMBERED:
        for i, j in np.argwhere(counts):
            color = "white" if share[i, j] > 0.4 else "black"
            text = f"{counts[i, j]}"
            fit = min(size, 105 * cell / len(text))
            axes.text(j, i, text, ha="center", va="center", color=color, fontsize=fit)
    return figure


def _most_confused(
    true: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    count: npt.NDArray[np.int64],
    support: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Returns int64 [classes]: those of the most frequent errors first, then those of the most examples."""
    wrong = np.flatnonzero(true != predicted)
    order = wrong[np.argsort(-count[wrong], kind="stable")]
    by_errors = np.stack([true[order], predicted[order]], axis=1).ravel()
    return np.array(list(dict.fromkeys([*by_errors.tolist(), *np.argsort(-support, kind="stable").tolist()])))


MAX_CLASSES = 100


def per_class_figure(
    class_names: Sequence[str],
    precision: npt.ArrayLike,
    recall: npt.ArrayLike,
    f1: npt.ArrayLike,
    support: npt.ArrayLike,
    *,
    title: str = "Precision and recall per class",
) -> Figure:
    """Draws two bars per class, sorted by ascending F1, with the number of examples on the right.

    With more than 100 classes, the 100 classes with the lowest F1 are shown.

    Args:
        precision: float [classes]; NaN or None if undefined.
        recall: float [classes]; NaN or None if undefined.
        f1: float [classes], used for sorting; classes with NaN or None come last.
        support: [classes], number of examples.
    """
    order = np.argsort(np.asarray(f1, np.float64), kind="stable")[:MAX_CLASSES]
    if len(order) < len(class_names):
        title += f"\n(the {len(order)} of {len(class_names)} classes with the lowest F1)"
    names = captions([class_names[i] for i in order], 32)
    rows = np.arange(len(order))
    pitch = float(np.clip(6.0 / len(order), 0.16, 0.5))  # inches per class
    size = float(np.clip(50 * pitch, 6.5, 10))  # points

    figure = new(5.5 + 0.08 * max(map(len, names)), pitch * len(order) + 1.4)
    axes = figure.add_subplot()
    for offset, values, color, label in ((-0.2, precision, BLUE, "precision"), (0.2, recall, ORANGE, "recall")):
        axes.barh(rows + offset, np.asarray(values, np.float64)[order], 0.4, color=color, label=label)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_yticks(rows, names, fontsize=size)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("precision, recall")
    style(axes, grid="x")

    examples = axes.secondary_yaxis("right")
    examples.set_yticks(rows, [f"{value:g}" for value in np.asarray(support)[order].tolist()], fontsize=size)
    examples.tick_params(length=0)
    examples.spines["right"].set_visible(False)
    examples.set_ylabel("examples")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(literal(title), fontsize=12)
    return figure


MAX_POINTS = 500


def threshold_figure(
    class_names: Sequence[str],
    curves: Sequence[Mapping[str, Any]],
    precision: Sequence[float | None],
    recall: Sequence[float | None],
    *,
    title: str = "Precision and recall by threshold",
) -> Figure:
    """Draws precision against recall of two classes, with those of the predictions as dots; and both by threshold.

    Args:
        curves: `OneVersusRest` of each class, as dicts.
        precision: precision of each class among the predictions; None for one that was never predicted.
        recall: recall of each class among the predictions.
    """
    figure = new(9.2, 4.6)
    left, right = figure.subplots(1, 2, sharey=True)
    names = captions(class_names, 28)
    for name, curve, color, *dot in zip(names, curves, (BLUE, ORANGE), precision, recall, strict=True):
        thresholds, precise, found = (np.asarray(curve[key]) for key in ("thresholds", "precision", "recall"))
        shown = np.unique(np.linspace(0, len(thresholds) - 1, min(MAX_POINTS, len(thresholds))).astype(int))
        area = f"{name}, average precision {curve['average_precision']:.3f}"
        left.plot(found[shown], precise[shown], color=color, marker="." if len(shown) == 1 else None, label=area)
        if None not in dot:
            left.plot(dot[1], dot[0], "o", color=color)
        for values, line, what in ((precise, "-", "precision"), (found, "--", "recall")):
            right.plot(thresholds[shown], values[shown], line, color=color, label=f"{name}, {what}")
    for axes, what in ((left, "recall"), (right, "threshold of the class's probability")):
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel(what)
        style(axes, grid="both")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8, frameon=False)
    left.set_ylabel("precision")
    right.set_ylabel("precision, recall")
    figure.suptitle(literal(title), fontsize=12)
    return figure


def reliability_figure(
    edges: npt.ArrayLike,
    weight: npt.ArrayLike,
    confidence: npt.ArrayLike,
    accuracy: npt.ArrayLike,
    expected_error: float,
    *,
    title: str = "Reliability diagram",
) -> Figure:
    """Draws accuracy against confidence in bins, above a histogram of the confidence.

    In overconfident bins, a red bar extends from the accuracy up to the mean confidence; in underconfident bins, a
    light bar extends from the accuracy down to the mean confidence.

    Args:
        edges: float [bins + 1], edges of the bins, from 0 to 1.
        weight: float [bins], number of the examples in each bin.
        confidence: float [bins], mean confidence in each bin; NaN or None for empty bins.
        accuracy: float [bins], accuracy in each bin; NaN or None for empty bins.
        expected_error: expected calibration error (ECE), in [0, 1].
    """
    edge = np.asarray(edges, np.float64)
    examples = np.asarray(weight, np.float64)
    mean, correct = np.asarray(confidence, np.float64), np.asarray(accuracy, np.float64)
    middle, width = (edge[:-1] + edge[1:]) / 2, 0.95 * np.diff(edge)

    figure = new(5.5, 6.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.bar(middle, correct, width, color=BLUE, label="accuracy")
    for label, color, gap in (
        ("gap (overconfident)", VERMILION, np.maximum(mean - correct, 0)),
        ("gap (underconfident)", SKY_BLUE, np.minimum(mean - correct, 0)),
    ):
        top.bar(middle, gap, width, bottom=correct, color=color, label=label)
    top.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, label="perfect calibration")
    top.set_xlim(0, 1)
    top.set_ylim(0, 1)
    top.set_ylabel("accuracy")
    top.set_title(f"{literal(title)} (expected calibration error {100 * expected_error:.2f} %)")
    top.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none")
    style(top)

    bottom.bar(middle, examples, width, color=GRAY)
    bottom.set_xlabel("confidence")
    bottom.set_ylabel("examples")
    bottom.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    style(bottom)
    return figure
