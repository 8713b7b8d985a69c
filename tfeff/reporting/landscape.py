"""Performance of the candidates of a search by their scaling coefficients."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.candidates import CORNERS, STANDINGS, Candidate, coefficients, draw_triangle, positions
from tfeff.reporting.figure import (
    BLACK,
    GRAY,
    error_bars,
    known,
    legend_below,
    new,
    quantity,
    style,
)
from tfeff.reporting.labels import place

COMPLETED = ("winner", "best", "tied", "beaten")  # standings of candidates that were trained to the end
ROW_HEIGHT = 0.27  # inches per candidate
COLORS = colormaps["cividis"]  # perceptually uniform for all types of color vision


def landscape_figure(
    rows: Sequence[Candidate],
    *,
    metric: str,
    unit: str = "%",
    baseline: float | None = None,
) -> Figure:
    """Draws the candidates' means by their shares of depth, width and resolution, and ranked with intervals.

    The numbers in the triangle are ranks. Eliminated candidates were trained for fewer epochs: they rank last and are
    excluded from the color scale.

    Args:
        rows: candidates with `mean`, `low`, `high` (95 % interval, or None), `values` (one per fold) and `standing`, a
            key of `candidates.STANDINGS`. Candidates without a mean are skipped.
        unit: its unit; "%" formats values in [0, 1] as percentages, "" means no unit.
    """
    ranked = sorted(
        (row for row in rows if known(row.get("mean"))),
        key=lambda row: (row["standing"] not in COMPLETED, -row["mean"]),
    )
    figure = new(11.0, max(5.6, ROW_HEIGHT * len(ranked) + 1.7))
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    _draw_shares(left, ranked, metric, unit)
    _draw_ranking(right, ranked, metric, unit, baseline)
    figure.suptitle(f"Coefficient landscape: {len(ranked)} candidates", fontsize=12)
    present = [standing for name, standing in STANDINGS.items() if any(row["standing"] == name for row in ranked)]
    handles = [
        Line2D([], [], linestyle="none", marker=s.marker, markersize=s.size, color=s.color, label=s.label)
        for s in present
    ]
    if baseline is not None and known(baseline):
        handles.append(Line2D([], [], color=GRAY, linewidth=1, linestyle="--", label="baseline"))
    legend_below(figure, handles, columns=5)
    outline = np.vstack([CORNERS, CORNERS[:1]])
    ranks = [str(rank) for rank in range(1, len(ranked) + 1)]
    place(left, positions(ranked), ranks, lines=[outline], radius=6.0, color=BLACK)
    return figure


def _draw_shares(axes: Axes, ranked: Sequence[Candidate], metric: str, unit: str) -> None:
    """Draws the triangle: markers show the standing, colors the mean of candidates that were trained to the end."""
    draw_triangle(axes)
    axes.set_anchor("N")
    axes.set_title("shares of the cost (numbers: rank)", fontsize=11)
    means = [row["mean"] for row in ranked if row["standing"] in COMPLETED]
    low, high = min(means, default=0.0), max(means, default=1.0)
    margin = 0.0 if high > low else 0.01 * abs(high) or 0.01  # an empty range has no ticks
    scale = Normalize(low - margin, high + margin)
    for row, xy in reversed(list(zip(ranked, positions(ranked), strict=True))):  # draws the best on top
        standing, completed = STANDINGS[row["standing"]], row["standing"] in COMPLETED
        axes.plot(
            *xy,
            linestyle="none",
            marker=standing.marker,
            markersize=1.2 * standing.size,
            markerfacecolor=COLORS(scale(row["mean"])) if completed else "white",
            markeredgecolor=BLACK if completed else GRAY,
            zorder=4,
        )
    if means:
        inset = axes.inset_axes((0.2, -0.13, 0.6, 0.035))
        Colorbar(inset, ScalarMappable(scale, COLORS), orientation="horizontal")
        inset.xaxis.set_major_locator(MaxNLocator(4))
        quantity(inset.xaxis, metric, unit)
        inset.tick_params(labelsize=9)


def _draw_ranking(axes: Axes, ranked: Sequence[Candidate], metric: str, unit: str, baseline: float | None) -> None:
    """Draws one row per candidate, the best on top."""
    heights = np.arange(1.0, len(ranked) + 1)
    means = np.array([row["mean"] for row in ranked], np.float64)
    axes.set_ylim(len(ranked) + 0.6, 0.4)
    if baseline is not None and known(baseline):
        axes.axvline(baseline, color=GRAY, linewidth=1, linestyle="--", zorder=1)
    for name, standing in STANDINGS.items():
        chosen = [i for i, row in enumerate(ranked) if row["standing"] == name]
        error_bars(axes, heights[chosen].tolist(), [ranked[i] for i in chosen], color=standing.color, direction="x")
        axes.plot(
            means[chosen],
            heights[chosen],
            linestyle="none",
            marker=standing.marker,
            markersize=standing.size,
            color=standing.color,
            markeredgecolor="white",
            markeredgewidth=0.8,
            zorder=4,
        )
    names = [f"{rank}   {coefficients(row)}" for rank, row in enumerate(ranked, 1)]
    axes.set_yticks(heights, names, fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("rank and coefficients (x baseline)")
    axes.set_title("mean with 95 % interval; dots: single folds", fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    quantity(axes.xaxis, metric, unit)
    style(axes, grid="both")
