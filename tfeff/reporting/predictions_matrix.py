"""The predictions matrix: which model misclassifies which example."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.figure import BLACK, LIGHT_GRAY, VERMILION, captions, new

MAX_EXAMPLES = 3000  # more columns than pixels
NAME_LENGTH = 28  # characters; longer names are shortened in the middle


def predictions_matrix_figure(model_names: Sequence[str], correct: npt.ArrayLike, *, examples: int) -> Figure:
    """Draws a row per model and a column per example that at least one model misclassifies.

    Args:
        model_names: names of the models.
        correct: bool [models, n], for these examples; the most often misclassified first. At most 3000 are shown.
        examples: number of all examples, for the title.
    """
    right = np.asarray(correct, bool)
    missed = right.shape[1]
    shown = right[:, :MAX_EXAMPLES]
    models = captions(model_names, NAME_LENGTH)
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
