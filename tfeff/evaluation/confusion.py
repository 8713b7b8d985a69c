"""Confusion matrix of the pairs of classes that occur, and the per-class metrics computed from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Number of examples of each pair of a true and a predicted class that occurs: at most one pair per example.

    Attributes:
        classes: number of classes.
        true: int64 [pairs], true classes, ascending.
        predicted: int64 [pairs], predicted classes, ascending for each true class.
        count: int64 [pairs], numbers of examples, > 0.
    """

    classes: int
    true: Ints
    predicted: Ints
    count: Ints

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ConfusionMatrix":
        """Returns the matrix of a report in JSON, whose keys are the attributes."""
        true, predicted, count = (np.asarray(values[key], np.int64) for key in ("true", "predicted", "count"))
        return cls(values["classes"], true, predicted, count)

    @property
    def correct(self) -> Ints:
        """int64 [classes], the diagonal."""
        right = self.true == self.predicted
        return self._sums(self.true[right], self.count[right])

    @property
    def support(self) -> Ints:
        """int64 [classes], number of examples of each true class."""
        return self._sums(self.true, self.count)

    @property
    def predictions(self) -> Ints:
        """int64 [classes], number of examples that were predicted as each class."""
        return self._sums(self.predicted, self.count)

    def _sums(self, classes: Ints, counts: Ints) -> Ints:
        return np.bincount(classes, counts, minlength=self.classes).astype(np.int64)  # exact up to 2^53

    def dense(self) -> Ints:
        """Returns int64 [classes, classes], true classes in rows: quadratic in the number of classes."""
        matrix = np.zeros((self.classes, self.classes), np.int64)
        matrix[self.true, self.predicted] = self.count
        return matrix


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> ConfusionMatrix:
    """Counts examples by true and predicted class.

    Args:
        labels: int [n], true classes in [0, classes).
        predictions: int [n], predicted classes in [0, classes).

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).dense().tolist()
    [[1, 1], [0, 1]]
    """
    cells, counts = np.unique(
        np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64), return_counts=True
    )
    true, predicted = np.divmod(cells, classes)
    return ConfusionMatrix(classes, true, predicted, counts)


@dataclass(frozen=True)
class ConfusedPair:
    """Examples of one class that were predicted as another; `share` of all examples of the true class."""

    true: int
    predicted: int
    count: int
    share: float


def confused_pairs(matrix: ConfusionMatrix, count: int) -> list[ConfusedPair]:
    """Returns the most frequent errors of a confusion matrix, at most `count`, the most frequent first.

    >>> matrix = confusion_matrix([0] * 10 + [1] * 5, [0] * 8 + [1] * 6 + [0], 2)
    >>> [(pair.true, pair.predicted, pair.count, pair.share) for pair in confused_pairs(matrix, 5)]
    [(0, 1, 2, 0.2), (1, 0, 1, 0.2)]
    """
    wrong = np.flatnonzero(matrix.true != matrix.predicted)
    order = wrong[np.argsort(-matrix.count[wrong], kind="stable")][:count]
    true, predicted, counts = matrix.true[order], matrix.predicted[order], matrix.count[order]
    columns = true, predicted, counts, counts / matrix.support[true]
    return [ConfusedPair(*pair) for pair in zip(*(column.tolist() for column in columns), strict=True)]


@dataclass(frozen=True, eq=False)
class PerClass:
    """Metrics of each class.

    Attributes:
        precision: float64 [classes], true positives / predictions; NaN for classes that were never predicted.
        recall: float64 [classes], true positives / examples; NaN for classes without examples.
        f1: float64 [classes], 2 · true positives / (predictions + examples); NaN where both are 0.
        support: int64 [classes], number of the examples.
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]
    support: Ints


def per_class(matrix: ConfusionMatrix) -> PerClass:
    """Computes precision, recall, F1 and support of each class from a confusion matrix."""
    correct, predicted, support = matrix.correct, matrix.predictions, matrix.support
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
