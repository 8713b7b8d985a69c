"""Factors of weighted fusion against the epoch: the curves of figure 5 of "EfficientDet" (arXiv:1911.09070)."""

import math
from collections.abc import Mapping, Sequence

import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.figure import BLUE, GREEN, ORANGE, SKY_BLUE, VERMILION, new, style

COLORS = (BLUE, VERMILION, GREEN, ORANGE, SKY_BLUE)
LINES = ("-", "--", ":")
COLUMNS = 4


def fusion_figure(
    nodes: Mapping[str, Sequence[str]],
    epochs: Sequence[int],
    factors: Mapping[str, Mapping[str, npt.NDArray]],
    *,
    title: str = "Fusion",
) -> Figure:
    """Draws a panel for each node, with a line for each of its inputs and each method.

    Args:
        nodes: name of each node -> names of its n inputs, at most five.
        epochs: e epochs.
        factors: method, at most three -> name of the node -> [e, n]; each row sums to 1 if the method normalizes.
        title: title of the figure.
    """
    rows = math.ceil(len(nodes) / COLUMNS)
    figure = new(2.6 * COLUMNS, 2.3 * rows + 0.6)
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for panel in panels[len(nodes) :]:
        panel.set_visible(False)
    for panel, (node, inputs) in zip(panels, nodes.items(), strict=False):
        for method, line in zip(factors, LINES, strict=False):
            for index, color in zip(range(len(inputs)), COLORS, strict=False):
                panel.plot(epochs, factors[method][node][:, index], line, color=color, linewidth=1.2)
        for index, (name, color) in enumerate(zip(inputs, COLORS, strict=False)):
            panel.annotate(name, (0.04 + 0.32 * index, 0.9), xycoords="axes fraction", color=color, fontsize=8)
        panel.set_title(node, fontsize=9)
        style(panel)
        panel.set_ylim(0, 1)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("factor of the input", fontsize=9)
    lines = ", ".join(f"{method}: {name}" for method, name in zip(factors, ("solid", "dashed", "dotted"), strict=False))
    figure.suptitle(f"{title} ({lines})", fontsize=10)
    return figure
