"""Training on one device, several devices or several workers; checkpoints, TensorBoard, evaluation of a run."""

from tfeff.training.assessment import Assessment, assess, conclude
from tfeff.training.build import trained_model
from tfeff.training.distribution import is_chief
from tfeff.training.experiment import metrics, train
from tfeff.training.progress import Reporter
from tfeff.training.range_test import range_test
from tfeff.training.workdir import Workdir

__all__ = [
    "Assessment",
    "Reporter",
    "Workdir",
    "assess",
    "conclude",
    "is_chief",
    "metrics",
    "range_test",
    "train",
    "trained_model",
]
