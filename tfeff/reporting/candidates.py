"""Figures of the candidates of a search: cost against accuracy, and epochs spent on each.

A *candidate* is a mapping with `id` and the coefficients `depth`, `width` and `resolution`.

The ternary plot shows the shares of depth, width and resolution in a network's cost (`cost_shares`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tfeff.networks.scaling import DIMENSIONS, EXPONENTS, cost_shares
from tfeff.reporting.figure import (
    BLACK,
    BLUE,
    GRAY,
    LIGHT_GRAY,
    ORANGE,
    SKY_BLUE,
    VERMILION,
    caption,
    legend_below,
    new,
    style,
)

Candidate = Mapping[str, Any]
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])  # depth, width, resolution
AXIS_LABEL = "share of the logarithm of multiply-adds (%)\nof depth d, width w, resolution r"


@dataclass(frozen=True)
class Standing:
    """Label and style of an outcome of a search for a candidate."""

    label: str
    color: str
    marker: str
    size: float  # marker size, points
    hatch: str


# By a candidate's `standing`. The winner is the candidate that was chosen.
STANDINGS = {
    "winner": Standing("winner", VERMILION, "*", 15, ""),
    "best": Standing("highest mean, not chosen", ORANGE, "D", 7.5, "\\\\"),
    "tied": Standing("not separable from the best", BLUE, "o", 8, ""),
    "beaten": Standing("worse than the best", SKY_BLUE, "s", 7, "//"),
    "eliminated": Standing("eliminated early", GRAY, "X", 7.5, ".."),
    "failed": Standing("failed", BLACK, "P", 7.5, "xx"),
}


def coefficients(candidate: Candidate) -> str:
    """Returns the coefficients as a label.

    >>> coefficients({"depth": 1.2, "width": 1.0, "resolution": 1.3})
    'd 1.20  w 1.00  r 1.30'
    """
    return "  ".join(f"{dimension[0]} {candidate[dimension]:.2f}" for dimension in DIMENSIONS)


def candidates_figure(
    rows: Sequence[Candidate],
    chosen: Collection[str],
    *,
    cost: str = "multiply-adds",
    target: float | None = None,
    tolerance: float = 0.0,
) -> Figure:
    """Draws all networks and the selected candidates: their shares of the cost, and nominal against real cost.

    Args:
        rows: all distinct networks within the budget, with `id`, `depth`, `width`, `resolution` and `ratio`, the real
            cost relative to the baseline's.
        target: target of `ratio`, drawn as a line; None draws no line.
    """
    figure = new(9.6, 4.9)
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
    draw_triangle(left)
    left.set_title("shares of the cost", fontsize=11)
    selected = np.array([row["id"] in chosen for row in rows], bool)
    factors = np.array([[row[dimension] for dimension in DIMENSIONS] for row in rows], np.float64).reshape(-1, 3)
    nominal = np.prod(factors**EXPONENTS, axis=1)
    real = np.array([row["ratio"] for row in rows], np.float64)
    for axes, xy in ((left, positions(rows)), (right, np.stack([nominal, real], axis=1))):
        axes.plot(*xy[~selected].T, linestyle="none", marker="o", markersize=3.5, color=GRAY, alpha=0.6, zorder=3)
        axes.plot(
            *xy[selected].T, linestyle="none", marker="D", markersize=6.5, color=BLUE, markeredgecolor="white", zorder=4
        )
    if len(rows):
        ends = np.array([min(nominal.min(), real.min()), max(nominal.max(), real.max())])
        right.plot(ends, ends, color=GRAY, linewidth=1, linestyle="--", zorder=2)
    handles = [
        Line2D([], [], linestyle="none", marker="o", markersize=4, color=GRAY, alpha=0.6, label="distinct network"),
        Line2D([], [], linestyle="none", marker="D", markersize=6.5, color=BLUE, label="candidate"),
        Line2D([], [], color=GRAY, linewidth=1, linestyle="--", label="real = nominal"),
    ]
    if target is not None:
        right.axhline(target, color=VERMILION, linewidth=1, zorder=1)
        right.axhspan(target * (1 - tolerance), target * (1 + tolerance), color=LIGHT_GRAY, alpha=0.5, zorder=0)
        handles.append(Line2D([], [], color=VERMILION, linewidth=1, label=f"target ± {100 * tolerance:g} %"))
    right.margins(0.08)
    right.set_xlabel("nominal cost, depth · width² · resolution² (x baseline)")
    right.set_ylabel(f"real {caption(cost, 40)} (x baseline)")
    right.set_title("effect of rounding", fontsize=11)
    style(right, grid="both")
    figure.suptitle(f"{selected.sum()} candidates of {len(rows)} distinct networks", fontsize=12)
    legend_below(figure, handles, columns=4)
    return figure


REASON_LENGTH = 58  # characters
ROW_HEIGHT = 0.27  # inches per candidate


def allocation_figure(rows: Sequence[Candidate]) -> Figure:
    """Draws one bar per candidate, the longest on top, with the number of trials and the reason for stopping.

    Args:
        rows: candidates with `epochs` (total of all trials), `trials` (number of trials), `standing` (a key of
            `candidates.STANDINGS`) and `reason` (why it was eliminated; None: trained to the end). Equal epochs are
            ordered as in `STANDINGS`.
    """
    order = list(STANDINGS)
    ranked = sorted(rows, key=lambda row: (-row["epochs"], order.index(row["standing"])))
    heights = list(range(len(ranked)))
    figure = new(9.0, ROW_HEIGHT * max(5, len(ranked)) + 1.8)
    axes = figure.add_subplot()
    for height, row in zip(heights, ranked, strict=True):
        standing = STANDINGS[row["standing"]]
        axes.barh(height, row["epochs"], 0.7, color=standing.color, hatch=standing.hatch, edgecolor="white")
    axes.set_ylim(max(1, len(ranked)) - 0.4, -0.6)
    axes.set_xlim(0, 1.02 * max([1, *(row["epochs"] for row in ranked)]))
    axes.set_yticks(heights, [coefficients(row) for row in ranked], fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("coefficients (x baseline)")
    axes.set_xlabel("training (epochs, total of all trials)")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    style(axes, grid="x")

    reason_axis = axes.secondary_yaxis("right")
    trials = [f"{row['trials']} trial{'' if row['trials'] == 1 else 's'}" for row in ranked]
    reasons = [caption(str(row["reason"] or "completed"), REASON_LENGTH) for row in ranked]
    texts = [", ".join(pair) for pair in zip(trials, reasons, strict=True)]
    reason_axis.set_yticks(heights, texts, fontsize=8.5)
    reason_axis.tick_params(length=0)
    reason_axis.spines["right"].set_visible(False)
    reason_axis.set_ylabel("trials and reason for stopping")
    figure.suptitle("Epochs spent on each candidate", fontsize=12)
    present = [STANDINGS[name] for name in order if any(row["standing"] == name for row in ranked)]
    handles = [Patch(facecolor=s.color, hatch=s.hatch, edgecolor="white", label=s.label) for s in present]
    legend_below(figure, handles, columns=5)
    return figure


def positions(rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """Returns positions of the rows in a triangle with side 1, float64 [rows, 2]."""
    coefficients = np.array([[row[dimension] for dimension in DIMENSIONS] for row in rows], np.float64).reshape(-1, 3)
    return cost_shares(coefficients) @ CORNERS


def draw_triangle(axes: Axes) -> None:
    """Draws frame, grid and labels. Each edge shows the share of the corner at its end, counterclockwise."""
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-0.22, 1.22)
    axes.set_ylim(-0.24, 1.04)
    axes.plot(*np.vstack([CORNERS, CORNERS[:1]]).T, color=GRAY, linewidth=1, zorder=1)
    for corner, dimension in enumerate(DIMENSIONS):
        before, after = CORNERS[corner - 1], CORNERS[(corner + 1) % 3]
        for share in (0.25, 0.5, 0.75):
            # Line of constant share, between the two edges that meet in the corner.
            start = share * CORNERS[corner] + (1 - share) * before
            end = share * CORNERS[corner] + (1 - share) * after
            outward = (start - end) / np.linalg.norm(start - end)
            axes.plot(*np.stack([start, end]).T, color=LIGHT_GRAY, linewidth=0.8, zorder=0)
            axes.plot(*np.stack([start, start + 0.02 * outward]).T, color=GRAY, linewidth=0.8, zorder=0)
            x, y = start + (0.03 if outward[0] > 0.9 else 0.075) * outward
            side = "left" if outward[0] > 0.9 else "center"
            axes.text(x, y, f"{dimension[0]} {100 * share:.0f} %", ha=side, va="center", fontsize=8, color=GRAY)
    for corner, dimension, offset in zip(CORNERS, DIMENSIONS, (-0.11, -0.11, 0.05), strict=True):
        axes.text(
            corner[0], corner[1] + offset, f"{dimension} alone", ha="center", va="center", fontsize=9.5, color=BLACK
        )
    axes.text(0.5, -0.21, AXIS_LABEL, ha="center", va="center", fontsize=8.5, color=BLACK)
