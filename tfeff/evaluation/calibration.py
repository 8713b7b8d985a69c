"""Does a confidence of 0.8 come true in 80 % of the cases?

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", sections 2 and 4 (reliability diagrams, expected
and maximum calibration error).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Calibration:
    """Accuracy against confidence, in bins of equal width over (0, 1].

    Attributes:
        edges: float64 [bins + 1], from 0 to 1; bin i holds confidences in (edges[i], edges[i + 1]].
        weight: float64 [bins], examples in each bin (their weight, where they are weighted).
        confidence: float64 [bins], mean confidence in each bin; NaN where it is empty.
        accuracy: float64 [bins], share of hits in each bin; NaN where it is empty.
        expected_error: mean of |accuracy - confidence| over the examples (ECE), in [0, 1].
        maximum_error: largest |accuracy - confidence| over the bins (MCE), in [0, 1].
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
    """Bins predictions by confidence and compares each bin's accuracy with it.

    Args:
        confidences: float [n], n > 0, probability given to the predicted class, in [0, 1].
        correct: bool [n], whether the predicted class was the true one.
        bins: number of bins; 15 as in the paper.
        weights: float [n], what each example counts, with a positive sum; None counts every one as 1.

    >>> bins = calibration([0.6, 0.6, 0.9, 0.9], [True, False, True, True], bins=10)
    >>> round(bins.expected_error, 3), round(bins.maximum_error, 3)
    (0.1, 0.1)
    """
    confidence = np.asarray(confidences, np.float64)
    hit = np.asarray(correct, np.float64)
    weight = np.ones_like(confidence) if weights is None else np.asarray(weights, np.float64)

    edges = np.linspace(0.0, 1.0, bins + 1)
    # Right-closed bins; a confidence of exactly 0 joins the first, one that rounding lifts above 1 the last.
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


def _sums(index: npt.NDArray[np.int64], values: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    return np.bincount(index, weights=values, minlength=bins).astype(np.float64)


def _mean(total: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)
