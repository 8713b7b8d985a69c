"""Evaluation report of a detector."""

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
from tfeff.reporting.detection import error_rows, per_class_rows, summary_rows


@dataclass(frozen=True, eq=False)
class DetectionReport:
    """Metrics of a detector on a split.

    Attributes:
        class_names: names of the classes.
        matching: all detections, matched by VOC's rules.
        mean_ap: VOC mean average precision (all points) at the matching's IoU threshold; NaN without objects.
        mean_ap_interval: 95 % bootstrap interval of `mean_ap` over images.
        mean_ap_eleven_point: mean average precision in the 11-point form of VOC 2007.
        ap: float64 [classes], average precision (all points); NaN for classes without objects.
        ap_eleven_point: float64 [classes], the same in the 11-point form.
        curves: precision-recall curve of each class.
        coco: COCO's metrics.
        score_threshold: minimum score of the detections in `at_threshold` and `confusion`.
        at_threshold: precision, recall, F1 and number of objects of each class.
        confusion: int64 [classes + 1, classes + 1], see `detection_confusion`; background is last.
        errors: error types of all false positives and missed objects, whatever their score.
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
        """The report as dicts, lists, strings and numbers, for JSON. Undefined values are None.

        Curves are sampled: the highest precision at recalls 0, 0.01, ..., 1 or above.
        """
        low, high = self.mean_ap_interval
        coco = {name: json_number(getattr(self.coco, name)) for name in METRICS}
        return {
            "class_names": list(self.class_names),
            "images": self.matching.images,
            "objects": self.matching.objects.tolist(),
            "detections": np.bincount(self.matching.label, minlength=len(self.class_names)).tolist(),
            "overlap": self.matching.iou_threshold,
            "mean_ap": json_number(self.mean_ap),
            "mean_ap_interval": [json_number(low), json_number(high)],
            "mean_ap_eleven_point": json_number(self.mean_ap_eleven_point),
            "ap": json_numbers(self.ap),
            "ap_eleven_point": json_numbers(self.ap_eleven_point),
            "coco": coco | {"ap_per_class": json_numbers(self.coco.ap_per_class)},
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
        """The report as tables for a terminal or a log, without a trailing newline."""
        report = self.to_dict()
        found = (
            f"{self.matching.images:,} images, {self.matching.objects.sum():,} objects, "
            f"{len(self.matching.score):,} detections"
        )
        overall, classes, errors = map(tables.text, (summary_rows(report), per_class_rows(report), error_rows(report)))
        at = f"Per class (precision, recall and F1 at a score threshold of {self.score_threshold:.4g})"
        return "\n\n".join([found, overall, f"{at}\n{classes}", errors])


def detection_report(
    detections: Sequence[Detections],
    objects: Sequence[GroundTruth],
    class_names: Sequence[str],
    *,
    iou_threshold: float = 0.5,
    score_threshold: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> DetectionReport:
    """Evaluates detections against the ground truth.

    Args:
        detections: detections of each image.
        objects: ground truth of each image.
        class_names: names of the classes.
        iou_threshold: minimum IoU of a true positive, for all metrics except COCO's.
        score_threshold: minimum score of the detections in precision, recall and the confusion matrix; None uses the
            threshold with the highest F1 on these images, which is optimistic.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Raises:
        UserError: there are no images, or as in `detections.validate`.
    """
    if not len(objects):
        raise UserError("no images to evaluate: the split is empty")
    classes = len(class_names)
    matching = match(detections, objects, classes, iou_threshold=iou_threshold)
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
    """Replaces NaN, which JSON lacks, by None."""
    return None if math.isnan(value) else value


def json_numbers(values: npt.NDArray[np.float64]) -> list[float | None]:
    """Applies `json_number` to each value."""
    return [json_number(value) for value in values.tolist()]
