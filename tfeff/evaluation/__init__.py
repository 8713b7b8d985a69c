"""Metrics of classifiers, detectors and vectors: accuracy, average precision, confidence intervals, per-class scores,
confusion matrices, calibration, error types, nearest neighbors and verification. Everything uses only NumPy and
SciPy."""

from tfeff.evaluation.average_precision import average_precisions, mean_average_precision
from tfeff.evaluation.bootstrap import (
    bootstrap_average_precisions,
    bootstrap_mean,
    bootstrap_p_value,
    caveat,
    percentile_interval,
)
from tfeff.evaluation.classification import ClassificationReport, calibration, classification_report, temperature
from tfeff.evaluation.coco import bootstrap_coco_ap, coco_scores, images_by_size, to_coco_results
from tfeff.evaluation.confusion import ConfusionMatrix, confused_pairs, confusion_matrix, per_class
from tfeff.evaluation.detection import DetectionReport, detection_report, detection_reports
from tfeff.evaluation.detection_errors import best_f1_threshold, detection_errors
from tfeff.evaluation.embedding import EmbeddingReport, embedding_report, gallery_accuracy
from tfeff.evaluation.label_errors import LabelErrors, confident_errors, hardest, label_errors, least_certain
from tfeff.evaluation.localization import LocalizationReport, localization_report
from tfeff.evaluation.matching import Detections, image_quality, match
from tfeff.evaluation.one_versus_rest import OneVersusRest, one_versus_rest
from tfeff.evaluation.paired import (
    PredictionsMatrix,
    holm,
    paired_accuracy,
    predictions_matrix,
    principal_components,
    standard_error,
    wilson_interval,
)
from tfeff.evaluation.retrieval import contrastive_loss
from tfeff.evaluation.unknown import unknown_threshold, unknown_thresholds
from tfeff.evaluation.verification import equal_error_threshold, pairs_of

__all__ = [
    "ClassificationReport",
    "ConfusionMatrix",
    "DetectionReport",
    "Detections",
    "EmbeddingReport",
    "LabelErrors",
    "LocalizationReport",
    "OneVersusRest",
    "PredictionsMatrix",
    "average_precisions",
    "best_f1_threshold",
    "bootstrap_average_precisions",
    "bootstrap_coco_ap",
    "bootstrap_mean",
    "bootstrap_p_value",
    "calibration",
    "caveat",
    "classification_report",
    "coco_scores",
    "confident_errors",
    "confused_pairs",
    "confusion_matrix",
    "contrastive_loss",
    "detection_errors",
    "detection_report",
    "detection_reports",
    "embedding_report",
    "equal_error_threshold",
    "gallery_accuracy",
    "hardest",
    "holm",
    "image_quality",
    "images_by_size",
    "label_errors",
    "least_certain",
    "localization_report",
    "match",
    "mean_average_precision",
    "one_versus_rest",
    "paired_accuracy",
    "pairs_of",
    "per_class",
    "percentile_interval",
    "predictions_matrix",
    "principal_components",
    "standard_error",
    "temperature",
    "to_coco_results",
    "unknown_threshold",
    "unknown_thresholds",
    "wilson_interval",
]
