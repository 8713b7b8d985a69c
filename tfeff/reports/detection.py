"""Evaluation of detectors, and of R-CNN's regions. A report is `tfeff.evaluation.DetectionReport.to_dict`."""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff.boxes import iou
from tfeff.boxes.assignment import Regions
from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.input.batches import Batches
from tfeff.data.names import counted
from tfeff.evaluation import DetectionReport, Detections, caveat, detection_report
from tfeff.evaluation.classification import plain
from tfeff.evaluation.confusion import ConfusionMatrix, confusion_matrix, per_class
from tfeff.evaluation.detection_errors import BACKGROUND, BOTH, BOX, CLASS, DUPLICATE, NO_ERROR
from tfeff.evaluation.matching import image_quality, worst_first
from tfeff.rcnn.regions import RegionSet, proposal_recall
from tfeff.rcnn.task import BACKGROUND_RECALL, CALLED_BACKGROUND, REGION_THRESHOLD, background_rates, classified_regions
from tfeff.reporting import tables
from tfeff.reporting.box_drawing import DetectedImage
from tfeff.reporting.classification import confusion_figure, per_class_figure
from tfeff.reporting.detection import ERROR_NAMES, detection_errors_figure, precision_recall_figure
from tfeff.reporting.figure import known
from tfeff.reporting.gallery import LEGEND, detection_gallery_figure
from tfeff.reports.evaluator import Evaluation, Evaluator, Picture, metric_row, short_names
from tfeff.tasks.object_detection import MEAN_AP, THRESHOLD, detection_threshold, detections, whole_images
from tfeff.tasks.task import Predictions

GALLERY_IMAGES = 6
"""Maximum number of images in a gallery."""
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


OUTCOMES = {
    NO_ERROR: "right",
    CLASS: "wrong class",
    BOX: "wrong box",
    BOTH: "wrong class and box",
    DUPLICATE: "duplicate",
    BACKGROUND: "nothing there",
}
"""Types of detections in words."""
NOT_FOUND = "not found"
"""Outcome of an object without a right detection. It is a `missed` error only if no wrong detection aims at it."""
VALIDATED = "score_threshold_validated"
"""Whether the score threshold is the one with the highest F1 on the validation images, not the default."""


class DetectionEvaluator(Evaluator):
    """Evaluator of what `tfeff.tasks.object_detection.detections` reads."""

    main = MEAN_AP
    captions: Mapping[str, str] = {
        "errors": "Types of errors at the score threshold, and the gain in mAP if all of a type were fixed.",
        "confusion": "True classes in rows, predicted classes in columns; background: not found, or nothing there.",
        "precision_recall": "Precision against recall of each class, over all score thresholds.",
        "per_class": "Precision and recall of each class at the score threshold, the lowest F1 first.",
    }

    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        """Computes a `DetectionReport`, with figures and galleries of the best and worst images.

        The score threshold is that of the exported model. The report says whether validation images chose it.
        """
        threshold = detection_threshold(validated)
        found, images = whole_images(detections(predictions), pipeline.images.dataset)
        evaluation = evaluate_detections(found, images, threshold)
        # A mean average precision of 0 means that nothing was found on them.
        evaluation.report[VALIDATED] = THRESHOLD in validated and validated.get(MEAN_AP) != 0.0
        return evaluation

    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Returns metrics over all images, per class, and types of errors."""
        return summary_rows(report), tables.worst_classes(per_class_rows(report), "AP"), error_rows(report)

    def answer(self, report: Mapping[str, Any]) -> str:
        """See `Evaluator`."""
        confusion = ConfusionMatrix.from_json(report["confusion"])
        found, objects = confusion.correct.sum(), sum(report["objects"])
        wrong = confusion.predictions[:-1].sum() - found  # background is last
        at = f"at a score of at least {report['score_threshold']:.3g}"
        if not report[VALIDATED]:
            at += " (the default, because there are no validation images or nothing was found on them)"
        return (
            f"{found:,} of {counted(objects, 'objects')} found on {report['images']:,} {report['split']} images, and "
            f"{counted(wrong, 'wrong detections')}, {at}; mAP "
            f"{tables.cell(report['mean_ap'])} ({_interval(report)})"
        )

    def scalars(self, report: Mapping[str, Any]) -> dict[str, float]:
        """Returns the mean average precision of VOC and of COCO."""
        return _defined({MEAN_AP: report["mean_ap"], "coco_ap": report["coco"]["ap"]})

    def class_scalars(self, report: Mapping[str, Any]) -> dict[str, float | None]:
        """Returns the average precision of each class."""
        return {f"ap/{row['class']}": row["AP"] for row in per_class_rows(report)}

    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the mean average precision of VOC, with its interval, and of COCO."""
        return {
            MEAN_AP: report["mean_ap"],
            "mean_ap_interval": report["mean_ap_interval"],
            "coco_ap": report["coco"]["ap"],
            THRESHOLD: report["score_threshold"],
        }


def evaluate_detections(found: Sequence[Detections], images: Dataset, score_threshold: float) -> Evaluation:
    """Computes a `DetectionReport`, with figures and galleries of the best and worst images.

    Raises:
        UserError: as in `detection_report`.
    """
    report = detection_report(found, images.objects, images.class_names, score_threshold=score_threshold)

    @functools.cache
    def decoded(image: int) -> np.ndarray:
        return decoding.decode(images.encoded(image), images.ids[image])

    results = report.to_dict()
    shown = galleries(report, found, images, decoded)
    figures = {
        name: detection_gallery_figure(
            [image for image, _ in each], [caption for _, caption in each], title=_TITLES[name].capitalize()
        )
        for name, each in shown.items()
    }
    pictures = {
        f"{_TITLES[name].capitalize()}: {LEGEND}": [Picture(image.draw(), [caption]) for image, caption in each]
        for name, each in shown.items()
    }
    return Evaluation(
        results,
        detection_figures(results) | figures,
        pictures,
        predicted_rows(report, found, images),
        worst_images(report, images),
    )


def predicted_rows(report: DetectionReport, found: Sequence[Detections], images: Dataset) -> list[dict[str, Any]]:
    """Returns one row for each detection at the score threshold, the highest score of an image first, and each object
    that was not found; images with neither have a row without a truth and a prediction.

    Difficult objects and crowds, and detections of these, are left out.
    """
    matching, errors, names = report.matching, report.errors, images.class_names
    rows: list[list[dict[str, Any]]] = [[] for _ in range(len(images))]

    def row(image: int, box_yxyx: np.ndarray, truth: int, outcome: str, **prediction: Any) -> None:
        box = dict(zip(("top", "left", "bottom", "right"), np.round(box_yxyx, 1).tolist(), strict=True))
        known = {"image": images.ids[image], "truth": names[truth] if truth >= 0 else "", "prediction": ""}
        rows[image].append({**known, "outcome": outcome, **prediction, **box})

    accepted = (matching.score >= report.score_threshold) & ~matching.ignored
    for number in np.flatnonzero(accepted):
        kind, image = int(errors.kind[number]), int(matching.image[number])
        target = matching.best_object[number] if kind == NO_ERROR else errors.target[number]
        box, overlap = found[image].boxes_yxyx[matching.index[number]], None
        if kind in (NO_ERROR, BOX):
            shown = images.objects[image].boxes_yxyx[matching.object_index[target]]
            overlap = round(float(iou(box[None], shown[None])[0, 0]), 4)
        row(
            image,
            box,
            int(matching.object_label[target]) if target >= 0 else -1,
            OUTCOMES[kind],
            prediction=names[matching.label[number]],
            score=round(float(matching.score[number]), 4),
            iou=overlap,
        )
    for number in np.flatnonzero(_not_found(report)):
        image = int(matching.object_image[number])
        box = images.objects[image].boxes_yxyx[matching.object_index[number]]
        row(image, box, int(matching.object_label[number]), NOT_FOUND)
    for image, name in enumerate(images.ids):
        if not rows[image]:
            rows[image].append({"image": name, "truth": "", "prediction": "", "outcome": "right"})
    return [each for image in rows for each in image]


def _not_found(report: DetectionReport) -> np.ndarray:
    """Returns bool [objects]: without a correct detection at the score threshold."""
    matching = report.matching
    found = matching.best_object[(matching.score >= report.score_threshold) & matching.true_positive]
    missing: np.ndarray = matching.object_counted.copy()
    missing[found] = False
    return missing


def _image_counts(report: DetectionReport) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the numbers of right detections, wrong detections and objects of each image, int64 [images]."""
    matching, accepted = report.matching, report.matching.score >= report.score_threshold
    right = np.bincount(matching.image[accepted & matching.true_positive], minlength=matching.images)
    wrong = np.bincount(matching.image[accepted & matching.false_positive], minlength=matching.images)
    objects = np.bincount(matching.object_image[matching.object_counted], minlength=matching.images)
    return right, wrong, objects


def worst_images(report: DetectionReport, images: Dataset) -> list[str]:
    """Returns the images with the most errors in a line each, the worst first."""
    right, wrong, objects = _image_counts(report)
    names = short_names(images.ids)
    order = [int(image) for image in worst_first(image_quality(report.matching, report.score_threshold))]
    return [
        f"{names[images.ids[image]]}: {right[image]} of {counted(objects[image], 'objects')} found, "
        f"{counted(wrong[image], 'wrong detections')}"
        for image in order
        if wrong[image] or right[image] < objects[image]
    ]


def summary_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row per metric over all images: name, value and a note."""
    capped, difficult, limit = report["coco"]["capped"], difficult_note(report["coco"]), ""
    if capped:
        limit = f"at most 100 detections of a class count per image; {counted(capped, 'images')} with more objects"
    return [
        metric_row(f"VOC mAP, IoU {report['overlap']:g}", report["mean_ap"], _interval(report)),
        metric_row(f"VOC 2007 mAP, IoU {report['overlap']:g}", report["mean_ap_eleven_point"], "11-point"),
        *(
            metric_row(
                name,
                report["coco"][key],
                "; ".join(filter(None, ["" if key in ("ar1", "ar10") else limit, difficult])),
            )
            for key, name in _COCO_NAMES.items()
        ),
    ]


def _interval(report: Mapping[str, Any]) -> str:
    """Returns the interval of the mean average precision, and whether it is too narrow."""
    interval = report["mean_ap_interval"]
    ends = " to ".join(tables.cell(end) for end in interval)
    return f"95 % interval {ends}{caveat(interval, report['images_with_objects'], report['class_images'])}"


def difficult_note(coco: Mapping[str, Any]) -> str:
    """Returns a note if difficult objects count in COCO's metrics; empty if there are none."""
    return (
        f"counts {counted(coco['difficult'], 'difficult objects')} as objects to be found" if coco["difficult"] else ""
    )


def per_class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row per class; precision, recall and F1 are those at the score threshold of the report."""
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
    """Returns one row per type of error: at the score threshold, and of all detections, whose correction gains mAP."""
    at = f"at score {report['score_threshold']:.3g}"
    return [
        {
            "error type": ERROR_NAMES[kind],
            at: error["count_at_threshold"],
            "at any score": error["count"],
            "mAP gain if fixed, points": f"{100 * error['gain']:.1f}" if known(error["gain"]) else None,
        }
        for kind, error in report["errors"].items()
    ]


def detection_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Returns the figures `precision_recall`, `confusion`, `per_class` and `errors`, by name."""
    names, at = report["class_names"], f"score threshold {report['score_threshold']:.3g}"
    return {
        "precision_recall": precision_recall_figure(
            names,
            report["precision_at_recall"],
            report["ap"],
            report["objects"],
            title=f"Precision-recall curves, IoU {report['overlap']:g}",
        ),
        "confusion": confusion_figure(report["confusion"], names, background=True, title=f"Confusion matrix, {at}"),
        "per_class": per_class_figure(
            names,
            report["precision"],
            report["recall"],
            report["f1"],
            report["objects"],
            title=f"Precision and recall per class, {at}",
        ),
        "errors": detection_errors_figure(
            {
                kind: {"count": error["count_at_threshold"], "gain": error["gain"]}
                for kind, error in report["errors"].items()
            },
            title=f"Error types, {at}",
        ),
    }


_TITLES = {"worst": "worst images", "best": "best images", "not_found": "objects not found"}


def galleries(
    report: DetectionReport, found: Sequence[Detections], images: Dataset, decoded: Callable[[int], np.ndarray]
) -> dict[str, list[tuple[DetectedImage, str]]]:
    """Returns the best and worst images and objects that were not found, with captions.

    Args:
        decoded: returns the pixels of an image.

    Returns:
        `worst`, `best` and, if there are such objects, `not_found`.
    """
    names, short = images.class_names, short_names(images.ids)
    right, wrong, objects = _image_counts(report)

    def detected(image: int) -> DetectedImage:
        confident = found[image].take(found[image].scores >= report.score_threshold)
        return DetectedImage(
            image=decoded(image),
            boxes_yxyx=confident.boxes_yxyx,
            names=[names[label] for label in confident.labels],
            scores=confident.scores,
            objects_yxyx=images.objects[image].boxes_yxyx,
        )

    def described(image: int) -> str:
        return f"{short[images.ids[image]]}: {right[image]} of {objects[image]} found, {wrong[image]} wrong"

    order = worst_first(image_quality(report.matching, report.score_threshold))
    shown = {
        title: [(detected(image), described(image)) for image in chosen.tolist()]
        for title, chosen in (("worst", order[:GALLERY_IMAGES]), ("best", order[::-1][:GALLERY_IMAGES]))
    }
    matching, missing = report.matching, list[tuple[DetectedImage, str]]()
    for number in _of_all_images(report, np.flatnonzero(_not_found(report)))[:GALLERY_IMAGES]:
        image = int(matching.object_image[number])
        view = detected(image).crop(images.objects[image].boxes_yxyx[matching.object_index[number]])
        missing.append((view, f"{names[matching.object_label[number]]} in {short[images.ids[image]]}"))
    return {**shown, "not_found": missing} if missing else shown


def _of_all_images(report: DetectionReport, objects: np.ndarray) -> np.ndarray:
    """Returns numbers of objects in another order: one of each image before a second one, and likewise of classes."""
    of_image = _earlier(report.matching.object_image[objects])
    return objects[np.lexsort((_earlier(report.matching.object_label[objects]), of_image))]


def _earlier(values: np.ndarray) -> list[int]:
    """Returns how many values before each one are equal to it."""
    seen = Counter[int]()
    counts = []
    for value in values.tolist():
        counts.append(seen[value])
        seen[value] += 1
    return counts


REGION_METRICS = ("accuracy", CALLED_BACKGROUND, BACKGROUND_RECALL)
"""Metrics of all regions; see `region_report`."""


class RegionDetectionEvaluator(DetectionEvaluator):
    """Evaluator of an `RCNNTask`, which adds `regions` and `proposal_recall` to the report of detections.

    `proposal_recall` is the share of objects covered by a proposal, which bounds the recall. Regions whose best score
    is below `region_threshold` are background; without validation images, it is None, and the head decides.
    """

    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        """See the class."""
        evaluation = super().evaluate(predictions, pipeline, validated)
        scores, labels, background, targets = classified_regions(predictions, pipeline)
        regions: RegionSet = pipeline.regions  # type: ignore[attr-defined]
        classes = regions.images.num_classes
        threshold = validated.get(REGION_THRESHOLD)
        if threshold is not None:
            background = scores < threshold
        predicted = np.where(background, classes, labels)
        evaluation.report[REGION_THRESHOLD] = threshold
        evaluation.report["proposal_recall"] = proposal_recall(regions.images.objects, regions.proposals)
        evaluation.report["regions"] = region_report(predicted, targets, classes)
        return evaluation

    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """See `DetectionEvaluator`; adds those of regions."""
        regions, threshold = report["regions"], report[REGION_THRESHOLD]
        overall = {
            "proposal recall": report["proposal_recall"],
            "object accuracy": regions["accuracy"],
            "objects as background": regions["called_background"],
            "background recall": regions["background_recall"],
            "background if": "the head says so" if threshold is None else f"score < {threshold:.3g}",
        }
        columns = report["class_names"], regions["object_precision"], regions["object_recall"]
        names = "class", "object precision", "object recall"
        by_class = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return *super().tables(report), [overall], tables.worst_classes(by_class, "object recall")

    def scalars(self, report: Mapping[str, Any]) -> dict[str, float]:
        """See `DetectionEvaluator`; adds those of regions."""
        regions = report["regions"]
        return super().scalars(report) | _defined({name: regions[name] for name in REGION_METRICS})

    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """See `DetectionEvaluator`; adds that of regions."""
        return {**super().result(report), "proposal_recall": report["proposal_recall"], **report["regions"]}


def _defined(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def region_report(predicted: np.ndarray, targets: Regions, classes: int) -> dict[str, Any]:
    """Returns metrics of predicted classes, JSON-ready; None for those without regions.

    Args:
        predicted: int [n], the class of each region, `classes` for background.

    Returns:
        `accuracy`: share of objects whose own box gets their class; `called_background` and `background_recall`: see
        `rcnn.task.background_rates`; `object_precision` and `object_recall` by class, on the objects' own boxes.
    """
    objects, labels = predicted[targets.is_object], targets.label[targets.is_object]
    scores = per_class(confusion_matrix(labels, objects, classes + 1))
    with np.errstate(invalid="ignore"):
        values = {
            "accuracy": (objects == labels).mean(),
            **background_rates(predicted == classes, targets),
            "object_precision": scores.precision[:classes],
            "object_recall": scores.recall[:classes],
        }
    return plain(values)
