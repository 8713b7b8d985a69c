"""Evaluation of classifiers, also of those that localize.

Reports are `ClassificationReport.to_json` and `LocalizationReport.to_json` of `tfeff.evaluation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff import evaluation
from tfeff.boxes import paired_iou, yxyx_from_relative
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.evaluation.localization import IOU_THRESHOLD
from tfeff.reporting.box_drawing import DetectedImage
from tfeff.reporting.classification import confusion_figure, per_class_figure, reliability_figure, threshold_figure
from tfeff.reporting.detection import iou_figure
from tfeff.reporting.gallery import LEGEND, detection_gallery_figure, gallery_figure
from tfeff.reporting.tables import percent, worst_classes
from tfeff.reports.evaluator import Evaluation, Evaluator, Picture, counted, metric_row, short_names
from tfeff.tasks.task import Predictions

MISTAKES = 25
"""Images in the gallery of mistakes."""
SURE = 8
"""Images in the galleries of the most and the least certain correct predictions."""
TOP_FIVE_CLASSES = 6
"""Classes from which on the top-5 accuracy says something."""
CAPTIONS = {
    "confusion": "True classes in rows, predicted classes in columns.",
    "per_class": "Precision and recall of each class, the lowest F1 first.",
    "precision_recall": "Precision and recall of both classes at other thresholds than that of the predictions (dots).",
    "reliability": "How often predictions are right by confidence; on the diagonal, a probability means what it says.",
}


class ClassificationEvaluator(Evaluator):
    """Evaluator of `probabilities`, [n, classes]."""

    captions: Mapping[str, str] = CAPTIONS

    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        """Computes a `ClassificationReport` and its figures."""
        images, names = pipeline.images, pipeline.images.dataset.class_names
        labels, probabilities = images.dataset.labels, predictions["probabilities"]
        report = evaluation.classification_report(labels, probabilities, names).to_json()
        figures: dict[str, Figure] = classification_figures(report, labels, probabilities)
        errors = evaluation.confident_errors(labels, probabilities, len(labels))
        wrong, rows = errors[:MISTAKES], predicted_rows(images, probabilities)
        if len(wrong):
            figures["mistakes"] = gallery_figure(
                pixels(images, wrong),
                [names[label] for label in labels[wrong]],
                [names[label] for label in probabilities[wrong].argmax(axis=1)],
                probabilities[wrong].max(axis=1),
                title="The most confident mistakes",
            )
        shown = {"The most confident mistakes": wrong, **correct_examples(labels, probabilities)}
        galleries = {
            title: [
                Picture(image, classified_lines(rows[index]))
                for image, index in zip(pixels(images, chosen), chosen, strict=True)
            ]
            for title, chosen in shown.items()
            if len(chosen)
        }
        return Evaluation(report, figures, galleries, rows, mistakes([rows[index] for index in errors], rows))

    def answer(self, report: Mapping[str, Any]) -> str:
        """See `Evaluator`."""
        right = round(report["top1"] * report["examples"])
        return counted(right, report["examples"], f"{report['split']} images right", report["top1_interval"])

    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Returns metrics over all images, and per class."""
        return summary_rows(report), worst_classes(per_class_rows(report), "F1")

    def class_scalars(self, report: Mapping[str, Any]) -> dict[str, float | None]:
        """Returns precision and recall of each class."""
        return class_scalars(report)

    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Returns top-1 accuracy with its interval, top-5 accuracy, and calibration error."""
        return {
            "accuracy": report["top1"],
            "accuracy_interval": report["top1_interval"],
            "top5": report["top5"],
            "calibration_error": report["calibration"]["expected_error"],
        }


def summary_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row per metric over all examples: name, value and a note."""
    (low, high), calibration, scores = report["top1_interval"], report["calibration"], report["per_class"]
    many = len(report["class_names"]) >= TOP_FIVE_CLASSES
    return [
        metric_row("examples", report["examples"], f"{len(report['class_names'])} classes"),
        metric_row("accuracy", report["top1"], f"95 % interval {low:.4f} to {high:.4f}"),
        *([metric_row("top-5 accuracy", report["top5"])] if many else []),
        metric_row(
            "balanced accuracy", report["balanced_accuracy"], f"mean recall {_over(scores['recall'], 'with examples')}"
        ),
        metric_row("macro precision", report["macro_precision"], f"mean {_over(scores['precision'], 'predicted')}"),
        metric_row("macro F1", report["macro_f1"], f"mean {_over(scores['f1'], 'with examples or predicted')}"),
        metric_row(
            "macro ROC AUC",
            report["macro_roc_auc"],
            f"each class against the others, mean {_over(report['class_roc_auc'], 'with examples')}",
        ),
        metric_row(
            "macro average precision",
            report["macro_average_precision"],
            f"mean {_over(report['class_average_precision'], 'with examples')}",
        ),
        metric_row("log loss", report["log_loss"], "nats"),
        metric_row(
            "expected calibration error", calibration["expected_error"], f"maximum {calibration['maximum_error']:.4f}"
        ),
    ]


def _over(scores: Sequence[float | None], which: str) -> str:
    """Says over which classes a mean is; those that are not `which` have no score.

    >>> _over([0.5, 1.0], "predicted"), _over([0.5, None, 1.0], "predicted")
    ('over classes', 'over the 2 classes predicted')
    """
    defined = sum(score is not None for score in scores)
    return "over classes" if defined == len(scores) else f"over the {defined:,} classes {which}"


def per_class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row per class: name, precision, recall, F1, ROC AUC, average precision and number of examples."""
    scores = report["per_class"]
    columns = (
        *(report["class_names"], scores["precision"], scores["recall"], scores["f1"]),
        *(report["class_roc_auc"], report["class_average_precision"], scores["support"]),
    )
    keys = ("class", "precision", "recall", "F1", "ROC AUC", "average precision", "examples")
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]


def class_scalars(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns precision and recall of each class, by tag."""
    rows = per_class_rows(report)
    return {f"{name}/{row['class']}": row[name] for name in ("precision", "recall") for row in rows}


def classification_figures(
    report: Mapping[str, Any], labels: np.ndarray, probabilities: np.ndarray
) -> dict[str, Figure]:
    """Returns the figures `confusion`, `per_class` and `reliability`, by name; of two classes, `precision_recall`."""
    names, scores, bins = report["class_names"], report["per_class"], report["calibration"]
    figures = dict[str, Figure]()
    if len(names) == 2 and all(scores["support"]):
        own = [np.flatnonzero(labels == label) for label in range(2)]
        curves = [asdict(evaluation.one_versus_rest(probabilities[:, label], own[label])) for label in range(2)]
        figures["precision_recall"] = threshold_figure(names, curves, scores["precision"], scores["recall"])
    return figures | {
        "confusion": confusion_figure(report["confusion"], names),
        "per_class": per_class_figure(names, scores["precision"], scores["recall"], scores["f1"], scores["support"]),
        "reliability": reliability_figure(
            bins["edges"], bins["weight"], bins["confidence"], bins["accuracy"], bins["expected_error"]
        ),
    }


def predicted_rows(images: ImageCache, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """Returns one row per image: its class, the predicted class and its probability, and that of the true class."""
    labels, names, predicted = images.dataset.labels, images.dataset.class_names, probabilities.argmax(axis=1)
    return [
        {
            "image": name,
            "truth": names[label],
            "prediction": names[guess],
            "probability": round(float(row[guess]), 6),
            "correct": bool(label == guess),
            "probability_of_truth": round(float(row[label]), 6),
        }
        for name, label, guess, row in zip(images.dataset.ids, labels, predicted, probabilities, strict=True)
    ]


def correct_examples(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Returns indices of correct predictions by heading: the most certain ones, and those nearest to a mistake."""
    chance = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    right = np.flatnonzero(probabilities.argmax(axis=1) == labels)
    order = right[np.argsort(-chance[right], kind="stable")]
    best = order[:SURE]
    least = order[::-1][: min(SURE, len(order) - len(best))]
    found = {"The most certain of the correct predictions": best, "The least certain of the correct predictions": least}
    return {title: chosen for title, chosen in found.items() if len(chosen)}


def classified_lines(row: Mapping[str, Any]) -> list[str]:
    """Returns the caption of an image."""
    mark = "✓" if row["correct"] else "✗"
    lines = [f"{mark} {row['prediction']} ({percent(row['probability'])})"]
    if not row["correct"]:
        lines.append(f"labeled {row['truth']}")
    return [*lines, file_name(row["image"])]


def mistakes(wrong: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns wrong predictions, of all `rows`, in a line each."""
    names = short_names([row["image"] for row in rows])
    return [
        f"{names[row['image']]}: {row['truth']}, predicted {row['prediction']} ({percent(row['probability'])})"
        for row in wrong
    ]


def file_name(id: str) -> str:
    """Returns the name of an image file without its folders; other ids are unchanged.

    >>> file_name("/data/test/ants/7.jpg"), file_name("digits[17]")
    ('7.jpg', 'digits[17]')
    """
    return PurePath(id).name


def pixels(images: ImageCache, positions: np.ndarray) -> list[np.ndarray]:
    """Returns the images at `positions`, at least one, uint8 [height, width, channels] each."""
    return [image for batch in images.take(positions).chunks(len(positions)) for image in batch]


BOXES = 9
"""Images in each gallery of best and worst boxes."""


class LocalizationEvaluator(Evaluator):
    """Evaluator of `probabilities` [n, classes] and `box` [n, 4], relative yxyx."""

    captions: Mapping[str, str] = {
        "overlaps": "IoU of predicted and true boxes; from 0.5 on, a box counts as right.",
        **CAPTIONS,
    }

    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        """Computes a `LocalizationReport`, with figures of classes, IoU, best and worst boxes."""
        images, names = pipeline.images, pipeline.images.dataset.class_names
        probabilities, boxes = predictions["probabilities"], predictions["box"]
        labels, objects = images.dataset.labels, pipeline.transform.reader.relative_boxes
        report = evaluation.localization_report(labels, probabilities, objects, boxes, names).to_json()
        figures: dict[str, Figure] = classification_figures(report, labels, probabilities)
        figures["overlaps"] = iou_figure(report["iou_counts"], report["mean_iou"], IOU_THRESHOLD)
        overlap = paired_iou(boxes, objects)
        rows = [
            row | {"iou": round(float(value), 4)}
            for row, value in zip(predicted_rows(images, probabilities), overlap, strict=True)
        ]
        order, galleries = np.argsort(overlap, kind="stable"), dict[str, list[Picture]]()
        for name, chosen in (("worst_boxes", order[:BOXES]), ("best_boxes", order[::-1][:BOXES])):
            drawn, title = (
                drawings(images, objects, chosen, probabilities[chosen], boxes[chosen]),
                name.replace("_", " "),
            )
            figures[name] = detection_gallery_figure(
                drawn,
                [f"{names[labels[index]]}, IoU {overlap[index]:.2f}" for index in chosen],
                title=title.capitalize(),
            )
            galleries[f"{title.capitalize()}: {LEGEND}"] = [
                Picture(image.draw(), [f"IoU {overlap[index]:.2f}", *classified_lines(rows[index])])
                for image, index in zip(drawn, chosen, strict=True)
            ]
        bad = [row for row in rows if not row["correct"] or row["iou"] < IOU_THRESHOLD]
        bad.sort(key=lambda row: (row["correct"], row["iou"]))
        described = [f"{text}, IoU {row['iou']:.2f}" for text, row in zip(mistakes(bad, rows), bad, strict=True)]
        return Evaluation(report, figures, galleries, rows, described)

    def answer(self, report: Mapping[str, Any]) -> str:
        """See `Evaluator`."""
        right = round(report["localization_accuracy"] * report["examples"])
        what = f"{report['split']} images right in class and box (IoU at least {IOU_THRESHOLD:g})"
        return counted(right, report["examples"], what, report["localization_accuracy_interval"])

    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Returns metrics over all images, and per class."""
        return localization_rows(report), worst_classes(localization_class_rows(report), "F1")

    def class_scalars(self, report: Mapping[str, Any]) -> dict[str, float | None]:
        """Returns precision and recall of each class."""
        return class_scalars(report)

    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the accuracy, mean IoU and localization accuracy, with their intervals."""
        return {
            "accuracy": report["top1"],
            "accuracy_interval": report["top1_interval"],
            "iou": report["mean_iou"],
            "iou_interval": report["mean_iou_interval"],
            "localization_accuracy": report["localization_accuracy"],
            "localization_accuracy_interval": report["localization_accuracy_interval"],
        }


def localization_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row per metric over all images: name, value and a note."""

    def row(metric: str, key: str, note: str) -> dict[str, Any]:
        low, high = report[f"{key}_interval"]
        return metric_row(metric, report[key], f"95 % interval {low:.4f} to {high:.4f}{note}")

    narrow = evaluation.caveat(report["mean_iou_interval"], report["examples"])
    return [
        row("mean IoU", "mean_iou", f"{narrow}; median {report['median_iou']:.4f}"),
        row("box accuracy (IoU >= 0.5)", "box_accuracy", ""),
        row("localization accuracy", "localization_accuracy", "; correct class and box"),
        metric_row("localization error", report["localization_error"], "1 - localization accuracy"),
        *summary_rows(report),
    ]


def localization_class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row per class: the classification metrics and the mean IoU of its images."""
    rows = per_class_rows(report)
    return [row | {"mean IoU": value} for row, value in zip(rows, report["class_iou"], strict=True)]


def drawings(
    images: ImageCache,
    objects_rel_yxyx: np.ndarray,
    positions: np.ndarray,
    probabilities: np.ndarray,
    boxes_rel_yxyx: np.ndarray,
) -> list[DetectedImage]:
    """Returns images with their predicted box and class and the ground-truth box, for a gallery.

    Args:
        images: n images of one size.
        objects_rel_yxyx: ground-truth boxes, float [n, 4].
        positions: indices of the images to show, int [m].
        probabilities: predicted probabilities, float [m, classes].
        boxes_rel_yxyx: predicted boxes, float [m, 4].
    """
    names = images.dataset.class_names
    assert images.image_size is not None
    predicted = yxyx_from_relative(boxes_rel_yxyx, images.image_size)
    truth = yxyx_from_relative(objects_rel_yxyx[positions], images.image_size)
    return [
        DetectedImage(image, box[None], [names[row.argmax()]], row.max(keepdims=True), true_box[None])
        for image, box, row, true_box in zip(pixels(images, positions), predicted, probabilities, truth, strict=True)
    ]
