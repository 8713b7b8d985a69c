"""Evaluation report of a classifier, and its calibration: are 80 % of the predictions with a confidence of 0.8 correct?

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", sections 2 and 4 (reliability diagrams, expected
and maximum calibration error).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff.errors import UserError
from tfeff.evaluation.confusion import ConfusionMatrix, PerClass, confusion_matrix, per_class, ratio
from tfeff.evaluation.one_versus_rest import one_versus_rest
from tfeff.evaluation.paired import standard_error, wilson_interval

TEMPERATURES = 0.05, 20.0
"""The lowest and the highest temperature."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Accuracy against confidence, in bins of equal width over (0, 1].

    Attributes:
        edges: float64 [bins + 1], from 0 to 1; bin i contains confidences in (edges[i], edges[i + 1]].
        weight: float64 [bins], number of the examples in each bin.
        confidence: float64 [bins], mean confidence in each bin; NaN for empty bins.
        accuracy: float64 [bins], accuracy in each bin; NaN for empty bins.
        expected_error: expected calibration error (ECE), the mean of |accuracy - confidence| over examples, in [0, 1].
        maximum_error: maximum calibration error (MCE), the largest |accuracy - confidence| of a bin, in [0, 1].
    """

    edges: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    expected_error: float
    maximum_error: float


def calibration(confidences: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> Calibration:
    """Bins predictions by confidence and compares the accuracy of each bin with its mean confidence.

    Args:
        confidences: float [n], n > 0, probability of the predicted class, in [0, 1].
        correct: bool [n], whether the predicted class is the true class.
        bins: number of bins; 15 as in the paper.

    >>> bins = calibration([0.6, 0.6, 0.9, 0.9], [True, False, True, True], bins=10)
    >>> round(bins.expected_error, 3), round(bins.maximum_error, 3)
    (0.1, 0.1)
    """
    confidence = np.asarray(confidences, np.float64)
    hit = np.asarray(correct, np.float64)

    edges = np.linspace(0.0, 1.0, bins + 1)
    # Bins are closed on the right. 0 falls into the first bin, and values rounded to above 1 into the last.
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    in_bin = np.bincount(index, minlength=bins).astype(np.float64)
    mean_confidence = ratio(np.bincount(index, weights=confidence, minlength=bins), in_bin)
    accuracy = ratio(np.bincount(index, weights=hit, minlength=bins), in_bin)

    filled = in_bin > 0
    gap = np.abs(accuracy - mean_confidence)[filled]
    return Calibration(
        edges=edges,
        weight=in_bin,
        confidence=mean_confidence,
        accuracy=accuracy,
        expected_error=float(np.average(gap, weights=in_bin[filled])),
        maximum_error=float(gap.max()),
    )


def temperature(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Finds the temperature for the lowest cross-entropy, by which logits should be divided.

    Guo et al., section 4.2.

    Above 1, predictions were too confident. If the cross-entropy has no minimum from 0.05 to 20, as when all
    predictions are correct, the examples do not determine a temperature, and the result is 1.

    Args:
        labels: int [n], the true classes.
        probabilities: float [n, classes].

    >>> logits = np.log([[0.9, 0.1]] * 4)
    >>> value = temperature([0, 0, 0, 1], np.array([[0.9, 0.1]] * 4))  # 3 of 4 are correct
    >>> bool(np.isclose(np.exp(logits[0] / value)[0] / np.exp(logits[0] / value).sum(), 0.75))
    True
    """
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float32).tiny))
    of_labels = np.take_along_axis(logits, np.asarray(labels)[:, None], axis=1)[:, 0]
    low, high = (1 / bound for bound in reversed(TEMPERATURES))
    while high - low > 1e-9 * high:  # the cross-entropy is a convex function of the inverse temperature
        middle = (low + high) / 2
        exponentials = np.exp(middle * (logits - logits.max(axis=1, keepdims=True)))
        expected = (exponentials * logits).sum(axis=1) / exponentials.sum(axis=1)
        low, high = (low, middle) if (expected - of_labels).mean() > 0 else (middle, high)
    found = 2 / (low + high)
    return found if 1.001 * TEMPERATURES[0] < found < 0.999 * TEMPERATURES[1] else 1.0


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """Metrics of a classifier on a labeled split.

    Attributes:
        top1_interval: 95 % Wilson interval of `top1`.
        top5: top-5 accuracy; 1 if there are at most five classes.
        balanced_accuracy: mean recall over the classes that have examples.
        macro_precision: mean precision over the classes that were predicted at least once.
        macro_f1: mean F1 over the classes that have examples or were predicted.
        macro_roc_auc: mean of `class_roc_auc` over the classes where it is defined; NaN if there are none.
        macro_average_precision: the same of `class_average_precision`.
        log_loss: mean of -ln(probability of the true class), in nats.
        confusion: pairs of true and predicted classes.
        class_roc_auc: float64 [classes], area under the ROC curve of each class against all others, see
            `OneVersusRest`; NaN for classes without examples, or without others.
        class_average_precision: float64 [classes], its average precision; NaN for classes without examples.
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
    macro_roc_auc: float
    macro_average_precision: float
    log_loss: float
    confusion: ConfusionMatrix
    per_class: PerClass
    class_roc_auc: npt.NDArray[np.float64]
    class_average_precision: npt.NDArray[np.float64]
    calibration: Calibration

    def to_json(self) -> dict[str, Any]:
        """Returns the report as dicts, lists, strings and numbers. Undefined scores are None."""
        return plain(asdict(self))


def classification_report(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, class_names: Sequence[str]
) -> ClassificationReport:
    """Evaluates a classifier's probabilities against the true labels.

    In every metric, ties go to the class with the lower index, as with `argmax`.

    Args:
        labels: int [n], true classes in [0, classes).
        probabilities: float [n, classes], one distribution per row.

    Raises:
        UserError: there are no examples, labels are out of range, shapes do not match, or rows are not distributions.
    """
    label, score = _checked(labels, probabilities, len(class_names))
    rank = _rank(label, score)
    correct = rank == 0
    top1 = float(correct.mean())
    matrix = confusion_matrix(label, score.argmax(axis=1), len(class_names))
    scores = per_class(matrix)
    areas, precisions = _separation(label, score)
    return ClassificationReport(
        class_names=tuple(class_names),
        examples=len(label),
        top1=top1,
        top1_standard_error=standard_error(top1, len(label)),
        top1_interval=wilson_interval(top1, len(label)),
        top5=float((rank < 5).mean()),
        balanced_accuracy=float(np.nanmean(scores.recall)),
        macro_precision=float(np.nanmean(scores.precision)),
        macro_f1=float(np.nanmean(scores.f1)),
        macro_roc_auc=_defined_mean(areas),
        macro_average_precision=_defined_mean(precisions),
        log_loss=float(_negative_log_likelihood(label, score).mean()),
        confusion=matrix,
        per_class=scores,
        class_roc_auc=areas,
        class_average_precision=precisions,
        calibration=calibration(score.max(axis=1), correct),
    )


def _separation(labels: npt.NDArray, scores: npt.NDArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns area under the ROC curve and average precision of each class, float64 [classes] each."""
    areas, precisions = np.full((2, scores.shape[1]), np.nan)
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    for label, own in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
        found = one_versus_rest(scores[:, label], own)
        areas[label], precisions[label] = found.roc_auc, found.average_precision
    return areas, precisions


def _defined_mean(values: npt.NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan


def _rank(labels: npt.NDArray, scores: npt.NDArray) -> npt.NDArray[np.int64]:
    """Returns int64 [n], number of classes ranked above the true class."""
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)
    tied_before = (scores == own) & (np.arange(scores.shape[1]) < labels[:, np.newaxis])
    return np.count_nonzero((scores > own) | tied_before, axis=1)


def _negative_log_likelihood(labels: npt.NDArray, scores: npt.NDArray) -> npt.NDArray[np.float64]:
    """Returns float64 [n], -ln of the true class's probability, which is clipped at the dtype's epsilon."""
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


def _reject(bad: npt.NDArray[np.bool_], what: str, values: npt.NDArray | None = None) -> None:
    if bad.any():
        first = int(bad.argmax())
        value = "" if values is None else f", {values[first]}"
        raise UserError(f"{int(bad.sum())} of {len(bad)} examples have {what} (first: example {first}{value})")


def plain(value: Any) -> Any:
    """Converts arrays, tuples and NumPy scalars to lists and Python numbers, and NaN to None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
