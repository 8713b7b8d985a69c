"""Epochs that a search spent on each candidate, and why its training ended."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.candidates import STANDINGS, Candidate, coefficients
from tfeff.reporting.figure import caption, new, style

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
    if present:
        handles = [Patch(facecolor=s.color, hatch=s.hatch, edgecolor="white", label=s.label) for s in present]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure
