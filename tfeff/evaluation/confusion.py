"""Confusion matrix and the per-class scores that follow from it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def confusion_matrix(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int, weights: npt.ArrayLike | None = None
) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    """Counts of every (true class, predicted class).

    Args:
        labels: int [n], true classes in [0, classes).
        predictions: int [n], predicted classes in [0, classes).
        classes: number of classes.
        weights: float [n], what each example counts; None counts every one as 1.

    Returns:
        [classes, classes], rows are true classes and columns predicted ones; int64, or float64 where weights are given.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    weighted = None if weights is None else np.asarray(weights, np.float64)
    return np.bincount(cells, weighted, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True, eq=False)
class PerClass:
    """Scores of every class; NaN where a score has no examples to speak of.

    Attributes:
        precision: float64 [classes], hits / predictions of the class; NaN where the class was never predicted.
        recall: float64 [classes], hits / examples of the class; NaN where the class is absent.
        f1: float64 [classes], 2 · hits / (predictions + examples); NaN where the class is neither.
        support: [classes], examples of the class (their weight, where they are weighted).
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]
    support: npt.NDArray[np.int64] | npt.NDArray[np.float64]


def per_class(matrix: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> PerClass:
    """Precision, recall, F1 and support of every class, from a confusion matrix [true, predicted]."""
    hits, predicted, support = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    return PerClass(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, predicted + support),
        support=support,
    )


def _ratio(numerator: npt.NDArray, denominator: npt.NDArray) -> npt.NDArray[np.float64]:
    undefined = np.full(denominator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
