"""Evaluation report of a detector."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
from tfeff.evaluation.bootstrap import average_precision_interval, bootstrap_average_precisions
from tfeff.evaluation.classification import plain
from tfeff.evaluation.coco import coco_scores
from tfeff.evaluation.confusion import ConfusionMatrix, PerClass, per_class
from tfeff.evaluation.detection_errors import (
    KINDS,
    DetectionErrors,
    best_f1_threshold,
    detection_confusion,
    detection_errors,
)
from tfeff.evaluation.matching import Detections, GroundTruth, Matching, match


@dataclass(frozen=True, eq=False)
class DetectionReport:
    """Metrics of a detector on a split.

    Attributes:
        matching: all detections, matched by VOC's rules.
        mean_ap: VOC mean average precision (all points) at the matching's IoU threshold; NaN without objects.
        mean_ap_interval: 95 % bootstrap interval of `mean_ap` over images, see `average_precision_interval`.
        resampled_ap: float64 [resamples, classes], `ap` on the resamples, which are paired between detectors on the
            same images.
        mean_ap_eleven_point: mean average precision in the 11-point form of VOC 2007.
        ap: float64 [classes], average precision (all points); NaN for classes without objects.
        ap_eleven_point: float64 [classes], the same in the 11-point form.
        score_threshold: minimum score of the detections in `at_threshold` and `confusion`.
        at_threshold: precision, recall, F1 and number of objects of each class.
        confusion: of classes + 1 classes, see `detection_confusion`; background is last.
        errors: error types of all false positives and missed objects, whatever their score.
    """

    class_names: tuple[str, ...]
    matching: Matching
    mean_ap: float
    mean_ap_interval: tuple[float, float]
    resampled_ap: npt.NDArray[np.float64]
    mean_ap_eleven_point: float
    ap: npt.NDArray[np.float64]
    ap_eleven_point: npt.NDArray[np.float64]
    curves: tuple[PrecisionRecall, ...]
    coco: Mapping[str, Any]
    score_threshold: float
    at_threshold: PerClass
    confusion: ConfusionMatrix
    errors: DetectionErrors

    @property
    def resampled_mean_ap(self) -> npt.NDArray[np.float64]:
        """float64 [resamples], `mean_ap` on the resamples; NaN without objects."""
        return mean_average_precision(self.resampled_ap)

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as dicts, lists, strings and numbers, for JSON. Undefined values are None.

        Curves are sampled: the highest precision at recalls 0, 0.01, ..., 1 or above.
        """
        at = self.at_threshold
        values = {
            "class_names": self.class_names,
            "images": self.matching.images,
            "images_with_objects": self.matching.images_with_objects,
            "class_images": self.matching.class_images,
            "objects": self.matching.objects,
            "detections": np.bincount(self.matching.label, minlength=len(self.class_names)),
            "overlap": self.matching.iou_threshold,
            "mean_ap": self.mean_ap,
            "mean_ap_interval": self.mean_ap_interval,
            "mean_ap_eleven_point": self.mean_ap_eleven_point,
            "ap": self.ap,
            "ap_eleven_point": self.ap_eleven_point,
            "coco": self.coco,
            "score_threshold": self.score_threshold,
            "precision": at.precision,
            "recall": at.recall,
            "f1": at.f1,
            "confusion": asdict(self.confusion),
            "errors": {
                kind: {"count": counts.sum(), "count_at_threshold": at_threshold, "per_class": counts, "gain": gain}
                for kind, counts, at_threshold, gain in zip(
                    KINDS,
                    self.errors.counts,
                    self.errors.counts_at(self.matching, self.score_threshold),
                    self.errors.gains,
                    strict=True,
                )
            },
            "precision_at_recall": [curve.interpolated for curve in self.curves],
        }
        return plain(values)


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
        iou_threshold: minimum IoU of a true positive, for all metrics except COCO's.
        score_threshold: minimum score of the detections in precision, recall and the confusion matrix; None uses the
            threshold with the highest F1 on these images, which is optimistic.

    Raises:
        UserError: there are no images, or as in `matching.validate`.
    """
    return detection_reports(
        [detections],
        objects,
        class_names,
        iou_threshold=iou_threshold,
        score_thresholds=[score_threshold],
        resamples=resamples,
        seed=seed,
    )[0]


def detection_reports(
    detections: Sequence[Sequence[Detections]],
    objects: Sequence[GroundTruth],
    class_names: Sequence[str],
    *,
    iou_threshold: float = 0.5,
    score_thresholds: Sequence[float | None],
    resamples: int = 1000,
    seed: int = 0,
) -> list[DetectionReport]:
    """Evaluates several detectors on the same images, whose resamples are drawn once.

    Arguments and errors are those of `detection_report`, with detections and score threshold of each detector.
    """
    if not len(objects):
        raise UserError("no images to evaluate: the split is empty")
    matchings = [match(each, objects, len(class_names), iou_threshold=iou_threshold) for each in detections]
    resampled = bootstrap_average_precisions(matchings, resamples=resamples, seed=seed)
    return [
        _report(matching, each, objects, class_names, threshold, values)
        for matching, each, threshold, values in zip(matchings, detections, score_thresholds, resampled, strict=True)
    ]


def _report(
    matching: Matching,
    detections: Sequence[Detections],
    objects: Sequence[GroundTruth],
    class_names: Sequence[str],
    score_threshold: float | None,
    resampled: npt.NDArray[np.float64],
) -> DetectionReport:
    classes = len(class_names)
    threshold = best_f1_threshold(matching) if score_threshold is None else score_threshold
    confusion = detection_confusion(matching, detections, objects, score_threshold=threshold)
    ap, eleven = average_precisions(matching), average_precisions(matching, eleven_point=True)
    with_background = per_class(confusion)
    return DetectionReport(
        class_names=tuple(class_names),
        matching=matching,
        mean_ap=float(mean_average_precision(ap)),
        mean_ap_interval=average_precision_interval(resampled, ap, matching.images_with_objects),
        resampled_ap=resampled,
        mean_ap_eleven_point=float(mean_average_precision(eleven)),
        ap=ap,
        ap_eleven_point=eleven,
        curves=tuple(precision_recall(matching)),
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
