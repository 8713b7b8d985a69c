"""Comparison of the accuracies of two classifiers on the same examples.

Sources: McNemar 1947 (a binomial test of the discordant examples); Fagerland, Lydersen and Laake 2013, "The McNemar
test for binary matched-pairs data" (its mid-p-value; the exact one is conservative and contradicts the interval more
often); Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on
paired data" (interval of the difference); Holm 1979 (several comparisons).

Principal components of feature vectors, and the predictions of several classifiers for the same examples, show how
models differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy import special


@dataclass(frozen=True)
class PairedAccuracy:
    """The accuracy of a first classifier minus that of a second one.

    Attributes:
        only_first: examples that only the first classifies correctly.
        only_second: examples that only the second classifies correctly.
        p_value: mid-p-value of McNemar's test, two-sided; 1 if the classifiers are right on the same examples.
    """

    examples: int
    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p_value: float


def paired_accuracy(first: npt.ArrayLike, second: npt.ArrayLike, confidence: float = 0.95) -> PairedAccuracy:
    """Compares two classifiers example by example.

    Args:
        first: bool [n], n > 0, whether the first classifier is right.
        second: bool [n], whether the second one is right on the same example.

    >>> result = paired_accuracy([True] * 9 + [False], [True] * 5 + [False] * 5)
    >>> result.difference, result.only_first, result.only_second, result.p_value
    (0.4, 4, 0, 0.0625)
    """
    left, right = np.asarray(first, bool), np.asarray(second, bool)
    n = len(left)
    only_first, only_second = int(np.sum(left & ~right)), int(np.sum(right & ~left))
    # One discordant example is added to each side, so that the interval has a width even without any.
    share_first, share_second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    center = share_first - share_second
    error = math.sqrt((share_first + share_second - center**2) / (n + 2))
    fewer, discordant = min(only_first, only_second), only_first + only_second
    up_to, below = (special.bdtr(each, discordant, 0.5) if each >= 0 else 0.0 for each in (fewer, fewer - 1))
    half_width = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return PairedAccuracy(
        examples=n,
        difference=(only_first - only_second) / n,
        low=max(-1.0, center - half_width),
        high=min(1.0, center + half_width),
        only_first=only_first,
        only_second=only_second,
        p_value=float(up_to + below),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for several comparisons by Holm's step-down method; the order is kept.

    >>> [round(value, 6) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    factors = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, factors * np.array(p_values, np.float64)[order]))
    return adjusted.tolist()


def standard_error(proportion: float, examples: float) -> float:
    """Returns the standard error of a proportion measured on independent examples, sqrt(p (1 - p) / n).

    Args:
        proportion: the measured proportion, in [0, 1].
        examples: number of examples, > 0 (the effective number, if they are weighted).

    >>> round(standard_error(0.9, 10_000), 4)
    0.003
    """
    return math.sqrt(proportion * (1.0 - proportion) / examples)


def wilson_interval(proportion: float, examples: float, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the Wilson score interval of a proportion (Wilson 1927).

    Unlike p ± z · standard error, it stays inside [0, 1] and has a positive width at p = 0 and p = 1, which are common
    on small test sets.

    Args:
        proportion: the measured proportion, in [0, 1].
        examples: number of examples, > 0 (the effective number, if they are weighted).

    Returns:
        (low, high), both in [0, 1].

    >>> [round(end, 3) for end in wilson_interval(1.0, 20)]
    [0.839, 1.0]
    """
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2.0) ** 2
    center = (proportion + z2 / (2.0 * examples)) / (1.0 + z2 / examples)
    variance = proportion * (1.0 - proportion) / examples + z2 / (4.0 * examples**2)
    half_width = math.sqrt(z2 * variance) / (1.0 + z2 / examples)
    return max(0.0, center - half_width), min(1.0, center + half_width)


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
        """Indices of the examples that at least one model misclassifies, the most often missed first.

        Examples that the same models miss are next to each other.
        """
        patterns = tuple(self.correct[::-1])
        order = np.lexsort((*patterns, -self.misses))
        return order[self.misses[order] > 0]

    def missed_only_by(self, model: int) -> npt.NDArray[np.int64]:
        """Returns indices of the examples that only this model misclassifies."""
        return np.flatnonzero((self.misses == 1) & ~self.correct[model])

    @property
    def best_possible(self) -> float:
        """Share of the examples that at least one model classifies correctly."""
        return float(np.mean(self.misses < len(self.correct)))

    def agreement(self) -> npt.NDArray[np.float64]:
        """Returns float64 [m, m], share of the examples for which two models predict the same class."""
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


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """A projection of n vectors.

    Attributes:
        coordinates: float64 [n, components], centered. The largest loading of each component is positive.
        explained: float64 [components], share of the variance along each component, in [0, 1].
    """

    coordinates: npt.NDArray[np.float64]
    explained: npt.NDArray[np.float64]


def principal_components(vectors: npt.ArrayLike, components: int = 2) -> PrincipalComponents:
    """Projects vectors onto the directions of their largest variance.

    Args:
        vectors: float [n, d], n > 0.
        components: number of directions; those beyond min(n, d) have coordinates and shares of 0.
    """
    matrix = np.asarray(vectors, np.float64)
    centered = matrix - matrix.mean(axis=0)
    left, scale, right = np.linalg.svd(centered, full_matrices=False)
    kept = min(components, len(scale))
    sign = np.sign(right[np.arange(len(scale)), np.abs(right).argmax(axis=1)])
    coordinates, explained = np.zeros((len(matrix), components)), np.zeros(components)
    coordinates[:, :kept] = (left * scale * sign)[:, :kept]
    total = np.square(scale).sum()
    explained[:kept] = np.square(scale[:kept]) / total if total else 0.0
    return PrincipalComponents(coordinates, explained)
