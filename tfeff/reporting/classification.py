"""What `tfeff.evaluation.ClassificationReport.to_json` says, as tables' rows and as figures."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tfeff.reporting.confusion import confusion_figure
from tfeff.reporting.per_class import per_class_figure
from tfeff.reporting.reliability import reliability_figure


def summary_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a score over all examples: its name, value, and what else there is to know."""
    low, high = report["top1_interval"]
    return [
        {"score": "examples", "value": report["examples"], "note": f"{len(report['class_names'])} classes"},
        {"score": "top-1 accuracy", "value": report["top1"], "note": f"95 % interval {low:.4f} to {high:.4f}"},
        {"score": "top-5 accuracy", "value": report["top5"], "note": ""},
        {"score": "balanced accuracy", "value": report["balanced_accuracy"], "note": "mean recall of the classes"},
        {"score": "macro precision", "value": report["macro_precision"], "note": "mean of the classes"},
        {"score": "macro F1", "value": report["macro_f1"], "note": "mean of the classes"},
        {"score": "log loss", "value": report["log_loss"], "note": "nats"},
        {
            "score": "calibration error",
            "value": report["calibration"]["expected_error"],
            "note": f"expected; at most {report['calibration']['maximum_error']:.4f} in a bin",
        },
    ]


def per_class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a class: its name, precision, recall, F1 and number of examples."""
    scores = report["per_class"]
    columns = (report["class_names"], scores["precision"], scores["recall"], scores["f1"], scores["support"])
    keys = ("class", "precision", "recall", "F1", "examples")
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]


def classification_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures `confusion`, `per_class` and `reliability`, by these names."""
    names, scores, bins = report["class_names"], report["per_class"], report["calibration"]
    return {
        "confusion": confusion_figure(report["confusion"], names),
        "per_class": per_class_figure(names, scores["precision"], scores["recall"], scores["f1"], scores["support"]),
        "reliability": reliability_figure(
            bins["edges"], bins["weight"], bins["confidence"], bins["accuracy"], bins["expected_error"]
        ),
    }
