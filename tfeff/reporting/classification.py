"""Table rows and figures of a classification report (`tfeff.evaluation.ClassificationReport.to_json`)."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tfeff.reporting.confusion import confusion_figure
from tfeff.reporting.per_class import per_class_figure
from tfeff.reporting.reliability import reliability_figure


def summary_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per metric over all examples: name, value and a note."""
    low, high = report["top1_interval"]
    return [
        {"metric": "examples", "value": report["examples"], "note": f"{len(report['class_names'])} classes"},
        {"metric": "top-1 accuracy", "value": report["top1"], "note": f"95 % interval {low:.4f} to {high:.4f}"},
        {"metric": "top-5 accuracy", "value": report["top5"], "note": ""},
        {"metric": "balanced accuracy", "value": report["balanced_accuracy"], "note": "mean recall over classes"},
        {"metric": "macro precision", "value": report["macro_precision"], "note": "mean over classes"},
        {"metric": "macro F1", "value": report["macro_f1"], "note": "mean over classes"},
        {"metric": "log loss", "value": report["log_loss"], "note": "nats"},
        {
            "metric": "expected calibration error",
            "value": report["calibration"]["expected_error"],
            "note": f"maximum {report['calibration']['maximum_error']:.4f}",
        },
    ]


def per_class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per class: name, precision, recall, F1 and number of examples."""
    scores = report["per_class"]
    columns = (report["class_names"], scores["precision"], scores["recall"], scores["f1"], scores["support"])
    keys = ("class", "precision", "recall", "F1", "examples")
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]


def classification_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures `confusion`, `per_class` and `reliability`, by name."""
    names, scores, bins = report["class_names"], report["per_class"], report["calibration"]
    return {
        "confusion": confusion_figure(report["confusion"], names),
        "per_class": per_class_figure(names, scores["precision"], scores["recall"], scores["f1"], scores["support"]),
        "reliability": reliability_figure(
            bins["edges"], bins["weight"], bins["confidence"], bins["accuracy"], bins["expected_error"]
        ),
    }
