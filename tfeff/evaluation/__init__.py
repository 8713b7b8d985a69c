"""Metrics of classifiers and detectors: accuracy, average precision, confidence intervals, per-class scores, confusion
matrices, calibration and error types. Everything uses only NumPy, except the COCO metrics (pycocotools)."""

from tfeff.evaluation.average_precision import (
    PrecisionRecall,
    average_precisions,
    mean_average_precision,
    precision_recall,
)
from tfeff.evaluation.bootstrap import (
    bootstrap_mean,
    bootstrap_mean_average_precision,
    bootstrap_share_below,
    percentile_interval,
)
from tfeff.evaluation.calibration import Calibration, calibration, temperature
from tfeff.evaluation.classification import ClassificationReport, classification_report
from tfeff.evaluation.coco import CocoScores, coco_scores, to_coco_results
from tfeff.evaluation.confusion import ConfusedPair, PerClass, confused_pairs, confusion_matrix, per_class
from tfeff.evaluation.detection import DetectionReport, detection_report
from tfeff.evaluation.detection_confusion import best_f1_threshold, detection_confusion
from tfeff.evaluation.detection_errors import DetectionErrors, detection_errors
from tfeff.evaluation.detections import Detections, GroundTruth
from tfeff.evaluation.examples import confident_errors, hardest, least_certain
from tfeff.evaluation.image_quality import image_quality, worst_first
from tfeff.evaluation.interval import standard_error, wilson_interval
from tfeff.evaluation.label_errors import LabelErrors, label_errors
from tfeff.evaluation.localization import LocalizationReport, localization_report
from tfeff.evaluation.matching import Matching, match
from tfeff.evaluation.paired import PairedAccuracy, holm, paired_accuracy
from tfeff.evaluation.predictions_matrix import PredictionsMatrix, predictions_matrix
from tfeff.evaluation.principal_components import PrincipalComponents, principal_components

__all__ = [
    "Calibration",
    "ClassificationReport",
    "CocoScores",
    "ConfusedPair",
    "DetectionErrors",
    "DetectionReport",
    "Detections",
    "GroundTruth",
    "LabelErrors",
    "LocalizationReport",
    "Matching",
    "PairedAccuracy",
    "PerClass",
    "PrecisionRecall",
    "PredictionsMatrix",
    "PrincipalComponents",
    "average_precisions",
    "best_f1_threshold",
    "bootstrap_mean",
    "bootstrap_mean_average_precision",
    "bootstrap_share_below",
    "calibration",
    "classification_report",
    "coco_scores",
    "confident_errors",
    "confused_pairs",
    "confusion_matrix",
    "detection_confusion",
    "detection_errors",
    "detection_report",
    "hardest",
    "holm",
    "image_quality",
    "label_errors",
    "least_certain",
    "localization_report",
    "match",
    "mean_average_precision",
    "paired_accuracy",
    "per_class",
    "percentile_interval",
    "precision_recall",
    "predictions_matrix",
    "principal_components",
    "standard_error",
    "temperature",
    "to_coco_results",
    "wilson_interval",
    "worst_first",
]
