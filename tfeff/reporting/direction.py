"""The best direction of scaling, what others lose against it, and how the search for it went."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tfeff.reporting.candidates import CORNERS, Candidate, draw_triangle, positions
from tfeff.reporting.figure import BLACK, BLUE, GRAY, SKY_BLUE, VERMILION, caption, legend_below, new, quantity, style

LENGTH = 22  # characters of the name of a direction
REGION: dict[str, Any] = {
    "linestyle": "none",
    "marker": "h",
    "markersize": 5.5,
    "markeredgewidth": 0,
    "color": SKY_BLUE,
}
ANSWER: dict[str, Any] = {
    "linestyle": "none", "marker": "*", "markersize": 16, "markeredgecolor": "white", "color": VERMILION,
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "linestyle": "none", "marker": "D", "markersize": 9, "markeredgewidth": 1.8, "markerfacecolor": "none",
    "color": VERMILION,
}  # fmt: skip


def direction_figure(
    trained: Sequence[Candidate],
    others: Sequence[Mapping[str, Any]],
    *,
    answer: npt.NDArray[np.float64],
    region: npt.NDArray[np.float64] | None,
    reference: tuple[str, npt.NDArray[np.float64]],
    extents: Sequence[float],
    counts: Sequence[int],
    metric: str,
    unit: str = "%",
) -> Figure:
    """Draws the triangle of directions, the losses of other directions, and the region by the number of trainings.

    Args:
        trained: the network of each training, with `phi`.
        others: rows with `direction`, `answer minus it`, `95 % from` and `to`.
        answer: shares [3] of depth, width and resolution.
        region: shares [n, 3] of the directions that can be the best; None: unknown.
        reference: name and shares [3] of a direction to mark.
        extents: the region's share of the plane after each round.
        counts: number of trainings until then.
        unit: the metric's unit; "%" formats values in [0, 1] as percentages, "" means no unit.
    """
    figure = new(11.0, 5.8)
    axes = figure.subplot_mosaic([["left", "upper"], ["left", "lower"]], width_ratios=[1.15, 1])
    left, upper, lower = (axes[name] for name in ("left", "upper", "lower"))
    draw_triangle(left)
    left.set_title("shares of the cost", fontsize=11)
    handles = []
    if region is not None:
        left.plot(*(region @ CORNERS).T, zorder=2, alpha=0.55, **REGION)
        handles.append(Line2D([], [], label="95 % confidence region", alpha=0.55, **REGION))
    for phi in sorted({row["phi"] for row in trained} - {0.0}):
        dots: dict[str, Any] = {
            "linestyle": "none",
            "marker": "o",
            "markersize": 2.0 + 1.6 * phi,
            "markerfacecolor": "none",
        }
        dots |= {"markeredgecolor": BLUE, "markeredgewidth": 1.2}
        left.plot(*positions([row for row in trained if row["phi"] == phi]).T, zorder=3, **dots)
        handles.append(Line2D([], [], label=f"trained at φ = {phi:g}", **dots))
    left.plot(*(reference[1] @ CORNERS), zorder=5, **PUBLISHED)
    left.plot(*(answer @ CORNERS), zorder=6, **ANSWER)
    handles += [Line2D([], [], label=reference[0], **PUBLISHED), Line2D([], [], label="answer", **ANSWER)]
    _draw_losses(upper, others, metric, unit)
    lower.plot(counts, extents, color=BLUE, marker="o", markersize=4.5, linewidth=1.4)
    lower.set_ylim(0.0, 1.05)
    lower.set_xlabel("trainings")
    lower.set_ylabel("region (% of the plane)")
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=None))
    lower.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    style(lower, grid="both")
    figure.suptitle(f"Best direction of scaling: {len(trained)} trainings", fontsize=12)
    legend_below(figure, handles, columns=3)
    return figure


def _draw_losses(axes: Axes, others: Sequence[Mapping[str, Any]], metric: str, unit: str) -> None:
    """Draws what each other direction loses, with its interval."""
    heights = np.arange(len(others))
    losses, lows, highs = (
        np.array([row[key] for row in others], np.float64) for key in ("answer minus it", "95 % from", "to")
    )
    axes.axvline(0.0, color=GRAY, linewidth=1)
    axes.errorbar(
        losses, heights, xerr=np.maximum([losses - lows, highs - losses], 0.0), fmt="o", color=BLACK, markersize=5,
        elinewidth=1.4, capsize=3.5,
    )  # fmt: skip
    axes.set_yticks(heights, [caption(row["direction"], LENGTH) for row in others], fontsize=9)
    axes.set_ylim(max(1, len(others)) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    quantity(axes.xaxis, f"answer minus it, {metric}", unit)
    axes.set_title("other directions at equal cost, 95 % intervals", fontsize=11)
    style(axes, grid="x")
