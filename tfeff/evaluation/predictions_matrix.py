"""The predictions of several classifiers for the same examples: who errs where."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class PredictionsMatrix:
    """m models and n examples.

    Attributes:
        predicted: int64 [m, n], the predicted class.
        correct: bool [m, n], whether it is the label.
        misses: int64 [n], number of models that misclassify the example.
    """

    predicted: npt.NDArray[np.int64]
    correct: npt.NDArray[np.bool_]
    misses: npt.NDArray[np.int64]

    @property
    def missed_by_all(self) -> npt.NDArray[np.int64]:
        """Indices of the examples that every model misclassifies."""
        return np.flatnonzero(self.misses == len(self.correct))

    @property
    def missed_by_any(self) -> npt.NDArray[np.int64]:
        """Indices of the examples that at least one model misclassifies: the most often missed first, then those that
        the same models miss next to each other."""
        patterns = tuple(self.correct[::-1])
        order = np.lexsort((*patterns, -self.misses))
        return order[self.misses[order] > 0]

    def missed_only_by(self, model: int) -> npt.NDArray[np.int64]:
        """Indices of the examples that only this model misclassifies."""
        return np.flatnonzero((self.misses == 1) & ~self.correct[model])

    @property
    def best_possible(self) -> float:
        """Share of the examples that at least one model classifies correctly."""
        return float(np.mean(self.misses < len(self.correct)))

    def agreement(self) -> npt.NDArray[np.float64]:
        """float64 [m, m], share of the examples for which two models predict the same class."""
        return (self.predicted[:, np.newaxis] == self.predicted).mean(axis=2)


def predictions_matrix(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> PredictionsMatrix:
    """Compares the predictions of several models.

    Args:
        labels: int [n], true classes.
        probabilities: float [m, n, classes], of m models.

    >>> matrix = predictions_matrix([0, 1], [[[0.9, 0.1], [0.6, 0.4]], [[0.8, 0.2], [0.3, 0.7]]])
    >>> matrix.correct.tolist(), matrix.missed_only_by(0).tolist(), matrix.best_possible
    ([[True, False], [True, True]], [1], 1.0)
    """
    predicted = np.asarray(probabilities).argmax(axis=2)
    correct = predicted == np.asarray(labels)
    return PredictionsMatrix(predicted, correct, np.sum(~correct, axis=0))
