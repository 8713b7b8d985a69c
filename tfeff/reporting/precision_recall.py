"""Precision-recall curves."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from tfeff.reporting.figure import (
    BLACK,
    BLUE,
    GREEN,
    LIGHT_GRAY,
    ORANGE,
    SKY_BLUE,
    VERMILION,
    caption,
    known,
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
        class_names: names of the classes.
        precision: float [n] of each class, at recalls evenly spaced from 0 to 1; None or NaN if undefined.
        average_precision: average precision of each class; None or NaN if undefined.
        objects: number of objects of each class.
        title: title of the figure.
    """
    defined = [label for label in range(len(class_names)) if known(average_precision[label])]
    order = sorted(defined, key=lambda label: -(average_precision[label] or 0.0))
    half = MAX_COLORED // 2
    named = order if len(order) <= MAX_COLORED else [*order[:half], *order[-half:]]

    figure = new(9.2, 5.2)
    axes = figure.add_subplot()
    for label in set(order) - set(named):
        curve = np.asarray(precision[label], np.float64)
        axes.plot(np.linspace(0, 1, len(curve)), curve, color=LIGHT_GRAY, linewidth=0.8, zorder=1)
    for index, label in enumerate(named):
        curve = np.asarray(precision[label], np.float64)
        axes.plot(
            np.linspace(0, 1, len(curve)),
            curve,
            color=COLORS[index % len(COLORS)],
            linestyle=LINES[index // len(COLORS)],
            linewidth=1.5,
            label=f"{caption(class_names[label], NAME_LENGTH)}, {average_precision[label]:.3f} ({objects[label]:,})",
        )
    if len(order) > 1:
        mean = np.mean([np.asarray(precision[label], np.float64) for label in order], axis=0)
        value = np.mean([average_precision[label] or 0.0 for label in order])
        axes.plot(
            np.linspace(0, 1, len(mean)),
            mean,
            color=BLACK,
            linewidth=2.2,
            label=f"mean of {len(order)} classes, {value:.3f}",
        )
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
