"""What a search spent on each candidate, and why it stopped there."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.candidates import STANDINGS, Candidate, coefficients
from tfeff.reporting.figure import caption, new, style

REASON_LENGTH = 58  # characters
PITCH = 0.27  # inches a candidate


def allocation_figure(rows: Sequence[Candidate], *, title: str = "Epochs spent on each candidate") -> Figure:
    """One bar a candidate, the one trained longest on top; at the right, how many trials it had and why it stopped.

    Args:
        rows: candidates with `epochs` (of all trials together), `trials` (how many were trained), `standing` (a key of
            `candidates.STANDINGS`) and `reason` (why it left; None: trained to the end). Of equal epochs they
            stand in the order of `STANDINGS`.
        title: what the figure is of.
    """
    order = list(STANDINGS)
    ranked = sorted(rows, key=lambda row: (-row["epochs"], order.index(row["standing"])))
    heights = list(range(len(ranked)))
    figure = new(9.0, PITCH * max(5, len(ranked)) + 1.8)
    axes = figure.add_subplot()
    for height, row in zip(heights, ranked, strict=True):
        standing = STANDINGS[row["standing"]]
        axes.barh(height, row["epochs"], 0.7, color=standing.colour, hatch=standing.hatch, edgecolor="white")
    axes.set_ylim(max(1, len(ranked)) - 0.4, -0.6)
    axes.set_xlim(0, 1.02 * max([1, *(row["epochs"] for row in ranked)]))
    axes.set_yticks(heights, [coefficients(row) for row in ranked], fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("coefficients (x baseline)")
    axes.set_xlabel("training (epochs of all trials)")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    style(axes, grid="x")

    why = axes.secondary_yaxis("right")
    trials = [f"{row['trials']} trial{'' if row['trials'] == 1 else 's'}" for row in ranked]
    reasons = [caption(str(row["reason"] or "to the end"), REASON_LENGTH) for row in ranked]
    texts = [", ".join(pair) for pair in zip(trials, reasons, strict=True)]
    why.set_yticks(heights, texts, fontsize=8.5)
    why.tick_params(length=0)
    why.spines["right"].set_visible(False)
    why.set_ylabel("trials, and why it stopped")
    figure.suptitle(title, fontsize=12)
    present = [STANDINGS[name] for name in order if any(row["standing"] == name for row in ranked)]
    if present:
        handles = [Patch(facecolor=s.colour, hatch=s.hatch, edgecolor="white", label=s.label) for s in present]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure
