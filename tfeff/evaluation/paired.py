"""Compares the accuracies of two classifiers on the same examples.

Sources: McNemar 1947 (exact form: a binomial test of the discordant examples); Bonett and Price 2012, "Adjusted Wald
confidence interval for a difference of binomial proportions based on paired data" (interval of the difference); Holm
1979 (several comparisons).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PairedAccuracy:
    """The accuracy of a first classifier minus that of a second one.

    Attributes:
        examples: number of examples.
        difference: the difference, in [-1, 1].
        low: lower end of its interval.
        high: upper end.
        only_first: examples that only the first classifies correctly.
        only_second: examples that only the second classifies correctly.
        p_value: of McNemar's exact test, two-sided; 1 if the classifiers are right on the same examples.
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
        confidence: coverage of the interval, in (0, 1).

    >>> result = paired_accuracy([True] * 9 + [False], [True] * 5 + [False] * 5)
    >>> result.difference, result.only_first, result.only_second, result.p_value
    (0.4, 4, 0, 0.125)
    """
    left, right = np.asarray(first, bool), np.asarray(second, bool)
    n = len(left)
    only_first, only_second = int(np.sum(left & ~right)), int(np.sum(right & ~left))
    # One discordant example is added to each side, so that the interval has a width even without any.
    share_first, share_second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    center = share_first - share_second
    error = math.sqrt((share_first + share_second - center**2) / (n + 2))
    half_width = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return PairedAccuracy(
        examples=n,
        difference=(only_first - only_second) / n,
        low=max(-1.0, center - half_width),
        high=min(1.0, center + half_width),
        only_first=only_first,
        only_second=only_second,
        p_value=_binomial_test(min(only_first, only_second), only_first + only_second),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for several comparisons by Holm's step-down method, in the given order.

    >>> [round(value, 6) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _binomial_test(fewer: int, trials: int) -> float:
    """Two-sided p-value of a fair coin that shows the rarer side `fewer` times; exact integers, for any `trials`."""
    tail, term = 0, 1
    for successes in range(fewer + 1):
        tail += term
        term = term * (trials - successes) // (successes + 1)
    return min(1.0, 2 * tail / 2**trials)
