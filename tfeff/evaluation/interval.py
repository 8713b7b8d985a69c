"""Confidence intervals of a proportion, such as the accuracy on n examples."""

import math
from statistics import NormalDist


def standard_error(proportion: float, examples: float) -> float:
    """Standard error of a proportion measured on independent examples, sqrt(p (1 - p) / n).

    Args:
        proportion: the measured proportion, in [0, 1].
        examples: number of examples, > 0 (the effective number, if they are weighted).

    >>> round(standard_error(0.9, 10_000), 4)
    0.003
    """
    return math.sqrt(proportion * (1.0 - proportion) / examples)


def wilson_interval(proportion: float, examples: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927).

    Unlike p ± z · standard error, it stays inside [0, 1] and has a positive width at p = 0 and p = 1, which are common
    on small test sets.

    Args:
        proportion: the measured proportion, in [0, 1].
        examples: number of examples, > 0 (the effective number, if they are weighted).
        confidence: coverage of the interval, in (0, 1).

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
