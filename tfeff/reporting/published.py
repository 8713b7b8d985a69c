"""Published networks with sources: classifiers on ImageNet (`published.csv`), detectors (`published_detectors.csv`)."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tfeff.reporting.figure import BLUE, GRAY, new, quantity, style
from tfeff.reporting.labels import place

FAMILY, DETECTOR_FAMILY = "EfficientNet-B", "EfficientDet-D"
"""Beginnings of the names of networks that are connected by a line."""


@dataclass(frozen=True)
class Published:
    """A published classifier.

    Attributes:
        params: parameters.
        macs: multiply-adds for one image at the published resolution.
        top1: accuracy on ImageNet's validation images, single crop.
        top5: fraction of images whose class is among the five most probable; None if it was not published.
        source: where the accuracies were published and, unless it says otherwise, the costs.
    """

    name: str
    params: int
    macs: int
    top1: float
    top5: float | None
    source: str


@dataclass(frozen=True)
class PublishedDetector:
    """A published detector, a single model at a single scale.

    Attributes:
        ap: COCO AP.
        split: the COCO split that the AP was measured on, `test-dev` or `val`.
        params: parameters; None if they were not published.
        macs: multiply-adds for one image.
        gpu_seconds: latency of one image on a Titan V in float32; None if it was not published.
        cpu_seconds: latency of one image in one thread of a Xeon; None if it was not published.
        source: where all values were published.
    """

    name: str
    ap: float
    split: str
    params: int | None
    macs: int
    gpu_seconds: float | None
    cpu_seconds: float | None
    source: str


@cache
def detectors() -> tuple[PublishedDetector, ...]:
    """Returns all detectors of the table."""
    with open(Path(__file__).with_name("published_detectors.csv"), newline="", encoding="utf-8") as file:
        return tuple(
            PublishedDetector(
                row["name"],
                float(row["ap"]),
                row["split"],
                int(row["params"]) if row["params"] else None,
                int(row["macs"]),
                float(row["gpu_seconds"]) if row["gpu_seconds"] else None,
                float(row["cpu_seconds"]) if row["cpu_seconds"] else None,
                row["source"],
            )
            for row in csv.DictReader(file)
        )


@cache
def classifiers() -> tuple[Published, ...]:
    """Returns all classifiers of the table."""
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
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, cost, label in ((left, "macs", "multiply-adds (millions)"), (right, "params", "parameters (millions)")):
        points = [(row.name, getattr(row, cost) / 1e6, row.top1) for row in classifiers()]
        _draw(axes, points, FAMILY, [float(each[cost]) / 1e6 for each in own], label)
    quantity(left.yaxis, "top-1 accuracy on ImageNet", "%")
    return figure


def published_detectors_figure(own: Sequence[Mapping[str, Any]] = ()) -> Figure:
    """Draws COCO AP against multiply-adds, parameters and latencies on a GPU and a CPU; EfficientDets are connected.

    Args:
        own: detectors to compare, whose costs are marked on the axes: `macs` (None: unknown) and `params`.
    """
    figure = new(11.0, 9.0)
    costs = {
        "macs": (1e9, "multiply-adds (billions)"),
        "params": (1e6, "parameters (millions)"),
        "gpu_seconds": (1e-3, "ms on a Titan V"),
        "cpu_seconds": (1.0, "seconds in one thread of a Xeon"),
    }
    grid = figure.subplots(2, 2, sharey=True)
    for axes, (cost, (scale, label)) in zip(grid.ravel(), costs.items(), strict=True):
        found = [(row.name, getattr(row, cost), row.ap) for row in detectors()]
        points = [(name, value / scale, ap) for name, value, ap in found if value is not None]
        _draw(axes, points, DETECTOR_FAMILY, [float(each[cost]) / scale for each in own if each.get(cost)], label)
    for axes in grid[:, 0]:
        quantity(axes.yaxis, "COCO AP", "%")
    return figure


def _draw(
    axes: Axes, points: Sequence[tuple[str, float, float]], family: str, marks: Sequence[float], label: str
) -> None:
    """Draws (name, cost, accuracy) of each network, and vertical lines at `marks`."""
    places = np.array([(cost, value) for _, cost, value in points], np.float64)
    own = np.array([name.startswith(family) for name, _, _ in points])
    axes.set_xscale("log")
    axes.plot(*places[~own].T, linestyle="none", marker="o", markersize=4, color=GRAY, zorder=3)
    axes.plot(*places[own].T, marker="o", markersize=4, linewidth=1, color=GRAY, zorder=3)
    for mark in marks:
        axes.axvline(mark, color=BLUE, linewidth=1, linestyle="--", zorder=1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    style(axes, grid="both")
    axes.margins(0.08)
    place(axes, places, [name for name, _, _ in points], lines=[places[own]], fontsize=6.5)
