"""Reliability diagram: accuracy against confidence (Guo et al. 2017, figure 1)."""

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
    title: str = "Reliability diagram",
) -> Figure:
    """Draws accuracy against confidence in bins, above a histogram of the confidence.

    In overconfident bins, a red bar extends from the accuracy up to the mean confidence; in underconfident bins, a
    light bar extends from the accuracy down to the mean confidence.

    Args:
        edges: float [bins + 1], edges of the bins, from 0 to 1.
        weight: float [bins], number (or total weight) of the examples in each bin.
        confidence: float [bins], mean confidence in each bin; NaN or None for empty bins.
        accuracy: float [bins], accuracy in each bin; NaN or None for empty bins.
        expected_error: expected calibration error (ECE), in [0, 1].
        title: title of the figure.
    """
    edge = np.asarray(edges, np.float64)
    examples = np.asarray(weight, np.float64)
    mean, correct = np.asarray(confidence, np.float64), np.asarray(accuracy, np.float64)
    middle, width = (edge[:-1] + edge[1:]) / 2, 0.95 * np.diff(edge)

    figure = new(5.5, 6.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.bar(middle, correct, width, color=BLUE, label="accuracy")
    for label, color, gap in (
        ("gap (overconfident)", VERMILION, np.maximum(mean - correct, 0)),
        ("gap (underconfident)", SKY_BLUE, np.minimum(mean - correct, 0)),
    ):
        top.bar(middle, gap, width, bottom=correct, color=color, label=label)
    top.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, label="perfect calibration")
    top.set_xlim(0, 1)
    top.set_ylim(0, 1)
    top.set_ylabel("accuracy")
    top.set_title(f"{title} (expected calibration error {100 * expected_error:.2f} %)")
    top.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none")
    style(top)

    bottom.bar(middle, examples, width, color=GRAY)
    bottom.set_xlabel("confidence")
    bottom.set_ylabel("examples")
    bottom.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    style(bottom)
    return figure
