"""What the trials of a search say about its candidates: intervals, paired comparisons, and who may be the best.

Every candidate meets the same *blocks*, pairs of (fold, seed), so comparisons are made within blocks: a hard fold is
hard for all. A *table* maps candidate -> block -> value, higher being better. None and NaN are trials that failed; they
are left out of everything. What cannot be known (the spread of one value) is None throughout, never NaN, so that JSON
can hold it.

Three kinds of 95 % interval are told apart:

- `summary`: of one candidate's mean, by Student's t over its blocks.
- `paired`, `TwoWay.difference`: of the difference of two candidates that were named beforehand. Not adjusted.
- `TwoWay.against`: of the differences of all candidates from the one that came out best. Each of the others had its
  chance to be the better one, so the interval of each takes all these comparisons into account, by the two-sided
  critical value of Dunnett (1955, JASA 50; 1964, Biometrics 20). The truly best candidate is then ruled out in at most
  2.5 % of searches, however many there are and though the same data picked the one it is compared with (the argument
  of Hsu 1984, Annals of Statistics 12(3)). Bonferroni's value would do that too, but ignores that all comparisons share
  a candidate and is wider. Unadjusted, the truly best of 20 equals would be ruled out in one search of five.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse, special

from tfeff.errors import UserError

Block = tuple[int, int]
"""(fold, seed): what all candidates are tried under."""

Table = Mapping[str, Mapping[Block, float | None]]
"""Candidate -> block -> value, higher being better; None or NaN where the trial failed."""

# Differences this small against the values are rounding, not effects.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Summary:
    """One candidate's values over its blocks.

    Attributes:
        n: number of values, > 0.
        mean: their mean.
        deviation: their standard deviation with divisor n - 1; None where n = 1.
        standard_error: of the mean, deviation / sqrt(n); None where n = 1.
        low: lower end of the t interval of the mean; None where n = 1.
        high: its upper end; None where n = 1.
    """

    n: int
    mean: float
    deviation: float | None
    standard_error: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """One candidate's mean less another's.

    Attributes:
        n: number of blocks that both have.
        mean: the difference.
        standard_error: of the difference; None where it cannot be known.
        degrees: degrees of freedom of the standard error.
        low: lower end of the interval; None where there is none.
        high: its upper end; None where there is none.
    """

    n: int
    mean: float
    standard_error: float | None
    degrees: int
    low: float | None
    high: float | None

    @property
    def separated(self) -> bool:
        """Whether there is an interval and it leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0.0 or self.high < 0.0)


def summary(values: Iterable[float | None], confidence: float = 0.95) -> Summary:
    """Mean, spread and t interval of one candidate's values.

    Args:
        values: one a block; None and NaN are left out.
        confidence: coverage of the interval, in (0, 1).

    Raises:
        ValueError: no value is left.

    >>> of = summary([0.70, 0.72, 0.74])
    >>> [round(x, 4) for x in (of.mean, of.deviation, of.standard_error, of.low, of.high)]
    [0.72, 0.02, 0.0115, 0.6703, 0.7697]
    """
    sample = np.array([value for value in values if _is_value(value)], np.float64)
    if not len(sample):
        raise ValueError("a summary needs at least one value")
    n, mean = len(sample), float(sample.mean())
    if n == 1:
        return Summary(n, mean, None, None, None, None)
    deviation = float(sample.std(ddof=1))
    error = deviation / math.sqrt(n)
    half_width = _student(n - 1, 0.5 + confidence / 2.0) * error
    return Summary(n, mean, deviation, error, mean - half_width, mean + half_width)


def by_fold(values: Mapping[Block, float | None]) -> dict[Block, float]:
    """The mean over the seeds of each fold, under (fold, 0).

    Trainings on one fold share its luck: as values of their own they would make intervals too narrow.

    >>> by_fold({(0, 0): 0.5, (0, 1): 0.75, (1, 0): 0.5, (1, 1): None})
    {(0, 0): 0.625, (1, 0): 0.5}
    """
    found: dict[int, list[float]] = {}
    for (fold, _), value in _measured(values).items():
        found.setdefault(fold, []).append(value)
    return {(fold, 0): float(np.mean(of)) for fold, of in found.items()}


def paired(
    first: Mapping[Block, float | None], second: Mapping[Block, float | None], confidence: float = 0.95
) -> Difference:
    """First less second over the blocks that both have, by these two candidates' own spread (the paired t interval).

    Args:
        first: block -> value.
        second: block -> value.
        confidence: coverage of the interval, in (0, 1).

    Raises:
        ValueError: they have no block in common.
    """
    one, other = _measured(first), _measured(second)
    common = [block for block in one if block in other]
    if not common:
        raise ValueError("no block has a value of both candidates")
    of = summary((one[block] - other[block] for block in common), confidence)
    return Difference(of.n, of.mean, of.standard_error, of.n - 1, of.low, of.high)


@dataclass(frozen=True, eq=False)
class TwoWay:
    """The additive model of the two-way layout, value = candidate + block + residual, fitted by least squares.

    One residual variance for all candidates has (c - 1)(k - 1) degrees of freedom with c candidates and k blocks, where
    one pair alone has k - 1: with 3 folds, t is about 2 instead of 4.3. Cells may be missing. Where they leave
    candidates without any chain of shared blocks between them (the layout is not connected), the difference of
    these has no interval.

    Attributes:
        candidates: those with at least one value, in the table's order.
        blocks: those with at least one value, in order.
        means: adjusted mean of each candidate: what its mean over all blocks would be by the model; its plain mean
            where no cell is missing.
        variance: residual variance; None without degrees of freedom.
        degrees: values less candidates less blocks plus the number of unconnected parts.
        filled: bool [candidates, blocks], where there is a value.
        part: int [candidates], number of the connected part that each candidate lies in.
        covariance: float64 [candidates, candidates] of the candidates' effects, in units of the residual variance.
        resolution: differences up to this size are rounding.
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
        """Candidates from the highest adjusted mean to the lowest; equal ones by name, whatever the table's order."""
        highest = max(map(abs, self.means.values()), default=0.0)
        digits = 12 - math.ceil(math.log10(highest)) if highest else 12
        return tuple(sorted(self.candidates, key=lambda name: (-round(self.means[name], digits), name)))

    def difference(self, first: str, second: str, confidence: float = 0.95) -> Difference:
        """First less second, with the pooled variance; for two candidates that were not picked by their results.

        Args:
            first: a candidate with a value.
            second: another one.
            confidence: coverage of the interval, in (0, 1).
        """
        quantile = _student(self.degrees, 0.5 + confidence / 2.0) if self.degrees else None
        return self._difference(self.candidates.index(first), self.candidates.index(second), quantile)

    def against(self, best: str, confidence: float = 0.95) -> dict[str, Difference]:
        """Best less each other candidate, with intervals that take all these comparisons into account (Dunnett).

        The truly best candidate's interval begins above 0, which rules it out, with a probability of at most
        (1 - confidence) / 2: some other's mean would have to be above its own by chance, and the critical value
        covers all others at once. All intervals hold together with the given confidence if the best was clear
        beforehand; among near equals the one picked is somewhat too high, and fewer do.

        With missing cells the smallest correlation among a candidate's comparisons stands for all of them, which
        errs on the wide side (Slepian 1962); with none missing all are 1/2.

        Args:
            best: the candidate with the highest adjusted mean.
            confidence: of all intervals together, in (0, 1).
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
        """How many candidates the control is compared with, and the smallest correlation among these differences."""
        others = [i for i in range(len(self.candidates)) if i != control and self.part[i] == self.part[control]]
        g = self.covariance
        shared = g[np.ix_(others, others)] - g[others, control][:, None] - g[others, control] + g[control, control]
        deviation = np.sqrt(np.diag(shared))
        # Never negative: the candidates' information matrix is the Laplacian of a graph, and its inverse with one node
        # fixed has no negative entry.
        return len(others), max(0.0, float((shared / np.outer(deviation, deviation)).min()))


def pooled(table: Table) -> TwoWay:
    """Fits the two-way layout of candidates and blocks.

    Args:
        table: candidate -> block -> value; candidates without any value are left out.

    Raises:
        ValueError: the table holds no value.

    >>> layout = pooled({"a": {(0, 0): 0.60, (1, 0): 0.70}, "b": {(0, 0): 0.50, (1, 0): 0.64}, "c": {(1, 0): 0.61}})
    >>> {name: round(mean, 3) for name, mean in layout.means.items()}
    {'a': 0.65, 'b': 0.57, 'c': 0.55}
    """
    values = {name: _measured(row) for name, row in table.items()}
    candidates = tuple(name for name, row in values.items() if row)
    blocks = tuple(sorted({block for row in values.values() for block in row}))
    if not candidates:
        raise ValueError("the table holds no value")
    y = np.array([[values[name].get(block, np.nan) for block in blocks] for name in candidates], np.float64)
    filled = ~np.isnan(y)
    y = np.where(filled, y, 0.0)

    # Normal equations of the candidates' effects once those of the blocks are eliminated; every block has a value.
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
    resolution = _ROUNDING * float(np.abs(y).max())
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


@dataclass(frozen=True, eq=False)
class Ranking:
    """Which candidate came out best, which may be as good, and which one a family is built on.

    The best one's mean is the highest of several and so tends to be too high itself; a new measurement of it will on
    average be a little lower.

    Attributes:
        best: the candidate of the highest (adjusted) mean.
        tied: the others that cannot be told from it, highest mean first; all others where there are no intervals.
        chosen: the cheapest of the best and the tied ones; the best where there are no intervals at all.
        order: all candidates with a value, highest mean first.
        summaries: candidate -> its own mean and interval.
        differences: other candidate -> best less it, adjusted for many comparisons (`TwoWay.against`).
        sentence: all this in plain English.
    """

    best: str
    tied: tuple[str, ...]
    chosen: str
    order: tuple[str, ...]
    summaries: Mapping[str, Summary]
    differences: Mapping[str, Difference]
    sentence: str


def rank(
    table: Table,
    costs: Mapping[str, float],
    *,
    names: Mapping[str, str] | None = None,
    metric: str = "accuracy",
    left: int = 0,
) -> Ranking:
    """Says which candidate is the best, as far as the trials can say it.

    Args:
        table: candidate -> block -> value, of the candidates that were trained to the end; those without any value are
            left out.
        costs: what each candidate costs, in any one unit (multiply-adds, seconds); of those that cannot be told
            from the best the cheapest is chosen.
        names: candidate -> what the sentence calls it; its key where there is no other name.
        metric: what the values are, for the sentence.
        left: number of candidates that left before and are not in the table, for the sentence.

    Raises:
        UserError: no candidate has a value.

    >>> folds = [(0, 0), (1, 0), (2, 0)]
    >>> rows = {"a": [0.70, 0.72, 0.74], "b": [0.69, 0.72, 0.73], "c": [0.50, 0.53, 0.54]}
    >>> table = {name: dict(zip(folds, row)) for name, row in rows.items()}
    >>> ranking = rank(table, {"a": 3.0, "b": 2.0, "c": 1.0})
    >>> ranking.best, ranking.tied, ranking.chosen
    ('a', ('b',), 'b')
    >>> ranking.sentence.partition("; ")[2]
    '1 of 2 others, b, cannot be told from it with 3 folds; that one is cheaper and is taken.'
    """
    values = {name: _measured(row) for name, row in table.items()}
    if not any(values.values()):
        raise UserError("there is nothing to rank: every trial of every candidate failed")
    layout = pooled(values)
    highest = layout.means[layout.ranking[0]]
    equals = [name for name in layout.ranking if highest - layout.means[name] <= layout.resolution]
    best = min(equals, key=lambda name: (costs[name], name))
    order = (best, *(name for name in layout.ranking if name != best))
    differences = layout.against(best)
    tied = tuple(name for name in order[1:] if not differences[name].separated)
    measured = any(difference.low is not None for difference in differences.values())
    # `min` keeps the first of equals: among equally cheap ones that of the higher mean.
    chosen = min((best, *tied), key=lambda name: costs[name]) if measured else best
    summaries = {name: summary(values[name].values()) for name in order}
    called = {name: (names or {}).get(name, name) for name in order}
    sentence = _sentence(
        called[best],
        summaries[best],
        layout.means[best],
        others=[called[name] for name in order[1:]],
        tied=[called[name] for name in tied],
        cheaper=None if chosen == best else called[chosen],
        measured=measured,
        metric=metric,
        over=extent(layout.blocks),
    )
    if left:
        sentence += f" {left} {'candidate' if left == 1 else 'candidates'} left earlier."
    return Ranking(best, tied, chosen, order, summaries, differences, sentence)


def _sentence(
    best: str,
    of: Summary,
    mean: float,
    *,
    others: list[str],
    tied: list[str],
    cheaper: str | None,
    measured: bool,
    metric: str,
    over: str,
) -> str:
    """What a ranking says; `cheaper` is the tied candidate that is taken instead of the best, if there is one."""
    if not others:
        return f"{best} is the only candidate here; its mean {metric} is {number(mean)}{interval(of)} with {over}."
    found = f"{best} has the highest mean {metric}, {number(mean)}{interval(of)}"
    if not measured:
        return f"{found}; {over} cannot say how much of this is chance, so it is taken as it is."

    only = len(others) == 1
    if not tied:
        lower = f"the other one, {others[0]}, is" if only else f"all {len(others)} others are"
        return f"{found}; {lower} lower beyond chance with {over}, so the best is taken."
    if only:
        who = f"the other one, {others[0]},"
    elif len(tied) == 1:
        who = f"1 of {len(others)} others, {tied[0]},"
    else:
        who = f"all {len(others)} others" if len(tied) == len(others) else f"{len(tied)} of {len(others)} others"
    if cheaper is None:
        taken = f"{'that one is no' if len(tied) == 1 else 'none of them is'} cheaper, so the best is taken"
    else:
        taken = "that one is cheaper and" if len(tied) == 1 else f"the cheapest of them, {cheaper},"
        taken += " is taken"
    return f"{found}; {who} cannot be told from it with {over}; {taken}."


def extent(blocks: Iterable[Block]) -> str:
    """How much something was tried, in words.

    >>> extent([(0, 0), (1, 0)]), extent([(0, 7)])
    ('2 folds', '1 fold')
    """
    folds = len({fold for fold, _ in blocks})
    return f"{folds} fold{'s' * (folds != 1)}"


def interval(of: Summary | Difference, confidence: float = 0.95) -> str:
    """An interval as reports write it behind a mean; empty where there is none.

    Args:
        of: what has the interval.
        confidence: its coverage, in (0, 1).

    >>> interval(summary([0.70, 0.72, 0.74])), interval(summary([0.7]))
    (' (95 % 0.670 to 0.770)', '')
    """
    if of.low is None or of.high is None:
        return ""
    return f" ({100.0 * confidence:g} % {number(of.low)} to {number(of.high)})"


def number(value: float) -> str:
    """A value or difference as reports write it: three decimals, or two digits where it is small.

    >>> number(0.71249), number(0.02), number(0.00041), number(-0.0)
    ('0.712', '0.020', '0.00041', '0.000')
    """
    if abs(value) < _ROUNDING:
        value = 0.0
    return f"{value:.2g}" if 0.0 < abs(value) < 0.01 else f"{value:.3f}"


@functools.lru_cache(maxsize=4096)
def dunnett_quantile(comparisons: int, degrees: int, correlation: float, confidence: float = 0.95) -> float:
    """The value that none of several t statistics exceeds in size with a given probability (Dunnett 1955, two-sided).

    The statistics share their standard error and are equally correlated, as differences from one control are: with
    equally many values of each the correlation is 1/2.

    Args:
        comparisons: number of statistics, > 0.
        degrees: degrees of freedom of the standard error, > 0.
        correlation: between any two of them, in [0, 1]; above 0.9 taken as 0.9, which errs on the wide side.
        confidence: the probability, in (0, 1).

    >>> round(dunnett_quantile(9, 10, 0.5), 2)
    3.24
    """
    single = _student(degrees, 0.5 + confidence / 2.0)
    if comparisons == 1:
        return single
    rho = min(correlation, 0.9)
    # P(all |T| <= q) = E_u E_z [(Phi((q u + s z) / c) - Phi((-q u + s z) / c))^comparisons], s^2 = rho, c^2 = 1 - rho:
    # u is the standard error over its expectation, z what the statistics share.
    z, z_weight = np.polynomial.hermite_e.hermegauss(64)
    at, u_weight = np.polynomial.legendre.leggauss(128)
    u = np.sqrt(special.chdtri(degrees, 0.5 - at / 2.0) / degrees)[:, None]
    shared, own = math.sqrt(rho) * z, math.sqrt(1.0 - rho)

    def probability(quantile: float) -> float:
        inside = special.ndtr((quantile * u + shared) / own) - special.ndtr((-quantile * u + shared) / own)
        return float(u_weight @ inside**comparisons @ z_weight) / (2.0 * math.sqrt(2.0 * math.pi))

    # Between one statistic alone and Bonferroni's bound for all.
    bound = _student(degrees, 1.0 - (1.0 - confidence) / (2.0 * comparisons))
    return float(optimize.brentq(lambda quantile: probability(quantile) - confidence, 0.99 * single, 1.01 * bound))


def _student(degrees: int, probability: float) -> float:
    """Quantile of Student's t."""
    return float(special.stdtrit(degrees, probability))


def _measured(row: Mapping[Block, float | None]) -> dict[Block, float]:
    return {block: value for block, value in row.items() if _is_value(value)}


def _is_value(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
