"""Dunnett's critical value for comparing several candidates with one.

Dunnett 1955, JASA 50, and 1964, Biometrics 20.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from tfeff.trials.intervals import student_quantile

Array = npt.NDArray[np.float64]


@functools.lru_cache(maxsize=4096)
def dunnett_quantile(
    comparisons: int, degrees: int, correlation: float, confidence: float = 0.95, sides: int = 2
) -> float:
    """The critical value: all |t| statistics (one-sided: all t statistics) stay below it with probability `confidence`.

    The statistics share a standard error and are equally correlated, as differences from one control are. The
    correlation is 1/2 if all candidates have the same number of values.

    Args:
        comparisons: number of statistics, > 0.
        degrees: degrees of freedom of the standard error, > 0.
        correlation: between any two statistics, in [0, 1]; capped at 0.9, which is conservative.
        confidence: the probability, in (0, 1).
        sides: 1 or 2.

    >>> round(dunnett_quantile(9, 10, 0.5), 2)
    3.24
    """
    single = student_quantile(degrees, 1.0 - (1.0 - confidence) / sides)
    if comparisons == 1:
        return single
    rho = min(correlation, 0.9)
    own = math.sqrt(1.0 - rho)

    def probability(quantile: float) -> float:
        def inside(u: Array, shared: Array) -> Array:
            low = special.ndtr((-quantile * u + shared) / own) if sides == 2 else 0.0
            return (special.ndtr((quantile * u + shared) / own) - low) ** comparisons

        return _expectation(inside, degrees, rho)

    # Bracketed by the value for a single statistic and by Bonferroni's bound.
    bound = student_quantile(degrees, 1.0 - (1.0 - confidence) / (sides * comparisons))
    return float(optimize.brentq(lambda quantile: probability(quantile) - confidence, 0.99 * single, 1.01 * bound))


def power(comparisons: int, degrees: int, correlation: float, quantile: float, shift: float) -> float:
    """The probability that all t statistics exceed a critical value.

    Args:
        comparisons: number of statistics, > 0.
        degrees: degrees of freedom of their common standard error, > 0.
        correlation: between any two statistics, in [0, 1).
        quantile: the critical value.
        shift: expectation of every difference, in standard errors.
    """
    own = math.sqrt(1.0 - correlation)
    return _expectation(
        lambda u, shared: special.ndtr((shift + shared - quantile * u) / own) ** comparisons, degrees, correlation
    )


def _expectation(inside: Callable[[Array, Array], Array], degrees: int, correlation: float) -> float:
    """The mean of a function of u, the standard error over its expectation, and of what the statistics share.

    Given both, the statistics are independent.
    """
    z, z_weight = np.polynomial.hermite_e.hermegauss(64)
    nodes, u_weight = np.polynomial.legendre.leggauss(128)
    u = np.sqrt(special.chdtri(degrees, 0.5 - nodes / 2.0) / degrees)[:, None]
    return float(u_weight @ inside(u, math.sqrt(correlation) * z) @ z_weight) / (2.0 * math.sqrt(2.0 * math.pi))
