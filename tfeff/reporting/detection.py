"""Table rows and figures of a detection report (`tfeff.evaluation.DetectionReport.to_dict`)."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tfeff.reporting import tables
from tfeff.reporting.confusion import confusion_figure
from tfeff.reporting.detection_errors import detection_errors_figure
from tfeff.reporting.per_class import per_class_figure
from tfeff.reporting.precision_recall import precision_recall_figure

_COCO_NAMES = {
    "ap": "COCO AP",
    "ap50": "COCO AP, IoU 0.5",
    "ap75": "COCO AP, IoU 0.75",
    "ap_small": "COCO AP, small objects",
    "ap_medium": "COCO AP, medium objects",
    "ap_large": "COCO AP, large objects",
    "ar1": "COCO AR, 1 detection",
    "ar10": "COCO AR, 10 detections",
    "ar100": "COCO AR, 100 detections",
    "ar_small": "COCO AR, small objects",
    "ar_medium": "COCO AR, medium objects",
    "ar_large": "COCO AR, large objects",
}


def summary_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per metric over all images: name, value and a note."""
    interval = [tables.cell(end) for end in report["mean_ap_interval"]]
    return [
        {
            "metric": f"VOC mAP, IoU {report['overlap']:g}",
            "value": report["mean_ap"],
            "note": f"95 % interval {' to '.join(interval)}",
        },
        {
            "metric": f"VOC 2007 mAP, IoU {report['overlap']:g}",
            "value": report["mean_ap_eleven_point"],
            "note": "11-point",
        },
        *({"metric": name, "value": report["coco"][key], "note": ""} for key, name in _COCO_NAMES.items()),
    ]


def per_class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per class; precision, recall and F1 are those at the score threshold of the report."""
    columns = {
        "class": report["class_names"],
        "objects": report["objects"],
        "AP": report["ap"],
        "AP 2007": report["ap_eleven_point"],
        "COCO AP": report["coco"]["ap_per_class"],
        "precision": report["precision"],
        "recall": report["recall"],
        "F1": report["f1"],
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def error_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per type of error."""
    return [
        {"error type": kind, "count": error["count"], "mAP gain if fixed": error["gain"]}
        for kind, error in report["errors"].items()
    ]


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
