"""What a classifier is worth: accuracies with error bars, per-class scores, confusion and calibration. numpy alone."""

from tfeff.evaluation.calibration import Calibration, calibration
from tfeff.evaluation.classification import ClassificationReport, classification_report, top_k_accuracy
from tfeff.evaluation.confusion import PerClass, confusion_matrix, most_confused, per_class
from tfeff.evaluation.examples import confident_errors, confident_hits, uncertain
from tfeff.evaluation.interval import standard_error, wilson_interval

__all__ = [
    "Calibration",
    "ClassificationReport",
    "PerClass",
    "calibration",
    "classification_report",
    "confident_errors",
    "confident_hits",
    "confusion_matrix",
    "most_confused",
    "per_class",
    "standard_error",
    "top_k_accuracy",
    "uncertain",
    "wilson_interval",
]
