"""Dunnett's critical value for comparing several candidates with one.

Dunnett 1955, JASA 50, and 1964, Biometrics 20.
"""

import functools
import math

import numpy as np
from scipy import optimize, special

from tfeff.trials.intervals import student_quantile


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
    # P(all |T| <= q) = E_u E_z [(Phi((q u + s z) / c) - Phi((-q u + s z) / c))^comparisons], s^2 = rho, c^2 = 1 - rho:
    # u is the standard error over its expectation, z the component that the statistics share. One-sided, the second
    # Phi is 0.
    z, z_weight = np.polynomial.hermite_e.hermegauss(64)
    nodes, u_weight = np.polynomial.legendre.leggauss(128)
    u = np.sqrt(special.chdtri(degrees, 0.5 - nodes / 2.0) / degrees)[:, None]
    shared, own = math.sqrt(rho) * z, math.sqrt(1.0 - rho)

    def probability(quantile: float) -> float:
        inside = special.ndtr((quantile * u + shared) / own)
        if sides == 2:
            inside = inside - special.ndtr((-quantile * u + shared) / own)
        return float(u_weight @ inside**comparisons @ z_weight) / (2.0 * math.sqrt(2.0 * math.pi))

    # Bracketed by the value for a single statistic and by Bonferroni's bound.
    bound = student_quantile(degrees, 1.0 - (1.0 - confidence) / (sides * comparisons))
    return float(optimize.brentq(lambda quantile: probability(quantile) - confidence, 0.99 * single, 1.01 * bound))
