"""Reliability diagram: does a confidence of 0.8 come true in 80 % of the cases? (Guo et al. 2017, figure 1.)"""

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.figure import BLUE, GRAY, SKY_BLUE, VERMILION, new, style


def reliability_figure(
    edges: npt.ArrayLike,
    weight: npt.ArrayLike,
    confidence: npt.ArrayLike,
    accuracy: npt.ArrayLike,
    expected_error: float,
    *,
    title: str = "Reliability",
) -> Figure:
    """Accuracy against confidence by bin, over the number of examples in each bin.

    Where a bin is overconfident its mean confidence rises above the bar of its accuracy; where it is underconfident
    the part of the bar above the mean confidence is lighter.

    Args:
        edges: float [bins + 1], borders of the bins, from 0 to 1.
        weight: float [bins], examples in each bin.
        confidence: float [bins], mean confidence in each bin; NaN or None where it is empty.
        accuracy: float [bins], share of hits in each bin; NaN or None where it is empty.
        expected_error: expected calibration error, in [0, 1].
        title: what the figure is of.
    """
    border = np.asarray(edges, np.float64)
    examples = np.asarray(weight, np.float64)
    said, true = np.asarray(confidence, np.float64), np.asarray(accuracy, np.float64)
    middle, width = (border[:-1] + border[1:]) / 2, 0.95 * np.diff(border)

    figure = new(5.5, 6.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.bar(middle, true, width, color=BLUE, label="accuracy")
    for label, colour, gap in (
        ("overconfident by", VERMILION, np.maximum(said - true, 0)),
        ("underconfident by", SKY_BLUE, np.minimum(said - true, 0)),
    ):
        top.bar(middle, gap, width, bottom=true, color=colour, label=label)
    top.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, label="perfect calibration")
    top.set_xlim(0, 1)
    top.set_ylim(0, 1)
    top.set_ylabel("accuracy")
    top.set_title(f"{title}: expected calibration error {100 * expected_error:.2f} %")
    top.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none")
    style(top)

    bottom.bar(middle, examples, width, color=GRAY)
    bottom.set_xlabel("confidence")
    bottom.set_ylabel("examples")
    bottom.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    style(bottom)
    return figure
