"""The networks within the budget of a search: scaled baselines of similar cost.

A *candidate* is a mapping with `id` and the coefficients `depth`, `width` and `resolution`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfeff.reporting.figure import BLACK, BLUE, GRAY, LIGHT_GRAY, SKY_BLUE, VERMILION, caption, new, style
from tfeff.reporting.ternary import DIMENSIONS, EXPONENTS, draw_triangle, positions

Candidate = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """Label and style of an outcome of a search for a candidate."""

    label: str
    color: str
    marker: str
    size: float  # marker size, points
    hatch: str


# By a candidate's `standing`. The winner is the candidate that the search chose: the cheapest of the best and those not
# separable from it.
STANDINGS = {
    "winner": Standing("winner", VERMILION, "*", 15, ""),
    "tied": Standing("not separable from the best", BLUE, "o", 8, ""),
    "beaten": Standing("worse than the best", SKY_BLUE, "s", 7, "//"),
    "eliminated": Standing("eliminated early", GRAY, "X", 7.5, ".."),
    "failed": Standing("failed", BLACK, "P", 7.5, "xx"),
}


def coefficients(candidate: Candidate) -> str:
    """The coefficients as a label.

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
        chosen: ids of the candidates.
        cost: name of the cost that `ratio` compares.
        target: target of `ratio`, drawn as a line; None draws no line.
        tolerance: relative tolerance of the target.
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
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure
