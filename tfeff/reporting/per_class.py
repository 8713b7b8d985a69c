"""Bar chart of precision and recall per class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from tfeff.reporting.figure import BLUE, ORANGE, captions, new, style

MAX_CLASSES = 100
NAME_LENGTH = 32  # characters; longer names are shortened in the middle


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
        class_names: names of the classes.
        precision: float [classes]; NaN or None if undefined.
        recall: float [classes]; NaN or None if undefined.
        f1: float [classes], used for sorting; classes with NaN or None come last.
        support: [classes], number of examples.
        title: title of the figure.
    """
    order = np.argsort(np.asarray(f1, np.float64), kind="stable")[:MAX_CLASSES]
    if len(order) < len(class_names):
        title += f"\n(the {len(order)} of {len(class_names)} classes with the lowest F1)"
    names = captions([class_names[i] for i in order], NAME_LENGTH)
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
    figure.suptitle(title, fontsize=12)
    return figure
