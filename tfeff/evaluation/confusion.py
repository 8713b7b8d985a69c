"""Confusion matrix, and the per-class metrics computed from it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> npt.NDArray[np.int64]:
    """Counts examples by true and predicted class.

    Args:
        labels: int [n], true classes in [0, classes).
        predictions: int [n], predicted classes in [0, classes).

    Returns:
        int64 [classes, classes], true classes in rows, predicted classes in columns.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class ConfusedPair:
    """Examples of one class that were predicted as another; `share` of all examples of the true class."""

    true: int
    predicted: int
    count: float
    share: float


def confused_pairs(matrix: npt.ArrayLike, count: int) -> list[ConfusedPair]:
    """The most frequent errors of a confusion matrix [true, predicted], at most `count`, the most frequent first.

    >>> [(pair.true, pair.predicted, pair.count, pair.share) for pair in confused_pairs([[8, 2], [1, 4]], 5)]
    [(0, 1, 2, 0.2), (1, 0, 1, 0.2)]
    """
    cells = np.array(matrix)
    support = cells.sum(axis=1)
    np.fill_diagonal(cells, 0)
    order = np.argsort(-cells, axis=None, kind="stable")[:count]
    pairs = [divmod(int(cell), len(cells)) for cell in order]
    return [
        ConfusedPair(i, j, cells[i, j].item(), float(cells[i, j] / support[i])) for i, j in pairs if cells[i, j] > 0
    ]


@dataclass(frozen=True, eq=False)
class PerClass:
    """Metrics of each class.

    Attributes:
        precision: float64 [classes], true positives / predictions; NaN for classes that were never predicted.
        recall: float64 [classes], true positives / examples; NaN for classes without examples.
        f1: float64 [classes], 2 · true positives / (predictions + examples); NaN where both are 0.
        support: [classes], number of the examples.
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]
    support: npt.NDArray[np.int64]


def per_class(matrix: npt.NDArray[np.int64]) -> PerClass:
    """Computes precision, recall, F1 and support of each class from a confusion matrix [true, predicted]."""
    correct, predicted, support = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    return PerClass(
        precision=ratio(correct, predicted),
        recall=ratio(correct, support),
        f1=ratio(2 * correct, predicted + support),
        support=support,
    )


def ratio(numerator: npt.NDArray, denominator: npt.NDArray) -> npt.NDArray[np.float64]:
    """Returns float64, numerator / denominator, element by element; NaN where the denominator is 0."""
    undefined = np.full(denominator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
