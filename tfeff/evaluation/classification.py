"""Evaluation report of a classifier."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff.errors import UserError
from tfeff.evaluation.calibration import Calibration, calibration
from tfeff.evaluation.confusion import PerClass, confusion_matrix, per_class
from tfeff.evaluation.interval import standard_error, wilson_interval


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """Metrics of a classifier on a labeled split.

    Attributes:
        class_names: names of the classes.
        examples: number of examples.
        top1: top-1 accuracy.
        top1_standard_error: standard error of `top1`.
        top1_interval: 95 % Wilson interval of `top1`.
        top5: top-5 accuracy; 1 if there are at most five classes.
        balanced_accuracy: mean recall over the classes that have examples.
        macro_precision: mean precision over the classes that were predicted at least once.
        macro_f1: mean F1 over the classes that have examples or were predicted.
        log_loss: mean of -ln(probability of the true class), in nats.
        confusion: [classes, classes], true classes in rows, predicted classes in columns.
        per_class: precision, recall, F1 and support.
        calibration: reliability bins, expected and maximum calibration error.
    """

    class_names: tuple[str, ...]
    examples: int
    top1: float
    top1_standard_error: float
    top1_interval: tuple[float, float]
    top5: float
    balanced_accuracy: float
    macro_precision: float
    macro_f1: float
    log_loss: float
    confusion: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    per_class: PerClass
    calibration: Calibration

    def to_json(self) -> dict[str, Any]:
        """The report as dicts, lists, strings and numbers. Undefined scores are None."""
        return _plain(asdict(self))


def classification_report(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    weights: npt.ArrayLike | None = None,
    calibration_bins: int = 15,
) -> ClassificationReport:
    """Evaluates a classifier's probabilities against the true labels.

    In every metric, ties go to the class with the lower index, as with `argmax`.

    Args:
        labels: int [n], true classes in [0, classes).
        probabilities: float [n, classes], one distribution per row.
        class_names: names of the classes.
        weights: float [n], weight of each example (>= 0); None means 1 for all. Confidence intervals then use the
            effective number of examples, (sum w)² / sum w² (Kish 1965).
        calibration_bins: number of reliability bins.

    Raises:
        UserError: there are no examples, labels are out of range, shapes do not match, or rows are not distributions.
    """
    label, score = _checked(labels, probabilities, len(class_names))
    weight = None if weights is None else _checked_weights(weights, len(label))

    rank = _rank(label, score)
    correct = rank == 0
    top1 = float(np.average(correct, weights=weight))
    effective = len(label) if weight is None else weight.sum() ** 2 / np.square(weight).sum()
    matrix = confusion_matrix(label, score.argmax(axis=1), len(class_names), weight)
    scores = per_class(matrix)
    return ClassificationReport(
        class_names=tuple(class_names),
        examples=len(label),
        top1=top1,
        top1_standard_error=standard_error(top1, effective),
        top1_interval=wilson_interval(top1, effective),
        top5=float(np.average(rank < 5, weights=weight)),
        balanced_accuracy=float(np.nanmean(scores.recall)),
        macro_precision=float(np.nanmean(scores.precision)),
        macro_f1=float(np.nanmean(scores.f1)),
        log_loss=float(np.average(_negative_log_likelihood(label, score), weights=weight)),
        confusion=matrix,
        per_class=scores,
        calibration=calibration(score.max(axis=1), correct, calibration_bins, weight),
    )


def _rank(labels: npt.NDArray, scores: npt.NDArray) -> npt.NDArray[np.int64]:
    """int64 [n], number of classes ranked above the true class."""
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)
    tied_before = (scores == own) & (np.arange(scores.shape[1]) < labels[:, np.newaxis])
    return np.count_nonzero((scores > own) | tied_before, axis=1)


def _negative_log_likelihood(labels: npt.NDArray, scores: npt.NDArray) -> npt.NDArray[np.float64]:
    """float64 [n], -ln of the true class's probability, which is clipped at the dtype's epsilon."""
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)[:, 0]
    return -np.log(np.clip(own, np.finfo(scores.dtype).eps, 1.0).astype(np.float64))


def _checked(labels: npt.ArrayLike, probabilities: npt.ArrayLike, classes: int) -> tuple[npt.NDArray, npt.NDArray]:
    label, score = np.asarray(labels), np.asarray(probabilities)
    if not np.issubdtype(score.dtype, np.floating):
        score = score.astype(np.float64)
    if label.ndim != 1 or score.shape != (len(label), classes):
        raise UserError(
            f"labels have shape {label.shape} and probabilities {score.shape}; with {classes} class names they must be "
            f"(n,) and (n, {classes})"
        )
    if not len(label):
        raise UserError("no examples to evaluate: the split is empty")
    if not np.issubdtype(label.dtype, np.integer):
        raise UserError(f"labels must be integers in [0, {classes}), not {label.dtype}")
    _reject((label < 0) | (label >= classes), f"labels outside [0, {classes})", label)
    _reject(~np.isfinite(score).all(axis=1), "NaN or infinite predictions: the network has diverged")
    # The tolerance accepts bfloat16 rounding of long rows and rejects logits.
    sums = score.sum(axis=1, dtype=np.float64)
    invalid = (score < 0.0).any(axis=1) | (np.abs(sums - 1.0) > 2e-2)
    _reject(invalid, "predictions that are not probabilities >= 0 with a sum of 1 (are they logits?)", sums)
    return label, score


def _checked_weights(weights: npt.ArrayLike, examples: int) -> npt.NDArray[np.float64]:
    weight = np.asarray(weights, np.float64)
    if weight.shape != (examples,):
        raise UserError(f"weights have shape {weight.shape}; {examples} examples need ({examples},)")
    _reject(~(weight >= 0.0) | np.isinf(weight), "weights that are negative or not finite", weight)
    if not weight.sum():
        raise UserError("all weights are 0; at least one must be positive")
    return weight


def _reject(bad: npt.NDArray[np.bool_], what: str, values: npt.NDArray | None = None) -> None:
    if bad.any():
        first = int(bad.argmax())
        value = "" if values is None else f", {values[first]}"
        raise UserError(f"{int(bad.sum())} of {len(bad)} examples have {what} (first: example {first}{value})")


def _plain(value: Any) -> Any:
    """Converts arrays, tuples and NumPy scalars to lists and Python numbers, and NaN to None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
