"""Training on one device, several devices or several workers; checkpoints, TensorBoard, evaluation of a run."""

from tfeff.execution.workers import is_chief
from tfeff.training.evaluation import evaluate_again, evaluate_run, finish_run, split_images
from tfeff.training.experiment import objectives, train
from tfeff.training.findings import RunEvaluation, chosen_by_validation
from tfeff.training.plan import Plan, trained_model
from tfeff.training.progress import Reporter
from tfeff.training.range_test import range_test
from tfeff.training.tracking.mirror import finish_tracking
from tfeff.training.tracking.trackers import check_trackers
from tfeff.training.workdir import Workdir

__all__ = [
    "Plan",
    "Reporter",
    "RunEvaluation",
    "Workdir",
    "check_trackers",
    "chosen_by_validation",
    "evaluate_again",
    "evaluate_run",
    "finish_run",
    "finish_tracking",
    "is_chief",
    "objectives",
    "range_test",
    "split_images",
    "train",
    "trained_model",
]
