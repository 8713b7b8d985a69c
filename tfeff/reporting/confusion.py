"""Picture of a confusion matrix."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from tfeff.reporting.figure import LIGHT_GRAY, captions, new

MOST_NUMBERED = 30  # above this many classes numbers no longer fit their cells
MOST_NAMED = 100  # above this many only every n-th class is named
LARGEST_SIDE = 14.0  # inches


def confusion_figure(
    matrix: npt.ArrayLike, class_names: Sequence[str], *, title: str = "Confusion matrix", name_length: int = 24
) -> Figure:
    """True classes downwards, predicted ones to the right; colour is the share of the true class's examples.

    The colour scale is stretched at its lower end, where errors lie. Up to 30 classes the cells hold the numbers of
    examples; above 100 only every n-th class is named. A class without examples is a gray row.

    Args:
        matrix: [classes, classes], numbers (or weights) of examples, rows are true classes.
        class_names: name of each class.
        title: what the figure is of.
        name_length: longest class name shown, in characters; longer ones lose their middle.
    """
    counts = np.asarray(matrix)
    classes = len(class_names)
    support = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, support, out=np.full(counts.shape, np.nan), where=support > 0)

    cell = min(float(np.clip(5.0 / classes, 0.13, 0.9)), LARGEST_SIDE / classes)  # inches
    step = -(-classes // MOST_NAMED)
    names = captions(class_names, name_length)
    margin = 1.0 + 0.07 * max(map(len, names))
    side = max(cell * classes, 2.0)
    figure = new(side + margin + 1.2, side + margin)
    axes = figure.add_subplot()
    axes.set_facecolor(LIGHT_GRAY)
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0.0, 1.0))

    size = float(np.clip(45 * cell * step, 6, 10))  # points
    shown = range(0, classes, step)
    axes.set_xticks(shown, names[::step], rotation=90, fontsize=size)
    axes.set_yticks(shown, names[::step], fontsize=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title)
    axes.tick_params(length=0)
    if classes <= MOST_NAMED:
        axes.set_xticks(np.arange(0.5, classes - 1), minor=True)
        axes.set_yticks(np.arange(0.5, classes - 1), minor=True)
        axes.tick_params(which="minor", length=0)
        axes.grid(which="minor", color="white", linewidth=0.5)
    figure.colorbar(
        image, ax=axes, label="share of the true class", shrink=0.8, aspect=25, pad=0.02, ticks=[0, 0.05, 0.2, 0.5, 1]
    )

    if classes <= MOST_NUMBERED:
        for i, j in np.ndindex(counts.shape):
            if counts[i, j]:
                colour = "white" if share[i, j] > 0.4 else "black"
                text = f"{counts[i, j]:.4g}" if counts.dtype.kind == "f" else f"{counts[i, j]}"
                fit = min(size, 105 * cell / len(text))
                axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=fit)
    return figure
