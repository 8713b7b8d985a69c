"""Published classifiers on ImageNet: accuracy, parameters and multiply-adds, with their sources (`published.csv`)."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tfeff.reporting.figure import BLUE, GRAY, new, quantity, style
from tfeff.reporting.labels import place

FAMILY = "EfficientNet-B"
"""Beginning of the names of networks that are highlighted."""


@dataclass(frozen=True)
class Published:
    """A published classifier.

    Attributes:
        params: parameters.
        macs: multiply-adds for one image at the published resolution.
        top1: accuracy on ImageNet's validation images, single crop.
        top5: fraction of images whose class is among the five most probable; None if it was not published.
        source: of the accuracies and, unless it says otherwise, of the costs.
    """

    name: str
    params: int
    macs: int
    top1: float
    top5: float | None
    source: str


@cache
def table() -> tuple[Published, ...]:
    """All networks of the table."""
    with open(Path(__file__).with_suffix(".csv"), newline="", encoding="utf-8") as file:
        return tuple(
            Published(
                row["name"],
                int(row["params"]),
                int(row["macs"]),
                float(row["top1"]),
                float(row["top5"]) if row["top5"] else None,
                row["source"],
            )
            for row in csv.DictReader(file)
        )


def published_figure(own: Sequence[Mapping[str, Any]] = ()) -> Figure:
    """Draws top-1 accuracy on ImageNet against multiply-adds and parameters; EfficientNets are connected.

    Args:
        own: networks to compare, whose costs are marked on the axes: `name`, `macs` and `params`.
    """
    figure = new(10.0, 4.9)
    for axes, cost in zip(figure.subplots(1, 2, sharey=True), ("macs", "params"), strict=True):
        rows = table()
        x = np.array([getattr(row, cost) for row in rows], np.float64) / 1e6
        y = np.array([row.top1 for row in rows])
        family = np.array([row.name.startswith(FAMILY) for row in rows])
        axes.set_xscale("log")
        axes.plot(x[~family], y[~family], linestyle="none", marker="o", markersize=4, color=GRAY, zorder=3)
        axes.plot(x[family], y[family], marker="o", markersize=5, linewidth=1, color=BLUE, zorder=4)
        for each in own:
            axes.axvline(float(each[cost]) / 1e6, color=BLUE, linewidth=1, linestyle="--", zorder=1)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("multiply-adds (millions)" if cost == "macs" else "parameters (millions)")
        style(axes, grid="both")
        if cost == "macs":
            quantity(axes.yaxis, "top-1 accuracy on ImageNet", "%")
        axes.margins(0.08)
        place(axes, np.stack([x, y], axis=1), [row.name for row in rows], fontsize=6.5)
    return figure
