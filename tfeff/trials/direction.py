"""The best direction of a surface, with a prior: published proportions, trusted as far as the data allow.

Bayesian regression. Before any training, the surface at the largest φ is expected to be highest at the published
proportions: its slope there has mean 0, and its curvature a negative mean. The prior has three parameters: the
curvature, the noise, and the strength, which is how far the best direction may be from the published proportions. All
three are averaged over grids by the marginal likelihood (Berger 1985, "Statistical Decision Theory and Bayesian
Analysis", section 3.5, with weights instead of the maximum).
"""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.trials.surface import (
    DIRECTION,
    OTHER,
    OTHER_DEVIATION,
    Data,
    Floats,
    best_directions,
)

CURVATURES = 2.0 ** np.arange(0, 9)
"""Mean curvatures before any training, in standard deviations of a training's value."""
DISTANCES = 0.1 * 2.0 ** np.arange(5)
"""Standard deviations of the best direction around the published proportions, in shares."""
CURVATURE_SPREAD = 0.5
"""Standard deviation of a curvature relative to its mean."""
FOLD_DEVIATION = 30.0
"""Standard deviation of the folds' effects before any training, relative to that of a training's value."""
NOISES = np.geomspace(1e-3, 2.0, 60)
"""Standard deviations of a training's value, relative to those of all values within their folds."""
DRAWS = 2000
SINGLE = 0.9
"""A direction with such a share of one dimension counts as that dimension alone."""


@dataclass(frozen=True, eq=False)
class Direction:
    """The posterior distribution of the best direction.

    Attributes:
        draws: shares [DRAWS, 3] of depth, width and resolution.
        distance: posterior mean of the prior's strength: standard deviation of the best direction around the published
            proportions, in shares.
        weight: weight of the prior in the surface's coefficients, in [0, 1]; 0: the data alone.
        covariance: covariance of all coefficients [DIRECTION + OTHER + folds], relative to the variance of a training's
            value.
    """

    draws: Floats
    distance: float
    weight: float
    covariance: Floats

    @property
    def mean(self) -> Floats:
        """The posterior mean [3]."""
        return np.asarray(self.draws.mean(axis=0))

    @property
    def chance_of_single(self) -> Floats:
        """The probabilities [3] that scaling depth, width or resolution alone is best."""
        return np.asarray((self.draws >= SINGLE).mean(axis=0))

    @property
    def single(self) -> int | None:
        """The dimension that is more probably than not best alone; None if there is none."""
        chances = self.chance_of_single
        return int(chances.argmax()) if chances.max() > 0.5 else None

    @property
    def answer(self) -> Floats:
        """The shares [3] to scale by: a single dimension if that is best, else the posterior mean."""
        return self.mean if self.single is None else np.eye(3)[self.single]


@dataclass(frozen=True)
class Prior:
    """A prior of the coefficients in standard deviations of a training's value.

    Attributes:
        mean: float64 [coefficients].
        precision: diagonal of the inverse covariance, float64 [coefficients].
    """

    mean: Floats
    precision: Floats
    distance: float


@functools.cache
def priors(folds: int) -> tuple[Prior, ...]:
    """Returns the priors that are averaged."""
    found = []
    for curvature in CURVATURES:
        for distance in DISTANCES:
            spread = CURVATURE_SPREAD * curvature
            slope = curvature * distance
            deviations = [slope, slope, spread, spread / np.sqrt(2.0), spread]
            deviations += [OTHER_DEVIATION] * OTHER + [FOLD_DEVIATION] * folds
            mean = np.zeros(len(deviations))
            mean[[2, 4]] = -curvature
            found.append(Prior(mean, np.asarray(deviations) ** -2.0, float(distance)))
    return tuple(found)


def infer(data: Data) -> Direction:
    """Returns the posterior of the best direction; without trainings, the prior."""
    options = priors(data.folds)
    gram, moment = data.design.T @ data.design, data.design.T @ data.values
    noises = _noises(data)
    count, square = len(data.values), float(data.values @ data.values)
    evidence, inverses, means = [], [], []
    for prior in options:
        matrix = gram + np.diag(prior.precision)
        inverse = np.linalg.inv(matrix)
        target = moment[None] / noises[:, None] + prior.precision * prior.mean
        mean = target @ inverse
        fitted = np.einsum("si,si->s", target, mean) - float(prior.precision @ prior.mean**2) - square / noises**2
        volume = float(np.log(prior.precision).sum()) - np.linalg.slogdet(matrix)[1]
        evidence.append(0.5 * (volume + fitted) - count * np.log(noises))
        inverses.append(inverse)
        means.append(mean)
    logs = np.array(evidence)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(DRAWS, len(moment)))
    cells = np.searchsorted(np.cumsum(weights.ravel()), rng.random(DRAWS) * (1 - 1e-12))
    which, noise = np.unravel_index(cells, weights.shape)
    coefficients = np.empty((DRAWS, DIRECTION))
    for index in np.unique(which):
        rows = which == index
        factor = np.linalg.cholesky(inverses[index])[:DIRECTION]
        coefficients[rows] = means[index][noise[rows], :DIRECTION] + normal[rows] @ factor.T
    by_prior = weights.sum(axis=1)
    shares = [
        float((prior.precision[:DIRECTION] * np.diag(inverse)[:DIRECTION]).mean())
        for prior, inverse in zip(options, inverses, strict=True)
    ]
    return Direction(
        draws=best_directions(coefficients, data.center),
        distance=float(by_prior @ [prior.distance for prior in options]),
        weight=float(by_prior @ shares),
        covariance=np.einsum("k,kij->ij", by_prior, np.array(inverses)),
    )


def _noises(data: Data) -> npt.NDArray[np.float64]:
    """Returns the standard deviations of a training's value to average over."""
    if not len(data.values):
        return np.ones(1)
    effects = data.design[:, DIRECTION + OTHER :]
    counts = effects.sum(axis=0)
    means = np.divide(effects.T @ data.values, counts, out=np.zeros_like(counts), where=counts > 0)
    spread = float(np.sqrt(np.mean((data.values - effects @ means) ** 2)))
    return np.asarray(NOISES * (spread or 1.0))
