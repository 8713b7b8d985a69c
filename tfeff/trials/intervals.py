"""Student's t intervals of one candidate's mean and of the paired difference of two candidates.

Unknown quantities, such as the standard deviation of a single value, are None, never NaN, so that results can be
written as JSON.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from tfeff.trials.results import Block, finite, is_finite


@dataclass(frozen=True)
class Summary:
    """Mean and spread of one candidate over its blocks.

    Attributes:
        n: number of values, > 0.
        deviation: their standard deviation with divisor n - 1; None if n = 1.
        standard_error: standard error of the mean, deviation / sqrt(n); None if n = 1.
        low: lower end of the t interval of the mean; None if n = 1.
        high: upper end; None if n = 1.
    """

    n: int
    mean: float
    deviation: float | None
    standard_error: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """The mean of one candidate minus the mean of another.

    Attributes:
        n: number of blocks with values of both.
        standard_error: standard error of the difference; None if unknown.
        degrees: degrees of freedom of the standard error.
        low: lower end of the interval; None if there is no interval.
        high: upper end; None if there is no interval.
    """

    n: int
    mean: float
    standard_error: float | None
    degrees: int
    low: float | None
    high: float | None

    @property
    def separable(self) -> bool:
        """Whether there is an interval and it excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0.0 or self.high < 0.0)


def summary(values: Iterable[float | None], confidence: float = 0.95) -> Summary:
    """Mean, standard deviation and t interval of one candidate's values; None and NaN are ignored.

    Raises:
        ValueError: there is no finite value.

    >>> s = summary([0.70, 0.72, 0.74])
    >>> [round(x, 4) for x in (s.mean, s.deviation, s.standard_error, s.low, s.high)]
    [0.72, 0.02, 0.0115, 0.6703, 0.7697]
    """
    sample = np.array([value for value in values if is_finite(value)], np.float64)
    if not len(sample):
        raise ValueError("a summary needs at least one finite value")
    n, mean = len(sample), float(sample.mean())
    if n == 1:
        return Summary(n, mean, None, None, None, None)
    deviation = float(sample.std(ddof=1))
    error = deviation / math.sqrt(n)
    half_width = student_quantile(n - 1, 0.5 + confidence / 2.0) * error
    return Summary(n, mean, deviation, error, mean - half_width, mean + half_width)


def paired_difference(
    first: Mapping[Block, float | None], second: Mapping[Block, float | None], confidence: float = 0.95
) -> Difference:
    """First minus second over their common blocks, with the paired t interval.

    The interval holds for two candidates chosen in advance; it is not adjusted for multiple comparisons.

    Args:
        first: block -> value.
        second: block -> value.

    Raises:
        ValueError: they have no block in common.
    """
    left, right = finite(first), finite(second)
    common = [block for block in left if block in right]
    if not common:
        raise ValueError("the candidates have no block in common")
    differences = summary((left[block] - right[block] for block in common), confidence)
    return Difference(
        differences.n,
        differences.mean,
        differences.standard_error,
        differences.n - 1,
        differences.low,
        differences.high,
    )


def student_quantile(degrees: int, probability: float) -> float:
    """Quantile of Student's t distribution."""
    return float(special.stdtrit(degrees, probability))


def number(value: float) -> str:
    """A value or difference with three decimals, or with two significant digits if it is small.

    >>> number(0.71249), number(0.02), number(0.00041), number(-0.0)
    ('0.712', '0.020', '0.00041', '0.000')
    """
    if abs(value) < 1e-12:  # a rounding error, or -0.0
        value = 0.0
    return f"{value:.2g}" if 0.0 < abs(value) < 0.01 else f"{value:.3f}"


def interval(estimate: Summary | Difference, confidence: float = 0.95) -> str:
    """A confidence interval in parentheses, to follow a mean; empty if there is none.

    >>> from tfeff.trials.intervals import summary
    >>> interval(summary([0.70, 0.72, 0.74])), interval(summary([0.7]))
    (' (95 % CI 0.670 to 0.770)', '')
    """
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({100.0 * confidence:g} % CI {number(estimate.low)} to {number(estimate.high)})"
