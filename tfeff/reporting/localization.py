"""Table rows and a figure of a localization report (`tfeff.evaluation.LocalizationReport.to_json`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting import classification
from tfeff.reporting.figure import BLUE, ORANGE, VERMILION, new, style


def summary_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per metric over all images: name, value and a note."""

    def row(metric: str, key: str, note: str) -> dict[str, Any]:
        low, high = report[f"{key}_interval"]
        return {"metric": metric, "value": report[key], "note": f"95 % interval {low:.4f} to {high:.4f}{note}"}

    return [
        row("mean IoU", "mean_iou", f"; median {report['median_iou']:.4f}"),
        row("box accuracy (IoU >= 0.5)", "box_accuracy", ""),
        row("localization accuracy", "localization_accuracy", "; correct class and box"),
        {"metric": "localization error", "value": report["localization_error"], "note": "1 - localization accuracy"},
        *classification.summary_rows(report),
    ]


def per_class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per class: the classification metrics and the mean IoU of its images."""
    rows = classification.per_class_rows(report)
    return [row | {"mean IoU": value} for row, value in zip(rows, report["class_iou"], strict=True)]


def iou_figure(counts: Sequence[int], mean: float, threshold: float) -> Figure:
    """Draws a histogram of the IoU of predicted boxes.

    Args:
        counts: number of images in bins of equal width from 0 to 1.
        mean: mean IoU.
        threshold: minimum IoU of a correct box; bars below have another color.
    """
    edges = np.linspace(0, 1, len(counts) + 1)
    middle = (edges[:-1] + edges[1:]) / 2
    correct = edges[:-1] >= threshold - 1e-9
    share = np.sum(counts, where=correct) / max(1, np.sum(counts))
    figure = new(6.0, 3.8)
    axes = figure.subplots()
    for chosen, color, label in (
        (~correct, VERMILION, f"below {threshold:g}: {100 * (1 - share):.1f} %"),
        (correct, BLUE, f"{threshold:g} and above: {100 * share:.1f} %"),
    ):
        axes.bar(middle[chosen], np.asarray(counts)[chosen], 0.92 / len(counts), color=color, label=label)
    axes.axvline(mean, color=ORANGE, linestyle="--", linewidth=1.4, label=f"mean {mean:.3f}")
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU (intersection over union)")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("IoU of predicted boxes")
    axes.legend(frameon=False, loc="upper left")
    style(axes)
    return figure
