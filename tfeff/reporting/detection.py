"""Figures of a detection report (`tfeff.evaluation.DetectionReport.to_dict`)."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tfeff.reporting.confusion import confusion_figure
from tfeff.reporting.detection_errors import detection_errors_figure
from tfeff.reporting.per_class import per_class_figure
from tfeff.reporting.precision_recall import precision_recall_figure


def detection_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures `precision_recall`, `confusion`, `per_class` and `errors`, by name."""
    names, at = report["class_names"], f"score threshold {report['score_threshold']:.3g}"
    return {
        "precision_recall": precision_recall_figure(
            names,
            report["precision_at_recall"],
            report["ap"],
            report["objects"],
            title=f"Precision-recall curves, IoU {report['overlap']:g}",
        ),
        "confusion": confusion_figure(report["confusion"], [*names, "background"], title=f"Confusion matrix, {at}"),
        "per_class": per_class_figure(
            names,
            report["precision"],
            report["recall"],
            report["f1"],
            report["objects"],
            title=f"Precision and recall per class, {at}",
        ),
        "errors": detection_errors_figure(report["errors"]),
    }
