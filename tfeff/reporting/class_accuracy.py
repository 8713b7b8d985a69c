"""Accuracy of each model on each class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure

from tfeff.reporting.figure import LIGHT_GRAY, captions, new

MAX_CLASSES = 100
NAME_LENGTH = 28  # characters; longer names are shortened in the middle


def class_accuracy_figure(class_names: Sequence[str], model_names: Sequence[str], accuracy: npt.ArrayLike) -> Figure:
    """Draws a table of accuracies (recall) in color, the class with the lowest mean on top.

    With more than 100 classes, the 100 with the lowest mean are shown.

    Args:
        class_names: names of the classes.
        model_names: names of the models.
        accuracy: float [models, classes], in [0, 1]; NaN for classes without examples, which are omitted.
    """
    values = np.asarray(accuracy, np.float64)
    present = np.flatnonzero(np.isfinite(values).all(axis=0))
    order = present[np.argsort(values[:, present].mean(axis=0), kind="stable")][:MAX_CLASSES]
    shown = values[:, order].T
    names = captions([class_names[index] for index in order], NAME_LENGTH)
    title = "Accuracy per class"
    if len(order) < len(present):
        title += f"\n(the {len(order)} of {len(present)} classes with the lowest mean)"
    width = float(np.clip(7.0 / len(model_names), 0.5, 1.2))
    row = float(np.clip(8.0 / len(order), 0.2, 0.4))
    models = captions(model_names, NAME_LENGTH)
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
    bar.set_label("accuracy (%)")
    return figure
