"""The two-way layout, value = candidate + block + residual, and differences of candidates under it.

All candidates share the same blocks, so they are compared within blocks: a hard fold is hard for every candidate.
Failed trials (None or NaN) are ignored.

`TwoWay.difference` is for two candidates chosen in advance. `TwoWay.differences_from` compares all candidates with the
one that came out best, and adjusts for these comparisons with the two-sided critical value of Dunnett (1955, JASA 50;
1964, Biometrics 20). The truly best candidate is then ruled out in at most 2.5 % of experiments, however many
candidates there are and although the same data selected the one it is compared with (the argument of Hsu 1984, Annals
of Statistics 12(3)). Bonferroni's correction guarantees the same but ignores that all comparisons share a candidate, so
its intervals are wider. Without adjustment, the truly best of 20 equal candidates would be ruled out in one experiment
in five.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse, special

from tfeff.trials.intervals import Difference, student_quantile
from tfeff.trials.results import Block, Table, finite

ROUNDING = 1e-12
"""Differences this small relative to the values are rounding errors."""


@dataclass(frozen=True, eq=False)
class TwoWay:
    """The additive model of the two-way layout, fitted by least squares.

    The residual variance is pooled over all candidates and has (c - 1)(k - 1) degrees of freedom for c candidates and
    k blocks, whereas a single pair has k - 1: with 3 folds, t is about 2 instead of 4.3. Cells may be missing. If they
    leave two candidates without any chain of shared blocks (the layout is not connected), their difference has no
    interval.

    Attributes:
        candidates: those with at least one value, in the order of the table.
        blocks: those with at least one value, sorted.
        means: adjusted mean of each candidate: the model's estimate of its mean over all blocks. Equals its plain
            mean if no cell is missing.
        variance: residual variance; None without degrees of freedom.
        degrees: values - candidates - blocks + connected parts.
        filled: bool [candidates, blocks], cells with a value.
        part: int [candidates], index of the connected part of each candidate.
        covariance: float64 [candidates, candidates] of the candidates' effects, in units of the residual variance.
        resolution: differences up to this size are rounding errors.
    """

    candidates: tuple[str, ...]
    blocks: tuple[Block, ...]
    means: Mapping[str, float]
    variance: float | None
    degrees: int
    filled: npt.NDArray[np.bool_]
    part: npt.NDArray[np.int32]
    covariance: npt.NDArray[np.float64]
    resolution: float

    @property
    def ranking(self) -> tuple[str, ...]:
        """Candidates by descending adjusted mean; equal means by name, independent of the order of the table."""
        highest = max(map(abs, self.means.values()), default=0.0)
        digits = 12 - math.ceil(math.log10(highest)) if highest else 12
        return tuple(sorted(self.candidates, key=lambda name: (-round(self.means[name], digits), name)))

    def difference(self, first: str, second: str, confidence: float = 0.95) -> Difference:
        """First minus second with the pooled variance, for two candidates that were not selected by their results."""
        quantile = student_quantile(self.degrees, 0.5 + confidence / 2.0) if self.degrees else None
        return self._difference(self.candidates.index(first), self.candidates.index(second), quantile)

    def differences_from(self, best: str, confidence: float = 0.95) -> dict[str, Difference]:
        """Best minus each other candidate, with intervals adjusted for these comparisons (Dunnett).

        The truly best candidate is ruled out (the interval of its difference lies above 0) with a probability of at
        most (1 - confidence) / 2: another mean would have to exceed its own by chance, and the critical value covers
        all candidates at once. The intervals hold simultaneously with the given confidence if the best was clear
        beforehand. Among near equals the mean of the selected one is biased upward, and coverage is lower.

        With missing cells, the smallest correlation among a candidate's comparisons is used for all of them, which is
        conservative (Slepian 1962). With none missing all correlations are 1/2.

        Args:
            best: the candidate with the highest adjusted mean.
            confidence: simultaneous coverage of all intervals, in (0, 1).
        """
        first = self.candidates.index(best)
        differences = {}
        for second, name in enumerate(self.candidates):
            if second == first:
                continue
            quantile = None
            if self.degrees and self.part[first] == self.part[second]:
                comparisons, correlation = self._comparisons(second)
                quantile = dunnett_quantile(comparisons, self.degrees, correlation, confidence)
            differences[name] = self._difference(first, second, quantile)
        return differences

    def _difference(self, first: int, second: int, quantile: float | None) -> Difference:
        n = int((self.filled[first] & self.filled[second]).sum())
        mean = self.means[self.candidates[first]] - self.means[self.candidates[second]]
        if abs(mean) <= self.resolution:
            mean = 0.0
        if quantile is None or self.variance is None or self.part[first] != self.part[second]:
            return Difference(n, mean, None, self.degrees, None, None)
        g = self.covariance
        error = math.sqrt(self.variance * max(0.0, g[first, first] + g[second, second] - 2.0 * g[first, second]))
        return Difference(n, mean, error, self.degrees, mean - quantile * error, mean + quantile * error)

    def _comparisons(self, control: int) -> tuple[int, float]:
        """The number of candidates compared with the control, and the smallest correlation of these differences."""
        others = [i for i in range(len(self.candidates)) if i != control and self.part[i] == self.part[control]]
        g = self.covariance
        shared = g[np.ix_(others, others)] - g[others, control][:, None] - g[others, control] + g[control, control]
        deviation = np.sqrt(np.diag(shared))
        # Never negative: the candidates' information matrix is the Laplacian of a graph, and its inverse with one node
        # fixed has no negative entry.
        return len(others), max(0.0, float((shared / np.outer(deviation, deviation)).min()))


def fit_two_way(table: Table) -> TwoWay:
    """Fits the two-way layout of candidates and blocks; candidates without a value are ignored.

    Raises:
        ValueError: the table has no value.

    >>> table = {"a": {(0, 0): 0.60, (1, 0): 0.70}, "b": {(0, 0): 0.50, (1, 0): 0.64}, "c": {(1, 0): 0.61}}
    >>> layout = fit_two_way(table)
    >>> {name: round(mean, 3) for name, mean in layout.means.items()}
    {'a': 0.65, 'b': 0.57, 'c': 0.55}
    """
    values = {name: finite(row) for name, row in table.items()}
    candidates = tuple(name for name, row in values.items() if row)
    blocks = tuple(sorted({block for row in values.values() for block in row}))
    if not candidates:
        raise ValueError("the table has no value")
    y = np.array([[values[name].get(block, np.nan) for block in blocks] for name in candidates], np.float64)
    filled = ~np.isnan(y)
    y = np.where(filled, y, 0.0)

    # Normal equations of the candidates' effects after eliminating those of the blocks; every block has a value.
    per_block = filled.sum(axis=0)
    shared = filled / per_block @ filled.T
    information = np.diag(filled.sum(axis=1).astype(np.float64)) - shared
    parts, part = sparse.csgraph.connected_components(shared > 0.0, directed=False)
    covariance = np.linalg.pinv(information, rcond=1e-10, hermitian=True)
    block_means = y.sum(axis=0) / per_block
    effects = covariance @ (filled * (y - block_means)).sum(axis=1)
    block_effects = (filled * (y - effects[:, None])).sum(axis=0) / per_block
    residuals = filled * (y - effects[:, None] - block_effects)

    degrees = int(filled.sum()) - len(candidates) - len(blocks) + parts
    resolution = ROUNDING * float(np.abs(y).max())
    squares = float((residuals**2).sum())
    if squares <= filled.sum() * resolution**2:
        squares = 0.0
    return TwoWay(
        candidates=candidates,
        blocks=blocks,
        means=dict(zip(candidates, (effects + block_effects.mean()).tolist(), strict=True)),
        variance=squares / degrees if degrees else None,
        degrees=degrees,
        filled=filled,
        part=part,
        covariance=covariance,
        resolution=resolution,
    )


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
