"""One report on a classifier's predictions."""

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
    """What a classifier is worth on one set of labelled examples.

    Attributes:
        class_names: name of each class.
        examples: number of examples.
        top1: share of examples whose most probable class is the true one.
        top1_standard_error: standard error of `top1`.
        top1_interval: 95 % Wilson interval of `top1`.
        top5: share of examples whose true class is among the five most probable; 1 where there are five or fewer.
        balanced_accuracy: mean recall over the classes present.
        macro_precision: mean precision over the classes predicted at least once.
        macro_f1: mean F1 over the classes present or predicted.
        log_loss: mean of -ln(probability of the true class), in nats.
        confusion: [classes, classes], rows are true classes and columns predicted ones.
        per_class: precision, recall, F1 and support of each class.
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
        """The report as plain dicts, lists, strings and numbers; None stands where a score is undefined."""
        return _plain(asdict(self))


def classification_report(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    weights: npt.ArrayLike | None = None,
    calibration_bins: int = 15,
) -> ClassificationReport:
    """Scores a classifier's probabilities against the true labels.

    Where classes tie, the one with the lower index is taken as the more probable, as `argmax` does, in every score.

    Args:
        labels: int [n], true classes in [0, classes).
        probabilities: float [n, classes], one distribution a row.
        class_names: name of each class.
        weights: float [n], what each example counts (>= 0); None counts every one as 1. Error bars then use the
            effective number of examples, (sum w)² / sum w² (Kish 1965).
        calibration_bins: number of reliability bins.

    Raises:
        UserError: there are no examples, labels lie out of range, shapes disagree, or the probabilities are none.
    """
    label, score = _checked(labels, probabilities, len(class_names))
    weight = None if weights is None else _checked_weights(weights, len(label))

    rank = _rank(label, score)
    hit = rank == 0
    top1 = float(np.average(hit, weights=weight))
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
        log_loss=float(np.average(_surprise(label, score), weights=weight)),
        confusion=matrix,
        per_class=scores,
        calibration=calibration(score.max(axis=1), hit, calibration_bins, weight),
    )


def _rank(labels: npt.NDArray, scores: npt.NDArray) -> npt.NDArray[np.int64]:
    """int64 [n], how many classes come before the true one."""
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)
    tied_before = (scores == own) & (np.arange(scores.shape[1]) < labels[:, np.newaxis])
    return np.count_nonzero((scores > own) | tied_before, axis=1)


def _surprise(labels: npt.NDArray, scores: npt.NDArray) -> npt.NDArray[np.float64]:
    """float64 [n], -ln of the true class's probability; one that underflowed to 0 counts as the dtype's epsilon."""
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)[:, 0]
    return -np.log(np.clip(own, np.finfo(scores.dtype).eps, 1.0).astype(np.float64))


def _checked(labels: npt.ArrayLike, probabilities: npt.ArrayLike, classes: int) -> tuple[npt.NDArray, npt.NDArray]:
    label, score = np.asarray(labels), np.asarray(probabilities)
    if not np.issubdtype(score.dtype, np.floating):
        score = score.astype(np.float64)
    if label.ndim != 1 or score.shape != (len(label), classes):
        raise UserError(
            f"labels {label.shape} and probabilities {score.shape} do not fit {classes} class names: "
            f"shapes (n,) and (n, {classes}) would"
        )
    if not len(label):
        raise UserError("no examples to evaluate: the split is empty")
    if not np.issubdtype(label.dtype, np.integer):
        raise UserError(f"labels are {label.dtype}: integers in [0, {classes}) would be right")
    _refuse_rows((label < 0) | (label >= classes), f"labels out of range [0, {classes})", label)
    _refuse_rows(~np.isfinite(score).all(axis=1), "predictions that are NaN or infinite: the network has diverged")
    # The tolerance lets bfloat16 rounding of a long row pass and stops logits.
    sums = score.sum(axis=1, dtype=np.float64)
    unlike = (score < 0.0).any(axis=1) | (np.abs(sums - 1.0) > 2e-2)
    _refuse_rows(unlike, "predictions that are not probabilities (they should be >= 0 and sum to 1; logits?)", sums)
    return label, score


def _checked_weights(weights: npt.ArrayLike, examples: int) -> npt.NDArray[np.float64]:
    weight = np.asarray(weights, np.float64)
    if weight.shape != (examples,):
        raise UserError(f"weights {weight.shape} do not fit {examples} examples")
    _refuse_rows(~(weight >= 0.0) | np.isinf(weight), "weights that are not finite numbers >= 0", weight)
    if not weight.sum():
        raise UserError("every example has weight 0: give at least one a positive weight")
    return weight


def _refuse_rows(bad: npt.NDArray[np.bool_], what: str, values: npt.NDArray | None = None) -> None:
    if bad.any():
        first = int(bad.argmax())
        value = "" if values is None else f", {values[first]}"
        raise UserError(f"{int(bad.sum())} of {len(bad)} examples have {what} (first: example {first}{value})")


def _plain(value: Any) -> Any:
    """Arrays, tuples and numpy scalars as lists and Python numbers, NaN as None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
