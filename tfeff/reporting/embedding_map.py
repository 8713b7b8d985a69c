"""A map of examples by their features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfeff.reporting.figure import BLACK, GRAY, LIGHT_GRAY, caption, captions, new

MARKERS = "osD^vP"
MAX_NAMED = 24  # classes in the legend
NAME_LENGTH = 20  # characters; longer names are shortened in the middle


def embedding_map_figure(
    coordinates: npt.ArrayLike,
    labels: npt.ArrayLike,
    correct: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    explained: Sequence[float],
    title: str = "",
) -> Figure:
    """Draws examples at their first two principal components, in the color and marker of their class.

    Misclassified examples have a black edge. With more than 24 classes, those after the 24 most frequent are gray.

    Args:
        coordinates: float [n, 2].
        labels: int [n], true classes.
        correct: bool [n], whether the prediction is right.
        class_names: names of the classes.
        explained: share of the variance along each component.
        title: title of the figure.
    """
    xy, label, right = np.asarray(coordinates, np.float64), np.asarray(labels), np.asarray(correct, bool)
    counts = np.bincount(label, minlength=len(class_names))
    named = np.sort(np.argsort(-counts, kind="stable")[:MAX_NAMED])
    size = float(np.sqrt(np.clip(6000 / max(len(xy), 1), 8, 30)))  # points
    figure = new(7.0, 5.4)
    axes = figure.add_subplot()
    x, y = xy.T
    others = ~np.isin(label, named)
    axes.plot(x[others], y[others], linestyle="none", marker="o", markersize=size, color=LIGHT_GRAY, markeredgewidth=0)
    spread = np.arange(10) if len(named) <= 10 else np.linspace(0.04, 0.96, len(named))
    colors = [to_hex(color) for color in colormaps["tab10" if len(named) <= 10 else "turbo"](spread)]
    handles = []
    for rank, index in enumerate(named):
        color, marker = colors[rank], MARKERS[rank % len(MARKERS)]
        chosen, wrong = (label == index) & right, (label == index) & ~right
        shape: dict[str, Any] = {"linestyle": "none", "marker": marker, "color": color}
        axes.plot(x[chosen], y[chosen], markersize=size, markeredgewidth=0, alpha=0.7, **shape)
        edge: dict[str, Any] = {"markeredgecolor": BLACK, "markeredgewidth": 0.9}
        axes.plot(x[wrong], y[wrong], markersize=1.35 * size, zorder=4, **edge, **shape)
        handles.append(Line2D([], [], label=caption(class_names[index], NAME_LENGTH), **shape))
    if not right.all():
        shape = {"linestyle": "none", "marker": "o", "markerfacecolor": "white", "markeredgecolor": BLACK}
        handles.append(Line2D([], [], label="misclassified", **shape))
    axes.set_xlabel(f"first principal component ({100 * explained[0]:.0f} % of the variance)")
    axes.set_ylabel(f"second principal component ({100 * explained[1]:.0f} %)")
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    axes.spines[:].set_color(GRAY)
    axes.set_title(captions([title], 70)[0])
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8)
    return figure
