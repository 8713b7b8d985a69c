"""Number of examples of each class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from tfeff.reporting.figure import BLUE, ORANGE, captions, new, quantity, style

MAX_CLASSES = 100
MAX_NUMBERED = 20  # with more classes, numbers no longer fit next to the bars
NAME_LENGTH = 32  # characters; longer names are shortened in the middle


def class_distribution_figure(class_names: Sequence[str], counts: dict[str, npt.ArrayLike]) -> Figure:
    """Draws each class's share of the examples, for one or two sets of examples, in the order of the first.

    With up to 20 classes, the numbers stand next to the bars; with more than 100, every n-th class is shown.

    Args:
        class_names: names of the classes.
        counts: name of a set -> number of its examples of each class, [classes].
    """
    values = {name: np.asarray(count, np.float64) for name, count in counts.items()}
    order = np.argsort(-next(iter(values.values())), kind="stable")
    order = order[:: -(-len(order) // MAX_CLASSES)]
    names = captions([class_names[index] for index in order], NAME_LENGTH)
    rows, height = np.arange(len(order)), 0.8 / len(values)
    figure = new(5.5 + 0.08 * max(map(len, names)), float(np.clip(6.0 / len(order), 0.18, 0.5)) * len(order) + 1.3)
    axes = figure.add_subplot()
    for number, ((name, count), color) in enumerate(zip(values.items(), (BLUE, ORANGE), strict=False)):
        offset = (number - (len(values) - 1) / 2) * height
        label = f"{name} ({count.sum():,.0f} images)"
        bars = axes.barh(rows + offset, count[order] / max(count.sum(), 1), height, color=color, label=label)
        if len(order) <= MAX_NUMBERED:
            axes.bar_label(bars, [f" {each:,.0f}" for each in count[order]], fontsize=8)
    axes.set_yticks(rows, names, fontsize=float(np.clip(300 / len(order), 6.5, 10)))
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.tick_params(axis="y", length=0)
    quantity(axes.xaxis, "share of the images", "%")
    style(axes, grid="x")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure
