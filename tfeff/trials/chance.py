"""The chance that a candidate is about as good as the best one, to decide which ones to train further.

The chance is Bayesian: unlike confidence bounds, it is informative with few folds, even a single one, if the residual
variance is known from elsewhere. The prior of the true means is the distribution of the candidates' means. It is
estimated from them without assuming its shape (empirical Bayes; Robbins 1956), by a few steps of the EM algorithm from
a uniform one (Laird 1978, JASA 73); few steps keep it smooth. Without such a prior, the highest of many means would be
taken at face value, and candidates that were merely unlucky would seem to be far below it (`tools/check_coverage.py`
shows how often the best one has a small chance).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.stats import qmc

from tfeff.trials.results import Table
from tfeff.trials.two_way import TwoWay, fit_two_way

DRAWS = 4096
"""Points of the quasi-Monte Carlo rule, a power of 2."""
VARIANCES = 16
"""Points for the residual variance, a power of 2."""
GRID = 256
"""Points for the true mean of a candidate."""
CANDIDATES_PER_STEP = 3
"""Candidates per step of the EM algorithm. Few candidates tell little about a distribution."""
FAR = 8.0
"""Candidates that are farther below the best one, in standard errors beyond the margin, have no chance."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prior:
    """What is known about the residual variance before the trials: a scaled inverse chi-square distribution.

    Attributes:
        variance: variance of a value on one block, without the effects of candidate and block. For a metric in [0, 1],
            it is relative to p (1 - p): for an accuracy, 1 / images if only the choice of validation images mattered;
            for mean average precision, see `tfeff.recipes.image_set.AnnotatedImages.trials`.
        degrees: degrees of freedom of the prior, > 0; infinite if the variance is known.
    """

    variance: float
    degrees: float


def chance_within(
    table: Table, margin: float, *, bounded: bool = False, prior: Prior | None = None
) -> dict[str, float]:
    """Returns candidate -> the posterior probability that its true mean is within `margin` of the highest true mean.

    Deterministic; the error of the quadrature is about 0.005. Candidates that have no chain of common blocks are not
    compared: each is held against the best of its own part, which makes its chance too high rather than too low.
    The chance that the best one is among several candidates can be as high as the sum of their chances. All chances are
    1 if nothing is known about the residual variance: there is no prior, and the table has no degrees of freedom, as
    with a single block.

    Args:
        table: candidate -> block -> value, higher is better; candidates without a value are left out.
        margin: largest difference that counts as equal, in the unit of the values, >= 0.
        bounded: whether the metric is in [0, 1].
        prior: prior of the residual variance.

    Raises:
        ValueError: the table has no value.

    >>> table = {"a": {(0, 0): 0.90}, "b": {(0, 0): 0.89}, "c": {(0, 0): 0.60}}
    >>> chances = chance_within(table, 0.01, bounded=True, prior=Prior(1 / 200, 50))
    >>> [name for name, chance in chances.items() if chance < 0.05]
    ['c']
    """
    layout = fit_two_way(table, bounded=bounded, dispersion=None if prior is None else prior.variance)
    chances, known = np.ones(len(layout.candidates)), prior is not None or layout.variance is not None
    for part in range(int(layout.part.max()) + 1):
        members = np.flatnonzero(layout.part == part)
        if known and len(members) > 1:
            chances[members] = _chances(layout, members, margin, _variances(layout, prior))
    return dict(zip(layout.candidates, chances.tolist(), strict=True))


def _variances(layout: TwoWay, prior: Prior | None) -> Floats:
    """Returns equally likely values of the residual variance [VARIANCES], by its posterior distribution."""
    own = layout.degrees if layout.variance is not None else 0
    degrees = own + (0.0 if prior is None else prior.degrees)
    if np.isinf(degrees):
        assert prior is not None
        return np.full(VARIANCES, prior.variance)
    squares = own * (layout.variance or 0.0) + (0.0 if prior is None else prior.degrees * prior.variance)
    levels = (np.arange(VARIANCES) + 0.5) / VARIANCES
    return np.asarray(squares / special.chdtri(degrees, levels))


def _chances(layout: TwoWay, members: npt.NDArray[np.intp], margin: float, variances: Floats) -> Floats:
    """Returns the chances of the candidates of one connected part."""
    means = np.array([layout.means[layout.candidates[i]] for i in members])
    units = np.sqrt(_unit_variances(np.array([layout.squares(i)[members].sum() for i in members])))
    widest = float(np.sqrt(variances.max()) * units.max())
    near = np.flatnonzero(means >= means.max() - margin - max(FAR * widest, layout.resolution))
    chances = np.zeros(len(members))
    if not widest or len(near) == 1:
        chances[near] = 1.0
        return chances
    means, units = means[near], units[near]
    ends = np.array([means.min() - 2.0 * widest, means.max() + 2.0 * widest])
    low, high = ends.clip(0.0, 1.0) if layout.bounded else ends
    grid = low + (np.arange(GRID) + 0.5) * (high - low) / GRID
    points = qmc.Sobol(len(near), scramble=True, rng=0).random(DRAWS).reshape(VARIANCES, -1, len(near))
    within = np.zeros(len(near))
    for variance, uniform in zip(variances, points, strict=True):
        density = _posteriors(means, np.sqrt(variance) * units, grid)
        cumulative = np.cumsum(density, axis=1)
        draws = np.empty_like(uniform)
        for i, row in enumerate(cumulative):
            edges = np.concatenate([[0.0], row / row[-1]])
            draws[:, i] = np.interp(uniform[:, i], edges, np.arange(GRID + 1))
        draws = low + draws * (high - low) / GRID
        within += (draws >= draws.max(axis=1, keepdims=True) - margin).mean(axis=0)
    chances[near] = within / VARIANCES
    return chances


def _posteriors(means: Floats, errors: Floats, grid: Floats) -> Floats:
    """Returns the posterior probability of each point of a grid [candidates, grid] to be the true mean."""
    likelihood = -0.5 * ((means[:, None] - grid) / errors[:, None]) ** 2
    likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    prior = np.full(len(grid), 1.0 / len(grid))
    for _ in range(max(1, len(means) // CANDIDATES_PER_STEP)):
        posterior = likelihood * prior
        posterior /= posterior.sum(axis=1, keepdims=True)
        prior = posterior.mean(axis=0)
    return likelihood * prior


def _unit_variances(sums: Floats) -> Floats:
    """Returns variances of independent errors [candidates] that give the known variances of all differences.

    Exact without missing cells, otherwise by least squares.

    Args:
        sums: the variances of each candidate's differences from all others, added up.
    """
    count = len(sums)
    if count == 2:
        return sums / 2.0
    alone = (sums - sums.sum() / (2.0 * (count - 1))) / (count - 2)
    return np.maximum(alone, sums / (4.0 * (count - 1)))
