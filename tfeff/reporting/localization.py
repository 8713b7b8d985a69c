"""What `tfeff.evaluation.LocalizationReport.to_json` says, as tables' rows and as a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting import classification
from tfeff.reporting.figure import BLUE, ORANGE, VERMILION, new, style


def summary_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a score over all images: its name, value, and what else there is to know."""

    def row(score: str, key: str, note: str) -> dict[str, Any]:
        low, high = report[f"{key}_interval"]
        return {"score": score, "value": report[key], "note": f"95 % interval {low:.4f} to {high:.4f}{note}"}

    return [
        row("mean IoU", "mean_iou", f"; median {report['median_iou']:.4f}"),
        row("boxes with IoU >= 0.5", "box_accuracy", ""),
        row("right class and IoU >= 0.5", "localization_accuracy", ""),
        {"score": "localisation error", "value": report["localization_error"], "note": "1 - the above"},
        *classification.summary_rows(report),
    ]


def per_class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a class: that of classification, with the mean IoU of its images."""
    rows = classification.per_class_rows(report)
    return [row | {"mean IoU": value} for row, value in zip(rows, report["class_iou"], strict=True)]


def iou_figure(counts: Sequence[int], mean: float, least: float, *, title: str = "Overlap with the objects") -> Figure:
    """How many images have which intersection over union.

    Args:
        counts: images in bins of equal width from 0 to 1.
        mean: of all images.
        least: from which on a box counts as right; bars below are of another colour.
        title: what the figure is of.
    """
    edges = np.linspace(0, 1, len(counts) + 1)
    middle = (edges[:-1] + edges[1:]) / 2
    right = edges[:-1] >= least - 1e-9
    share = np.sum(counts, where=right) / max(1, np.sum(counts))
    figure = new(6.0, 3.8)
    axes = figure.subplots()
    for chosen, colour, label in (
        (~right, VERMILION, f"below {least:g}: {1 - share:.1%}"),
        (right, BLUE, f"{least:g} and above: {share:.1%}"),
    ):
        axes.bar(middle[chosen], np.asarray(counts)[chosen], 0.92 / len(counts), color=colour, label=label)
    axes.axvline(mean, color=ORANGE, linestyle="--", linewidth=1.4, label=f"mean {mean:.3f}")
    axes.set_xlim(0, 1)
    axes.set_xlabel("intersection over union")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title)
    axes.legend(frameon=False, loc="upper left")
    style(axes)
    return figure
