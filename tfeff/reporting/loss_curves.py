"""Loss against epoch for several ways to train the same network, each over its folds."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.figure import BLUE, GRAY, GREEN, ORANGE, SKY_BLUE, VERMILION, caption, known, new, style

# Distinguishable in grayscale.
LINES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (ORANGE, ":"), (SKY_BLUE, "-"), (GRAY, "--"))
LOG_RATIO = 20  # largest over smallest loss above which the axis is logarithmic
LABEL_LENGTH = 40  # characters; longer labels are shortened in the middle

Curve = Sequence[tuple[float, float]]  # (epoch, loss)


def loss_figure(runs: Mapping[str, Sequence[Curve]], *, title: str = "Loss") -> Figure:
    """Draws the mean loss over the folds and a band from the smallest to the largest fold.

    The axis is logarithmic if the losses differ by more than a factor of 20. Missing and non-finite losses are ignored;
    the legend counts the folds that diverged.

    Args:
        runs: label, such as "with batch normalization" -> one list per fold of (epoch, loss in nats).
        title: title of the figure.
    """
    figure = new(6.4, 4.6)
    axes = figure.add_subplot()
    drawn: list[float] = []
    for index, (label, folds) in enumerate(runs.items()):
        by_epoch: dict[float, list[float]] = {}
        for fold in folds:
            for epoch, value in fold:
                if known(value):
                    by_epoch.setdefault(epoch, []).append(value)
        epochs = sorted(by_epoch)
        losses = [by_epoch[epoch] for epoch in epochs]
        drawn += [value for values in losses for value in values]
        diverged = sum(any(not known(value) for _, value in fold) for fold in folds)
        notes = [f"{len(folds)} fold{'s' if len(folds) != 1 else ''}", *([f"{diverged} diverged"] if diverged else [])]
        color, linestyle = LINES[index % len(LINES)]
        axes.plot(
            epochs,
            [float(np.mean(values)) for values in losses],
            color=color,
            linestyle=linestyle,
            marker="o" if len(epochs) <= 20 else None,
            markersize=3,
            label=f"{caption(label, LABEL_LENGTH)} ({', '.join(notes)})",
        )
        if len(folds) > 1:
            lowest, highest = list(map(min, losses)), list(map(max, losses))
            axes.fill_between(epochs, lowest, highest, color=color, alpha=0.2, linewidth=0)
    if drawn and min(drawn) > 0 and max(drawn) > LOG_RATIO * min(drawn):
        axes.set_yscale("log")
    elif drawn:
        axes.set_ylim(min(0, min(drawn)), 1.05 * max(drawn) or 1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_title(title, fontsize=11)
    style(axes)
    if runs:
        figure.legend(
            loc="outside lower center",
            frameon=False,
            fontsize=9,
            title_fontsize=8.5,
            title="lines: mean over folds; bands: smallest to largest fold",
        )
    return figure
