"""Declared comparisons of one candidate, the control, with others, and the differences that they can detect.

One-sided many-to-one comparisons (Dunnett 1955, JASA 50) in the two-way layout of candidates and blocks.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import optimize

from tfeff.trials.intervals import Difference, paired_difference, within
from tfeff.trials.results import Table, finite
from tfeff.trials.two_way import dunnett_quantile, fit_two_way, power

POWER = 0.8
"""Probability with which a detectable difference is detected."""
EQUAL_CORRELATION = 0.5
"""Correlation of differences from one control, if no value is missing, as in the experiment of `detectable`."""


@dataclass(frozen=True)
class Contrasts:
    """The control minus each other candidate.

    Attributes:
        differences: other candidate -> difference. All intervals hold at once with 95 % confidence, and so do all lower
            bounds, which are higher than the lower ends of the intervals.
        bounds: other candidate -> lower bound of the difference; None if it is unknown.
        apart: the others that were compared with a standard error of their own.
        pooled: number of the others that were compared with the pooled standard error.
        deviation: standard deviation of one value in the layout; None if unknown.
        level: confidence of the bounds by the pooled standard error together.
    """

    differences: Mapping[str, Difference]
    bounds: Mapping[str, float | None]
    apart: Collection[str]
    pooled: int
    deviation: float | None
    degrees: int
    blocks: int
    candidates: int
    level: float

    def detectable(self, blocks: int | None = None, *, everywhere: bool = False) -> float | None:
        """Returns the difference for which a lower bound by the pooled variance is above 0 with probability POWER.

        Args:
            blocks: number of blocks; None: those that there are.
            everywhere: all lower bounds by the pooled variance, where each difference is this large, not a single one.
        """
        if self.deviation is None or not self.pooled:
            return None
        blocks = blocks or self.blocks
        degrees = (self.candidates - 1) * (blocks - 1)
        if degrees < 1:
            return None
        quantile = dunnett_quantile(self.pooled, degrees, EQUAL_CORRELATION, self.level, sides=1)
        count = self.pooled if everywhere else 1

        def missing(shift: float) -> float:
            return power(count, degrees, EQUAL_CORRELATION, quantile, shift) - POWER

        return float(optimize.brentq(missing, 0, quantile + 10)) * self.deviation * math.sqrt(2 / blocks)


def contrasts(
    table: Table, control: str, others: Sequence[str], apart: Collection[str] = (), *, bounded: bool = False
) -> Contrasts:
    """Compares a candidate with others that were declared before the results were known.

    Args:
        table: candidate -> block -> value, higher is better. All of its candidates determine the variance.
        control: the candidate that is claimed to be better.
        apart: candidates that do not share the variance of the others, because their training failed to optimize; their
            comparisons are by paired differences, at a level that keeps the confidence of all (Bonferroni).
        bounded: whether the metric is in [0, 1], so that differences are in [-1, 1].

    Raises:
        ValueError: the control or one of the others has no value, a candidate that stands apart has no block in common
            with the control, or all candidates stand apart.
    """
    if not all(finite(table.get(name, {})) for name in (control, *others)):
        raise ValueError(f"{control} or one of {', '.join(others)} has no value to compare")
    layout = fit_two_way({name: row for name, row in table.items() if name not in apart})
    own = others if control in apart else [name for name in others if name in apart]
    pooled = len(others) - len(own)
    level = 1 - 0.05 * pooled / len(others)  # Bonferroni's share of those with the pooled standard error
    differences, bounds = {}, dict[str, float | None]()
    for name in others:
        share = 1 - 0.05 / len(others)
        if name in own:
            differences[name] = paired_difference(table[control], table[name], share, bounded=bounded)
            bounds[name] = paired_difference(table[control], table[name], 2 * share - 1, bounded=bounded).low
            continue
        plain = layout.difference(control, name)
        if plain.standard_error is None:
            differences[name], bounds[name] = plain, None
            continue
        correlation = layout.least_correlation(control)
        two, one = (dunnett_quantile(pooled, layout.degrees, correlation, level, sides=sides) for sides in (2, 1))
        half = two * plain.standard_error
        low, high = within(plain.mean - half, plain.mean + half, bounded=bounded)
        differences[name] = replace(plain, low=low, high=high)
        bounds[name] = within(plain.mean - one * plain.standard_error, high, bounded=bounded)[0]
    return Contrasts(
        differences=differences,
        bounds=bounds,
        apart=tuple(own),
        pooled=pooled,
        deviation=None if layout.variance is None else math.sqrt(layout.variance),
        degrees=layout.degrees,
        blocks=len(layout.blocks),
        candidates=len(layout.candidates),
        level=level,
    )
