"""Calibration: are 80 % of the predictions with a confidence of 0.8 correct?

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", sections 2 and 4 (reliability diagrams, expected
and maximum calibration error).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TEMPERATURES = 0.05, 20.0
"""The lowest and the highest temperature."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Accuracy against confidence, in bins of equal width over (0, 1].

    Attributes:
        edges: float64 [bins + 1], from 0 to 1; bin i contains confidences in (edges[i], edges[i + 1]].
        weight: float64 [bins], number (or total weight) of the examples in each bin.
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


def calibration(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15, weights: npt.ArrayLike | None = None
) -> Calibration:
    """Bins predictions by confidence and compares the accuracy of each bin with its mean confidence.

    Args:
        confidences: float [n], n > 0, probability of the predicted class, in [0, 1].
        correct: bool [n], whether the predicted class is the true class.
        bins: number of bins; 15 as in the paper.
        weights: float [n], weight of each example, with a positive sum; None means 1 for all.

    >>> bins = calibration([0.6, 0.6, 0.9, 0.9], [True, False, True, True], bins=10)
    >>> round(bins.expected_error, 3), round(bins.maximum_error, 3)
    (0.1, 0.1)
    """
    confidence = np.asarray(confidences, np.float64)
    hit = np.asarray(correct, np.float64)
    weight = np.ones_like(confidence) if weights is None else np.asarray(weights, np.float64)

    edges = np.linspace(0.0, 1.0, bins + 1)
    # Bins are closed on the right. 0 falls into the first bin, and values rounded to above 1 into the last.
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    in_bin = _sums(index, weight, bins)
    mean_confidence = _mean(_sums(index, weight * confidence, bins), in_bin)
    accuracy = _mean(_sums(index, weight * hit, bins), in_bin)

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
    """The temperature by which logits should be divided, for the lowest cross-entropy (Guo et al., section 4.2).

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


def _sums(index: npt.NDArray[np.int64], values: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    return np.bincount(index, weights=values, minlength=bins).astype(np.float64)


def _mean(total: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)
