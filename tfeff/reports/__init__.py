"""Evaluation of each kind of prediction: numbers, tables, figures and galleries."""

from tfeff.errors import UserError
from tfeff.rcnn.task import REGIONS_DETECTION
from tfeff.reports.classification import ClassificationEvaluator, LocalizationEvaluator
from tfeff.reports.detection import DetectionEvaluator, RegionDetectionEvaluator
from tfeff.reports.embedding import EmbeddingEvaluator
from tfeff.reports.evaluator import Evaluation, Evaluator, Picture
from tfeff.tasks.task import CLASSIFICATION, DETECTION, EMBEDDING, LOCALIZATION, PredictionKind

__all__ = ["EVALUATORS", "Evaluation", "Evaluator", "Picture", "evaluator"]

EVALUATORS: dict[str, Evaluator] = {
    CLASSIFICATION.name: ClassificationEvaluator(),
    EMBEDDING.name: EmbeddingEvaluator(),
    LOCALIZATION.name: LocalizationEvaluator(),
    DETECTION.name: DetectionEvaluator(),
    REGIONS_DETECTION.name: RegionDetectionEvaluator(),
}
"""Name of a kind of prediction -> its evaluator. The module of a task with a kind of its own adds a line."""


def evaluator(kind: PredictionKind) -> Evaluator:
    """Returns the evaluator of a kind of prediction.

    Raises:
        UserError: there is none.
    """
    if kind.name not in EVALUATORS:
        raise UserError(
            f"the task predicts {kind.name!r}, which has no evaluator; add one to tfeff.reports.EVALUATORS, or use the "
            f"kind of another task: {', '.join(EVALUATORS)}"
        )
    return EVALUATORS[kind.name]
