"""One report on a detector's detections."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff.errors import UserError
from tfeff.evaluation.average_precision import (
    PrecisionRecall,
    average_precisions,
    mean_average_precision,
    precision_recall,
)
from tfeff.evaluation.bootstrap import bootstrap_mean_average_precision, percentile_interval
from tfeff.evaluation.coco import METRICS, CocoScores, coco_scores
from tfeff.evaluation.confusion import PerClass, per_class
from tfeff.evaluation.detection_confusion import best_f1_threshold, detection_confusion
from tfeff.evaluation.detection_errors import KINDS, DetectionErrors, detection_errors
from tfeff.evaluation.detections import Detections, GroundTruth
from tfeff.evaluation.matching import Matching, match
from tfeff.reporting import tables


@dataclass(frozen=True, eq=False)
class DetectionReport:
    """What a detector is worth on some images.

    Attributes:
        class_names: name of each class.
        matching: every detection, judged by VOC's rules.
        mean_ap: VOC's mean average precision (all points) at the matching's overlap; NaN where no object counts.
        mean_ap_interval: 95 % bootstrap interval of `mean_ap` over images.
        mean_ap_eleven_point: the same measure in VOC 2007's form.
        ap: float64 [classes], average precision (all points); NaN for classes without objects, as in the next.
        ap_eleven_point: float64 [classes].
        curves: precision against recall, one a class.
        coco: COCO's figures.
        score_threshold: the score from which on detections are believed, for the next two.
        at_threshold: precision, recall, F1 of each class, and its number of objects.
        confusion: int64 [classes + 1, classes + 1], as `detection_confusion` says; background is last.
        errors: what is wrong with the wrong detections (all of them, whatever their score).
    """

    class_names: tuple[str, ...]
    matching: Matching
    mean_ap: float
    mean_ap_interval: tuple[float, float]
    mean_ap_eleven_point: float
    ap: npt.NDArray[np.float64]
    ap_eleven_point: npt.NDArray[np.float64]
    curves: tuple[PrecisionRecall, ...]
    coco: CocoScores
    score_threshold: float
    at_threshold: PerClass
    confusion: npt.NDArray[np.int64]
    errors: DetectionErrors

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers, for JSON; None stands where a figure is undefined.

        Curves are given as the best precision at recalls of 0, 0.01, ..., 1.
        """
        low, high = self.mean_ap_interval
        figures = {name: json_number(getattr(self.coco, name)) for name in METRICS}
        return {
            "class_names": list(self.class_names),
            "images": self.matching.images,
            "objects": self.matching.objects.tolist(),
            "detections": np.bincount(self.matching.label, minlength=len(self.class_names)).tolist(),
            "overlap": self.matching.overlap,
            "mean_ap": json_number(self.mean_ap),
            "mean_ap_interval": [json_number(low), json_number(high)],
            "mean_ap_eleven_point": json_number(self.mean_ap_eleven_point),
            "ap": json_numbers(self.ap),
            "ap_eleven_point": json_numbers(self.ap_eleven_point),
            "coco": figures | {"ap_per_class": json_numbers(self.coco.ap_per_class)},
            "score_threshold": self.score_threshold,
            "precision": json_numbers(self.at_threshold.precision),
            "recall": json_numbers(self.at_threshold.recall),
            "f1": json_numbers(self.at_threshold.f1),
            "confusion": self.confusion.tolist(),
            "errors": {
                kind: {"count": int(counts.sum()), "per_class": counts.tolist(), "gain": json_number(gain)}
                for kind, counts, gain in zip(KINDS, self.errors.counts, self.errors.gains.tolist(), strict=True)
            },
            "precision_at_recall": [json_numbers(curve.interpolated) for curve in self.curves],
        }

    def to_text(self) -> str:
        """The report as tables for a terminal or a log, without a newline at the end."""
        low, high = self.mean_ap_interval
        at = f"overlap {self.matching.overlap:g}"
        overall = [
            {"measure": f"VOC mAP, {at}", "value": self.mean_ap, "note": f"95 % interval {low:.4f} to {high:.4f}"},
            {"measure": f"VOC 2007 mAP, {at}", "value": self.mean_ap_eleven_point, "note": "eleven points"},
            *({"measure": _COCO_NAMES[name], "value": getattr(self.coco, name), "note": ""} for name in METRICS),
        ]
        columns = {
            "class": self.class_names,
            "objects": self.matching.objects.tolist(),
            "AP": self.ap.tolist(),
            "AP 2007": self.ap_eleven_point.tolist(),
            "COCO AP": self.coco.ap_per_class.tolist(),
            "precision": self.at_threshold.precision.tolist(),
            "recall": self.at_threshold.recall.tolist(),
            "F1": self.at_threshold.f1.tolist(),
        }
        of_classes = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        errors = [
            {"error": kind, "count": int(counts.sum()), "mAP gained if mended": gain}
            for kind, counts, gain in zip(KINDS, self.errors.counts, self.errors.gains.tolist(), strict=True)
        ]
        return "\n\n".join(
            [
                f"{self.matching.images} images, {self.matching.objects.sum()} objects, {len(self.matching.hit)} found",
                tables.text(overall),
                f"By class; precision, recall and F1 at a score of {self.score_threshold:.4g} or more:\n"
                + tables.text(of_classes),
                tables.text(errors),
            ]
        )


_COCO_NAMES = {
    "ap": "COCO AP",
    "ap50": "COCO AP, overlap 0.5",
    "ap75": "COCO AP, overlap 0.75",
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


def detection_report(
    detections: Sequence[Detections],
    objects: Sequence[GroundTruth],
    class_names: Sequence[str],
    *,
    overlap: float = 0.5,
    score_threshold: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> DetectionReport:
    """Measures detections against the objects that are there.

    Args:
        detections: of each image.
        objects: of each image, for instance `data.annotations.Objects`.
        class_names: name of each class.
        overlap: intersection over union from which on a box is right, for all but COCO's figures.
        score_threshold: from which score on detections are believed, for precision, recall and confusion; None takes
            the one with the best F1 on these very images.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        UserError: there are no images, or as `detections.check` says.
    """
    if not len(objects):
        raise UserError("no images to evaluate: the split is empty")
    classes = len(class_names)
    matching = match(detections, objects, classes, overlap=overlap)
    threshold = best_f1_threshold(matching) if score_threshold is None else score_threshold
    confusion = detection_confusion(matching, detections, objects, score_threshold=threshold)
    ap, eleven = average_precisions(matching), average_precisions(matching, eleven_point=True)
    with_background = per_class(confusion)
    return DetectionReport(
        class_names=tuple(class_names),
        matching=matching,
        mean_ap=float(mean_average_precision(ap)),
        mean_ap_interval=percentile_interval(
            bootstrap_mean_average_precision(matching, resamples=resamples, seed=seed)
        ),
        mean_ap_eleven_point=float(mean_average_precision(eleven)),
        ap=ap,
        ap_eleven_point=eleven,
        curves=tuple(precision_recall(matching, label) for label in range(classes)),
        coco=coco_scores(detections, objects, classes),
        score_threshold=threshold,
        at_threshold=PerClass(
            precision=with_background.precision[:classes],
            recall=with_background.recall[:classes],
            f1=with_background.f1[:classes],
            support=with_background.support[:classes],
        ),
        confusion=confusion,
        errors=detection_errors(matching, detections, objects),
    )


def json_number(value: float) -> float | None:
    """For JSON, which knows no NaN: None stands for it."""
    return None if math.isnan(value) else value


def json_numbers(values: npt.NDArray[np.float64]) -> list[float | None]:
    """`json_number` of each."""
    return [json_number(value) for value in values.tolist()]
