"""The two-way layout, value = candidate + block + residual, and differences of candidates under it.

All candidates share the same blocks, so they are compared within blocks: a hard fold is hard for every candidate.
Failed trials (None or NaN) are ignored.

`TwoWay.difference` is for two candidates chosen in advance. `TwoWay.differences_from` has intervals that hold for all
pairs of candidates at once (Tukey 1953; Kramer 1956, Biometrics 12), so the same data may select the candidates that
are compared. Intervals for comparisons with one control (Dunnett) would be narrower, but the highest mean of several is
biased upward. With 10 equal candidates, all of them hold in only 85 % of experiments. `TwoWay.losses` bounds what each
candidate loses against the truly best one, whichever that is.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse, special

from tfeff.trials.intervals import Difference, student_quantile, within
from tfeff.trials.proportions import MOST, in_range, variances
from tfeff.trials.results import Block, Table, finite

ROUNDING = 1e-12
"""Differences this small relative to the values are rounding errors."""


@dataclass(frozen=True, eq=False)
class TwoWay:
    """The additive model of the two-way layout, fitted by weighted least squares.

    All candidates have the same residual variance or, if the metric is in [0, 1], one proportional to p (1 - p) of
    their mean p (`proportions`), since values near 1 vary less. It is pooled over all candidates and has (c - 1)(k - 1)
    degrees of freedom for c candidates and k blocks. A single pair has only k - 1: with 3 folds, pooling makes t about
    2 instead of 4.3. Cells may be missing. If they leave two candidates without any chain of shared blocks (the layout
    is not connected), their difference has no interval.

    Attributes:
        candidates: candidates with at least one value, in the order of the table.
        blocks: blocks with at least one value, sorted.
        means: adjusted mean of each candidate: the model's estimate of its mean over all blocks of its connected part.
            Equals its plain mean if no cell is missing.
        variance: residual variance; None without degrees of freedom. Of a metric in [0, 1], relative to p (1 - p).
        degrees: values - candidates - blocks + connected parts.
        values: float64 [candidates, blocks], NaN without a value.
        filled: bool [candidates, blocks], cells with a value.
        part: int [candidates], index of the connected part of each candidate.
        spread: float64 [candidates], the variance of a value in units of `variance`: p (1 - p) if the metric is in
            [0, 1], otherwise 1.
        resolution: differences up to this size are rounding errors.
        bounded: whether the metric is in [0, 1].
    """

    candidates: tuple[str, ...]
    blocks: tuple[Block, ...]
    means: Mapping[str, float]
    variance: float | None
    degrees: int
    values: npt.NDArray[np.float64]
    filled: npt.NDArray[np.bool_]
    part: npt.NDArray[np.int32]
    spread: npt.NDArray[np.float64]
    resolution: float
    bounded: bool

    @cached_property
    def _block_covariance(self) -> npt.NDArray[np.float64]:
        """float64 [blocks, blocks], that of the blocks' effects. Those of the candidates follow from it."""
        return _block_covariance(self._weights)

    @cached_property
    def _own(self) -> npt.NDArray[np.float64]:
        """float64 [candidates], variance of the mean of a candidate's values, in units of the residual variance."""
        return np.asarray(1.0 / self._weights.sum(axis=1))

    @cached_property
    def _patterns(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Index of the pattern of blocks in which a candidate has values, int [candidates]; and the covariances of what
        the estimated effects of their blocks add to two candidates' effects, float64 [patterns, patterns].

        Few cells are missing, so there are few patterns.
        """
        patterns, pattern = np.unique(self.filled, axis=0, return_inverse=True)
        shares = patterns / patterns.sum(axis=1, keepdims=True)
        return pattern.reshape(-1), shares @ self._block_covariance @ shares.T

    @cached_property
    def _most_varying(self) -> npt.NDArray[np.intp]:
        """The three candidates of each pattern whose own means vary most, int [patterns, 3]; -1: there are fewer."""
        pattern, shared = self._patterns
        order = np.lexsort((-self._own, pattern))
        firsts = np.searchsorted(pattern[order], np.arange(len(shared)))
        place = np.arange(len(order)) - firsts[pattern[order]]
        found = np.full((len(shared), 3), -1)
        found[pattern[order][place < 3], place[place < 3]] = order[place < 3]
        return found

    def squares(self, control: int) -> npt.NDArray[np.float64]:
        """Returns the variances of all candidates' differences from one, in units of the residual variance.

        Args:
            control: index of the candidate.

        Returns:
            float64 [candidates]; without meaning for those of another connected part.
        """
        pattern, shared = self._patterns
        own = pattern[control]
        of_blocks = np.diag(shared) - 2.0 * shared[own] + shared[own, own]
        found = np.maximum(0.0, self._own + self._own[control] + of_blocks[pattern])
        found[control] = 0.0
        return found

    @property
    def _weights(self) -> npt.NDArray[np.float64]:
        return self.filled / self.spread[:, None]

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.candidates)}

    @property
    def ranking(self) -> tuple[str, ...]:
        """Candidates by descending adjusted mean; equal means by name, independent of the order of the table.

        Those of the connected part with the most values come first: means of different parts are not comparable.
        """
        highest = max(map(abs, self.means.values()), default=0.0)
        digits = 12 - math.ceil(math.log10(highest)) if highest else 12
        counts = np.bincount(self.part, self.filled.sum(axis=1))[self.part]

        def key(name: str) -> tuple[float, float, str]:
            return -float(counts[self._place[name]]), -round(self.means[name], digits), name

        return tuple(sorted(self.candidates, key=key))

    def connected(self, first: str, second: str) -> bool:
        """Returns whether a chain of shared blocks connects two candidates, so that they can be compared."""
        return bool(self.part[self._place[first]] == self.part[self._place[second]])

    def difference(self, first: str, second: str) -> Difference:
        """Returns first minus second with the pooled variance and a 95 % interval.

        The two candidates must not have been selected by their results.
        """
        quantile = student_quantile(self.degrees, 0.975) if self.degrees else None
        one, other = self._place[first], self._place[second]
        return self._difference(one, other, self.squares(one)[other], quantile)

    def differences_from(self, best: str) -> dict[str, Difference]:
        """Returns the best minus each other candidate, with intervals that hold for all pairs of candidates at once.

        With equal variances and no missing cell, all pairs together have exactly 95 % confidence (Tukey). With unequal
        variances, they have at least it (Hayter 1984, Annals of Statistics 12(1)); with missing cells, this has been
        seen in simulations, but not proved.

        Args:
            best: the candidate with the highest adjusted mean, or any other.
        """
        first = self._place[best]
        squares = self.squares(first)
        quantile = tukey_quantile(len(self.candidates), self.degrees) if self.degrees else None
        return {
            name: self._difference(first, second, squares[second], quantile)
            for second, name in enumerate(self.candidates)
            if second != first
        }

    def losses(self) -> dict[str, float | None]:
        """Returns candidate -> upper bound of the best candidate's true mean minus its own.

        Multiple comparisons with the best (Hsu 1981, Annals of Statistics 9(5); 1984): all bounds hold together with
        95 % confidence, whichever candidate is truly the best. If that is k, all m_k - m_i are below their estimates
        plus one-sided Dunnett margins, with k as the control; the bound of i is the largest over all k that these
        margins do not rule out as the best.

        The pooled variance is too small for a candidate whose training fails on some blocks. Therefore a bound is at
        least that of the paired differences from the candidate with the highest mean, or, of this one, from the second
        (one-sided, not adjusted for several comparisons).

        None if the bound is unknown, because there are no degrees of freedom, fewer than two blocks in common with that
        candidate, or a candidate without a chain of blocks in common.
        """
        if not self.degrees or self.variance is None or self.part.any():
            return dict.fromkeys(self.candidates)
        means = np.array([self.means[name] for name in self.candidates])
        counts = self.filled.sum(axis=1)
        highest = np.zeros(len(means))
        for control, mean in enumerate(means):
            quantile, squares, leads = self._quantile(control), self.squares(control), mean - means
            bounds = leads + quantile * np.sqrt(self.variance * squares)
            if self.bounded:
                # A candidate whose mean is too high by chance seems to vary too little: by the variance at the bound.
                lowered = np.clip(mean - bounds, 0.0, 1.0)
                wider = np.maximum(0.0, lowered * (1.0 - lowered) - self.spread) / counts
                bounds = leads + quantile * np.sqrt(self.variance * (squares + wider))
            bounds[control] = 0.0
            if bounds.min() >= 0.0:  # otherwise, the control is not the best
                highest = np.maximum(highest, bounds)
        if self.bounded:
            highest = np.minimum(highest, 1.0)
        found: dict[str, float | None] = {}
        first, *others = (self._place[name] for name in self.ranking[:2])
        for i, name in enumerate(self.candidates):
            paired = self.values[others[0] if i == first and others else first] - self.values[i]
            paired = paired[~np.isnan(paired)]
            found[name] = None
            if len(paired) > 1:
                half = student_quantile(len(paired) - 1, 0.95) * paired.std(ddof=1) / math.sqrt(len(paired))
                found[name] = max(float(highest[i]), float(paired.mean() + half))
        return found

    def _difference(self, first: int, second: int, square: float, quantile: float | None) -> Difference:
        n = int((self.filled[first] & self.filled[second]).sum())
        mean = self.means[self.candidates[first]] - self.means[self.candidates[second]]
        if abs(mean) <= self.resolution:
            mean = 0.0
        if quantile is None or self.variance is None or self.part[first] != self.part[second]:
            return Difference(n, mean, None, self.degrees, None, None)
        error = math.sqrt(self.variance * square)
        ends = within(mean - quantile * error, mean + quantile * error, bounded=self.bounded)
        return Difference(n, mean, error, self.degrees, *ends)

    def _quantile(self, control: int) -> float:
        """Returns Dunnett's one-sided critical value for the differences of all others from the control.

        By the smallest correlation of these differences (Slepian 1962).
        """
        if len(self.candidates) == 1:
            return 0.0
        correlation = self.least_correlation(self.candidates[control])
        return dunnett_quantile(len(self.candidates) - 1, self.degrees, correlation, sides=1)

    def least_correlation(self, control: str) -> float:
        """Returns the smallest correlation between the differences of two candidates from the control.

        It is rounded down to two decimals, so that few quantiles are computed.
        """
        return math.floor(100.0 * self._least_correlation(self._place[control]) + 1e-9) / 100.0

    def _least_correlation(self, control: int) -> float:
        """Returns the smallest correlation, not rounded.

        The covariance of two differences depends only on the candidates' patterns, so it is smallest relative to their
        deviations for those of a pattern that vary most.
        """
        pattern, shared = self._patterns
        own = pattern[control]
        covariance = self._own[control] + shared - shared[own] - shared[:, [own]] + shared[own, own]
        three, row = self._most_varying.copy(), self._most_varying[own]
        if control in row:
            three[own] = *row[row != control], -1
        most, second = np.append(self._own, np.nan)[three[:, :2].T] + np.diag(covariance)
        different = covariance / np.sqrt(np.outer(most, most))
        np.fill_diagonal(different, np.diag(covariance) / np.sqrt(most * second))
        # Never negative: the candidates' information matrix is the Laplacian of a graph, and its inverse with one node
        # fixed has no negative entry.
        return max(0.0, float(np.fmin.reduce(different, axis=None, initial=1.0)))


def fit_two_way(table: Table, *, bounded: bool = False, dispersion: float | None = None) -> TwoWay:
    """Fits the two-way layout of candidates and blocks; candidates without a value are ignored.

    Args:
        bounded: whether the metric is in [0, 1]; values beyond it are treated as unbounded nevertheless.
        dispersion: variance of a metric in [0, 1] relative to p (1 - p); needed if the table has only one block.

    Raises:
        ValueError: the table has no value.

    >>> table = {"a": {(0, 0): 0.60, (1, 0): 0.70}, "b": {(0, 0): 0.50, (1, 0): 0.64}, "c": {(1, 0): 0.61}}
    >>> layout = fit_two_way(table)
    >>> {name: round(mean, 3) for name, mean in layout.means.items()}
    {'a': 0.65, 'b': 0.57, 'c': 0.55}
    """
    rows = {name: finite(row) for name, row in table.items()}
    candidates = tuple(name for name, row in rows.items() if row)
    blocks = tuple(sorted({block for row in rows.values() for block in row}))
    if not candidates:
        raise ValueError("the table has no value")
    values = np.array([[rows[name].get(block, np.nan) for block in blocks] for name in candidates], np.float64)
    filled = ~np.isnan(values)
    bounded = bounded and in_range(values[filled].tolist())
    spread = variances(values, dispersion) if bounded else np.ones(len(values))
    y = np.where(filled, values, 0.0)
    weights = filled / spread[:, None]

    # Normal equations of the blocks' effects, of which there are few, after eliminating those of the candidates.
    total = weights.sum(axis=1)
    row_means = (weights * y).sum(axis=1) / total
    block_effects = _block_covariance(weights) @ (weights * (y - row_means[:, None])).sum(axis=0)
    effects = (weights * (y - block_effects)).sum(axis=1) / total
    row, column = np.nonzero(filled)
    cells = sparse.coo_array((np.ones(len(row)), (row, len(candidates) + column)), shape=(sum(filled.shape),) * 2)
    parts, joint_part = sparse.csgraph.connected_components(cells, directed=False)
    part, part_of_block = np.split(joint_part, [len(candidates)])
    # Of each connected part, the candidates' effects add up to 0.
    centers = np.bincount(part, effects) / np.bincount(part)
    effects, block_effects = effects - centers[part], block_effects + centers[part_of_block]
    levels = np.bincount(part_of_block, block_effects) / np.bincount(part_of_block)
    residuals = filled * (y - effects[:, None] - block_effects)

    degrees = int(filled.sum()) - len(candidates) - len(blocks) + parts
    resolution = ROUNDING * float(np.abs(y).max())
    squares = float((weights * residuals**2).sum())
    if squares <= weights.sum() * resolution**2:
        squares = MOST * degrees if bounded else 0.0  # see `proportions.dispersion`
    return TwoWay(
        candidates=candidates,
        blocks=blocks,
        means=dict(zip(candidates, (effects + levels[part]).tolist(), strict=True)),
        variance=squares / degrees if degrees else None,
        degrees=degrees,
        values=values,
        filled=filled,
        part=part,
        spread=spread,
        resolution=resolution,
        bounded=bounded,
    )


def _block_covariance(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns float64 [blocks, blocks], covariance of the blocks' effects, for weights [candidates, blocks]."""
    information = np.diag(weights.sum(axis=0)) - weights.T @ (weights / weights.sum(axis=1, keepdims=True))
    return np.linalg.pinv(information, rcond=1e-10, hermitian=True)


Array = npt.NDArray[np.float64]


@functools.lru_cache(maxsize=4096)
def dunnett_quantile(
    comparisons: int, degrees: int, correlation: float, confidence: float = 0.95, sides: int = 2
) -> float:
    """Returns the value that all |t| statistics (one-sided: t) stay below with probability `confidence`.

    The statistics share a standard error and are equally correlated, as differences from one control are (Dunnett 1955,
    JASA 50; 1964, Biometrics 20). The correlation is 1/2 if all candidates have the same number of values.

    Args:
        comparisons: number of statistics, > 0.
        degrees: degrees of freedom of the standard error, > 0.
        correlation: between any two statistics, in [0, 1], up to rounding; capped at 0.9, which is conservative.
        sides: 1 or 2.

    >>> round(dunnett_quantile(9, 10, 0.5), 2)
    3.24
    """
    single = student_quantile(degrees, 1.0 - (1.0 - confidence) / sides)
    if comparisons == 1:
        return single
    rho = min(max(0.0, correlation), 0.9)
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
    """Returns the probability that all t statistics exceed a critical value.

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


@functools.lru_cache(maxsize=4096)
def tukey_quantile(candidates: int, degrees: int) -> float:
    """Returns the value that the |t| statistics of all pairs stay below with a probability of 95 %.

    The quantile of the studentized range, divided by sqrt(2).

    Args:
        candidates: number of candidates, > 0.
        degrees: degrees of freedom of the standard error, > 0.

    >>> round(math.sqrt(2) * tukey_quantile(10, 20), 2)
    5.01
    """
    single = student_quantile(degrees, 0.975)
    if candidates <= 2:
        return single

    def probability(quantile: float) -> float:
        # The lowest of the independent standard normal values is z, the others are within the range above it.
        def inside(u: Array, z: Array) -> Array:
            return candidates * (special.ndtr(z + math.sqrt(2.0) * quantile * u) - special.ndtr(z)) ** (candidates - 1)

        return _expectation(inside, degrees, 1.0)

    bound = student_quantile(degrees, 1.0 - 0.05 / (candidates * (candidates - 1)))
    return float(optimize.brentq(lambda quantile: probability(quantile) - 0.95, 0.99 * single, 1.01 * bound))


@functools.cache
def _nodes() -> tuple[Array, Array, Array, Array]:
    """Returns points and weights for a standard normal variable, and for one that is uniform in [-1, 1]."""
    return (*np.polynomial.hermite_e.hermegauss(64), *np.polynomial.legendre.leggauss(128))


def _expectation(inside: Callable[[Array, Array], Array], degrees: int, correlation: float) -> float:
    """Returns the mean of a function of u, the standard error over its expectation, and of what the statistics share.

    Given both, the statistics are independent.
    """
    z, z_weight, nodes, u_weight = _nodes()
    u = np.sqrt(special.chdtri(degrees, 0.5 - nodes / 2.0) / degrees)[:, None]
    return float(u_weight @ inside(u, math.sqrt(correlation) * z) @ z_weight) / (2.0 * math.sqrt(2.0 * math.pi))
