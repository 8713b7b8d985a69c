"""Training loss against the learning rate in a range test."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tfeff.reporting.figure import BLUE, SKY_BLUE, VERMILION, new, style


def range_test_figure(rates: Sequence[float], losses: Sequence[float], means: Sequence[float], found: float) -> Figure:
    """Draws the loss of each update, its moving average, and the learning rate that was found.

    Args:
        rates: learning rate of each update, increasing.
        losses: training loss before each update.
        means: their moving average; NaN where there is none.
        found: the learning rate with the lowest mean.
    """
    figure = new(6.4, 4.2)
    axes = figure.add_subplot()
    axes.plot(rates, losses, "o", color=SKY_BLUE, markersize=3, label="single updates")
    axes.plot(rates, means, color=BLUE, label="moving average")
    axes.axvline(found, color=VERMILION, linestyle="--", label=f"lowest: {found:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate, increasing from update to update")
    axes.set_ylabel("training loss")
    style(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
