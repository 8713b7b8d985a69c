"""Figure of a confusion matrix."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from tfeff.reporting.figure import LIGHT_GRAY, captions, new

MAX_NUMBERED = 30  # with more classes, numbers no longer fit into the cells
MAX_NAMED = 100  # with more classes, only every n-th class is named
MAX_SIDE = 14.0  # inches
NAME_LENGTH = 24  # characters; longer names are shortened in the middle


def confusion_figure(matrix: npt.ArrayLike, class_names: Sequence[str], *, title: str = "Confusion matrix") -> Figure:
    """Draws a confusion matrix with true classes in rows; colors are shares of the true class's examples.

    The color scale is nonlinear to show rare errors. With up to 30 classes, cells contain the numbers of examples; with
    more than 100, only every n-th class is named. Classes without examples have gray rows.

    Args:
        matrix: [classes, classes], numbers (or total weights) of examples.
        class_names: names of the classes.
        title: title of the figure.
    """
    counts = np.asarray(matrix)
    classes = len(class_names)
    support = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, support, out=np.full(counts.shape, np.nan), where=support > 0)

    cell = min(float(np.clip(5.0 / classes, 0.13, 0.9)), MAX_SIDE / classes)  # inches
    step = -(-classes // MAX_NAMED)
    names = captions(class_names, NAME_LENGTH)
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
    if classes <= MAX_NAMED:
        axes.set_xticks(np.arange(0.5, classes - 1), minor=True)
        axes.set_yticks(np.arange(0.5, classes - 1), minor=True)
        axes.tick_params(which="minor", length=0)
        axes.grid(which="minor", color="white", linewidth=0.5)
    figure.colorbar(
        image, ax=axes, label="share of true class", shrink=0.8, aspect=25, pad=0.02, ticks=[0, 0.05, 0.2, 0.5, 1]
    )

    if classes <= MAX_NUMBERED:
        for i, j in np.ndindex(counts.shape):
            if counts[i, j]:
                color = "white" if share[i, j] > 0.4 else "black"
                text = f"{counts[i, j]:.4g}" if counts.dtype.kind == "f" else f"{counts[i, j]}"
                fit = min(size, 105 * cell / len(text))
                axes.text(j, i, text, ha="center", va="center", color=color, fontsize=fit)
    return figure
