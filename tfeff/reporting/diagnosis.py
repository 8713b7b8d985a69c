"""Figures of a diagnosis: box sizes against anchors, scores, recall by stage."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from tfeff.reporting.figure import BLUE, GRAY, ORANGE, VERMILION, new, quantity, split_color, style
from tfeff.reporting.tables import percent


def assignment_figure(
    sides: npt.NDArray[np.float64],
    overlap: npt.NDArray[np.float64],
    learned: npt.NDArray[np.bool_],
    sizes_hw: npt.NDArray[np.float64],
    *,
    size: tuple[int, int],
) -> Figure:
    """Plots the sizes of objects against those of anchors or cells, and how well these cover them.

    Args:
        sides: height and width of each object, in pixels of the network's input, [n, 2].
        overlap: highest IoU of each object with an anchor, [n].
        learned: whether an anchor or cell learns it, [n].
        sizes_hw: height and width of the anchors or cells, [m, 2].
    """
    figure = new(10.5, 4.4)
    left, right = figure.subplots(1, 2)
    shown = np.maximum(sides, 0.25)
    for mask, color, name in ((learned, BLUE, "objects"), (~learned, VERMILION, "unassigned objects")):
        if mask.any():
            left.plot(*shown[mask].T[::-1], "o", color=color, markersize=3.5, alpha=0.45, markeredgewidth=0, label=name)
    left.plot(*sizes_hw.T[::-1], "x", color=ORANGE, markersize=7, markeredgewidth=1.8, label="anchors or cells")
    left.axhline(size[0], color=GRAY, linewidth=0.8, linestyle=":")
    left.axvline(size[1], color=GRAY, linewidth=0.8, linestyle=":")
    _pixels(left, "both")
    left.set_xlabel("width (pixels of the network's input)")
    left.set_ylabel("height (pixels)")
    left.set_title("sizes; dotted: the input", fontsize=10)
    left.legend(frameon=True, framealpha=0.8, fontsize=8)
    style(left, grid="both")

    roots = np.sqrt(shown.prod(axis=1))
    right.plot(roots, overlap, "o", color=BLUE, markersize=3, alpha=0.4, markeredgewidth=0)
    edges = 2.0 ** np.arange(np.floor(np.log2(roots.min())), np.ceil(np.log2(roots.max())) + 1)
    centers, medians = [], []
    for low, high in pairwise(edges):
        here = (roots >= low) & (roots < high)
        if here.any():
            centers.append(np.sqrt(low * high))
            medians.append(float(np.median(overlap[here])))
    right.plot(centers, medians, color=ORANGE, marker="o", label="median")
    _pixels(right, "x")
    right.set_xlabel("square root of the area (pixels)")
    right.set_ylabel("highest IoU with an anchor or cell's box")
    right.set_ylim(-0.02, 1.02)
    right.set_title("how well they fit", fontsize=10)
    right.legend(frameon=False, fontsize=8)
    style(right, grid="both")
    return figure


def stage_figure(recalls: Mapping[str, Mapping[str, float]]) -> Figure:
    """Plots recalls by split and stage."""
    stages = list(dict.fromkeys(stage for each in recalls.values() for stage in each))
    figure = new(6.8, 0.9 + 0.62 * max(1, len(stages)))
    axes = figure.subplots()
    height = 0.8 / max(1, len(recalls))
    for number, (split, each) in enumerate(recalls.items()):
        places = np.arange(len(stages)) + number * height
        values = [each.get(stage, 0.0) for stage in stages]
        axes.barh(places, values, height=0.9 * height, color=split_color(number), label=split)
        for place, value in zip(places, values, strict=True):
            axes.text(value + 0.01, place, percent(value), va="center", fontsize=8, color=GRAY)
    axes.set_yticks(np.arange(len(stages)) + (len(recalls) - 1) * height / 2, stages)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)
    quantity(axes.xaxis, "recall at IoU 0.5", "%")
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    style(axes, grid="x")
    return figure


def score_figure(
    scores: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, minimum: float, threshold: float
) -> Figure:
    """Plots the distribution of scores of boxes on objects and on the background, one panel per split.

    Args:
        scores: split -> (scores on objects, scores on the background).
        minimum: score below which boxes are dropped.
        threshold: minimum score of a shown detection.
    """
    figure = new(5.2 * max(1, len(scores)), 3.6)
    panels = figure.subplots(1, max(1, len(scores)), squeeze=False).ravel()
    edges = np.logspace(-5, 0, 51)
    for axes, (split, (objects, background)) in zip(panels, scores.items(), strict=False):
        for values, color, name in ((background, GRAY, "background"), (objects, BLUE, "on objects")):
            clipped = np.clip(np.asarray(values, float), edges[0], 1.0)
            weights = np.full(len(clipped), 1 / max(len(clipped), 1))
            axes.hist(clipped, bins=edges.tolist(), weights=weights, color=color, alpha=0.6, label=name)
        axes.axvline(max(minimum, edges[0]), color=VERMILION, linestyle="--", linewidth=1.2, label="minimum_score")
        axes.axvline(max(threshold, edges[0]), color=ORANGE, linewidth=1.4, label="threshold")
        axes.set_xscale("log")
        axes.set_xlabel("highest score of a box")
        axes.set_ylabel("share of boxes")
        axes.set_title(split, fontsize=10)
        axes.legend(framealpha=0.9, edgecolor="none", fontsize=8, loc="upper center")
        style(axes)
    return figure


def _pixels(axes: Axes, which: str) -> None:
    """Sets logarithmic axes with powers of two."""
    for axis, setter in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        if axis is axes.xaxis or which == "both":
            setter("log", base=2)
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}"))
