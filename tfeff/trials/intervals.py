"""Intervals of the candidates' means and of the paired difference of two candidates, and how they are printed.

Metrics in [0, 1] have intervals that stay there (`proportions`), other metrics Student's t intervals.

Unknown quantities, such as the standard deviation of a single value, are None, never NaN, so that results can be
written as JSON.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from tfeff.trials.proportions import Dispersion, dispersions, in_range
from tfeff.trials.results import Block, Table, finite


@dataclass(frozen=True)
class Summary:
    """Mean and spread of one candidate over its blocks.

    Attributes:
        n: number of values, > 0.
        deviation: their standard deviation with divisor n - 1; None if n = 1.
        standard_error: standard error of the mean by these values alone, deviation / sqrt(n); None if n = 1.
        low: lower end of the interval of the mean; None if it is unknown.
        high: upper end; None if it is unknown.
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


def summary(values: Iterable[float | None], confidence: float = 0.95, *, bounded: bool = False) -> Summary:
    """Returns the mean, standard deviation and interval of one candidate's values; None and NaN are ignored.

    Args:
        bounded: whether the values are of a metric in [0, 1].

    Raises:
        ValueError: there is no finite value.

    >>> s = summary([0.70, 0.72, 0.74])
    >>> [round(x, 4) for x in (s.mean, s.deviation, s.standard_error, s.low, s.high)]
    [0.72, 0.02, 0.0115, 0.6703, 0.7697]
    >>> s = summary([0.1, 0.9, 0.95], bounded=True)
    >>> [round(x, 2) for x in (s.mean, s.low, s.high)]
    [0.65, 0.06, 0.98]
    """
    row = {(index, 0): value for index, value in enumerate(values)}
    found = summaries({"": row}, confidence, bounded=bounded)
    if not found:
        raise ValueError("a summary needs at least one finite value")
    return found[""]


def summaries(table: Table, confidence: float = 0.95, *, bounded: bool) -> dict[str, Summary]:
    """Returns the mean, standard deviation and interval of each candidate that has a value.

    Intervals of a metric in [0, 1] use a dispersion that is pooled over the candidates, except those whose values vary
    much more; those of other metrics are t intervals of the candidate's own values.

    Args:
        bounded: whether the metric is in [0, 1]; values beyond it are treated as unbounded nevertheless.
    """
    rows = {name: values for name, row in table.items() if (values := finite(row))}
    shared: list[Dispersion | None] = [None] * len(rows)
    if rows and bounded and all(in_range(row.values()) for row in rows.values()):
        blocks = sorted({block for row in rows.values() for block in row})
        grid = [[row.get(block, math.nan) for block in blocks] for row in rows.values()]
        shared = dispersions(np.array(grid, np.float64))
    found = {}
    for (name, row), pooled in zip(rows.items(), shared, strict=True):
        sample = np.array(list(row.values()))
        n, mean = len(sample), float(sample.mean())
        deviation = float(sample.std(ddof=1)) if n > 1 else None
        error = None if deviation is None else deviation / math.sqrt(n)
        low, high = None, None
        if pooled is not None:
            low, high = pooled.interval(mean, n, student_quantile(pooled.degrees, 0.5 + confidence / 2.0))
        elif error is not None:
            half_width = student_quantile(n - 1, 0.5 + confidence / 2.0) * error
            low, high = mean - half_width, mean + half_width
        found[name] = Summary(n, mean, deviation, error, low, high)
    return found


def grouped_summaries(table: Table, groups: Mapping[str, object], *, bounded: bool) -> dict[str, Summary]:
    """Summarizes candidates with a dispersion for each group of them, such as those of equally long trainings.

    Args:
        groups: candidate -> its group.
    """
    found: dict[str, Summary] = {}
    for group in set(groups.values()):
        rows = {name: row for name, row in table.items() if groups[name] == group}
        found |= summaries(rows, bounded=bounded)
    return found


def paired_difference(
    first: Mapping[Block, float | None],
    second: Mapping[Block, float | None],
    confidence: float = 0.95,
    *,
    bounded: bool = False,
) -> Difference:
    """Returns the first minus second over their common blocks, with the paired t interval.

    The interval holds for two candidates chosen in advance; it is not adjusted for multiple comparisons.

    Args:
        first: block -> value.
        second: block -> value.
        bounded: whether the metric is in [0, 1], so that the difference is in [-1, 1].

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
        *within(differences.low, differences.high, bounded=bounded),
    )


def within(low: float | None, high: float | None, *, bounded: bool) -> tuple[float | None, float | None]:
    """Returns the ends of an interval of a difference; of a metric in [0, 1], the part of it in [-1, 1]."""
    if low is None or high is None or not bounded:
        return low, high
    return max(-1.0, min(1.0, low)), max(-1.0, min(1.0, high))


def student_quantile(degrees: float, probability: float) -> float:
    """Returns the quantile of Student's t distribution."""
    return float(special.stdtrit(degrees, probability))


def number(value: float) -> str:
    """Returns a value or difference with three decimals, or with two significant digits if it is small.

    >>> number(0.71249), number(0.02), number(0.00041), number(-0.0)
    ('0.712', '0.020', '0.00041', '0.000')
    """
    if abs(value) < 1e-12:  # a rounding error, or -0.0
        value = 0.0
    return f"{value:.2g}" if 0.0 < abs(value) < 0.01 else f"{value:.3f}"


def interval(estimate: Summary | Difference) -> str:
    """Returns a 95 % confidence interval in parentheses, to follow a mean; empty if there is none.

    >>> from tfeff.trials.intervals import summary
    >>> interval(summary([0.70, 0.72, 0.74])), interval(summary([0.7]))
    (' (95 % CI 0.670 to 0.770)', '')
    """
    if estimate.low is None or estimate.high is None:
        return ""
    return f" (95 % CI {number(estimate.low)} to {number(estimate.high)})"
