"""How the error falls with more images, larger networks and longer trainings: power laws, fitted to some of each.

The error of networks falls about as a power of the number of training images and of the compute over wide ranges
(Hestness et al., arXiv:1712.00409; Rosenfeld et al., arXiv:1909.12673, for both together), until it approaches a floor.
Over a factor of two or four, the floor matters less than chance does. Near guessing, errors fall more slowly; so the
power law is one of the odds of an error, which are close to its probability where that is small.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

PRIOR_EXPONENTS = {"images": (-0.35, 0.2), "macs": (-0.15, 0.15), "epochs": (0.0, 0.15)}
"""Mean and standard deviation of the exponents before any training: those of published fits lie in the first two
ranges; more epochs than suit the images may help or harm."""
PRIOR_VARIANCE, PRIOR_DEGREES = 0.04, 3.0
"""Variance of the logarithm of the odds beyond that of counting images, and its weight in degrees of freedom."""
FOLD_DEVIATION = 0.5
"""Standard deviation of the folds' effects on the logarithm of the odds before any training."""
BASELINE_DEVIATION = 3.0
ITERATIONS = 20
SHARES = (np.arange(200) + 0.5) / 200
"""Probabilities of the quantiles that stand for a distribution [200]."""


@dataclass(frozen=True)
class Training:
    """A training and its result.

    Attributes:
        images: number of training images.
        macs: multiply-adds of the network.
        fold: the fold on which it was validated.
        error: fraction of the validation images that are wrong.
        validated: number of validation images.
        epochs: number of epochs relative to those that suit the images.
    """

    images: int
    macs: float
    fold: int
    error: float
    validated: int
    epochs: float = 1.0


@dataclass(frozen=True)
class Forecast:
    """An expected accuracy, as a mean over the folds' validation images.

    Attributes:
        low: lower end of the interval.
        high: upper end.
    """

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """What other images, networks or trainings are expected to add to a measured accuracy.

    Attributes:
        accuracy: the accuracy that is then expected.
        gain: that minus the measured one, in [-1, 1].
        low: lower end of the interval of the gain.
        high: upper end.
    """

    accuracy: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Growth:
    """log odds of an error = baseline + fold + sum over images, macs and epochs of exponent · log ratio + residual.

    This is a Bayesian regression. The coefficients have independent normal priors, and the variance of the residuals
    has a scaled inverse chi-square prior. Because the priors of the coefficients do not depend on the variance, an
    estimate found by iteration replaces it.

    Trainings on more images are those that a user would run: their epochs follow the number of images.

    Attributes:
        names: names of the variables.
        reference: logarithm of each variable's largest value, at which the baseline holds.
        mean: posterior mean of the coefficients [k]: baseline, variables, folds.
        covariance: posterior covariance of the coefficients [k, k].
        degrees: degrees of freedom of the residual variance.
        folds: number of folds.
        validated: number of validation images of all folds together.
    """

    names: tuple[str, ...]
    reference: dict[str, float]
    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    degrees: float
    folds: int
    validated: float

    @property
    def exponents(self) -> dict[str, tuple[float, float]]:
        """Variable -> mean and standard deviation of its exponent."""
        return {
            name: (float(self.mean[1 + index]), math.sqrt(self.covariance[1 + index, 1 + index]))
            for index, name in enumerate(self.names)
        }

    def forecast(self, *, confidence: float = 0.95, validated: int | None = None, **factors: float) -> Forecast:
        """Returns the accuracy with some variables multiplied, relative to the largest ones of all trainings.

        Args:
            confidence: coverage of the interval.
            validated: number of images on which it will be measured, whose chance the interval then contains; None: the
                interval is of the expectation.
            **factors: variable -> factor, such as images=2.0.

        >>> rows = [Training(n, 1e8, fold, 3 / n, 200) for n in (50, 100, 200) for fold in range(3)]
        >>> round(fit(rows).forecast(images=2.0).accuracy, 3) > 0.98
        True
        """
        row = self._change(factors)
        row[0] = 1.0
        row[1 + len(self.names) :] = 1.0 / self.folds
        center = float(row @ self.mean)
        spread = float(row @ self.covariance @ row)
        error = float(special.expit(center))
        if validated is not None:
            spread += 1.0 / max(error * (1.0 - error) * validated, 0.5)
        half = float(special.stdtrit(self.degrees, 0.5 + confidence / 2.0)) * math.sqrt(spread)
        low, high = (float(special.expit(-center + sign * half)) for sign in (-1.0, 1.0))
        return Forecast(1.0 - error, low, high)

    def gain(self, measured: float, *, confidence: float = 0.95, **factors: float) -> Gain:
        """Returns what is gained if some variables are multiplied; 0 if none is.

        Before and after have folds and baseline in common, so the interval of the gain is narrower than those of both
        accuracies.

        Args:
            measured: mean accuracy over the folds before that.
            confidence: coverage of the interval.
            **factors: variable -> factor, such as images=2.0.
        """
        change = self._change(factors)
        # For accuracies of 0 and 1, half a validation image keeps the odds finite.
        least = 0.5 / (self.validated + 1.0)
        error = min(max(1.0 - measured, least), 1.0 - least)
        odds, shift = float(special.logit(error)), float(change @ self.mean)
        gain = float(special.expit(odds) - special.expit(odds + shift))
        # The measured accuracy and its shift are both uncertain: all combinations of equally probable values of each.
        counted = 1.0 / math.sqrt(error * (1.0 - error) * self.validated)
        before = (odds + counted * special.ndtri(SHARES))[:, None]
        deviation = math.sqrt(float(change @ self.covariance @ change))
        after = before + shift + deviation * special.stdtrit(self.degrees, SHARES)
        ends = 0.5 - confidence / 2.0, 0.5 + confidence / 2.0
        low, high = map(float, np.quantile(special.expit(before) - special.expit(after), ends))
        return Gain(min(max(measured + gain, 0.0), 1.0), gain, low, high)

    def _change(self, factors: Mapping[str, float]) -> npt.NDArray[np.float64]:
        """Returns the weights of the coefficients in what these factors change [k]."""
        row = np.zeros(len(self.mean))
        for name, factor in factors.items():
            row[1 + self.names.index(name)] = math.log(factor)
        return row


def fit(trainings: Sequence[Training]) -> Growth:
    """Fits the power laws.

    Args:
        trainings: the trainings, at least one.

    Raises:
        ValueError: there is no training.
    """
    if not trainings:
        raise ValueError("no training to fit")
    folds = sorted({each.fold for each in trainings})
    columns = {name: np.log([float(getattr(each, name)) for each in trainings]) for name in PRIOR_EXPONENTS}
    reference = {name: float(column.max()) for name, column in columns.items()}
    design = np.zeros((len(trainings), 1 + len(columns) + len(folds)))
    design[:, 0] = 1.0
    for index, (name, column) in enumerate(columns.items()):
        design[:, 1 + index] = column - reference[name]
    design[np.arange(len(trainings)), [1 + len(columns) + folds.index(each.fold) for each in trainings]] = 1.0
    # Half an image more of each kind keeps the logarithm finite.
    counts = np.array([each.validated for each in trainings], np.float64)
    errors = (np.array([each.error for each in trainings]) * counts + 0.5) / (counts + 1.0)
    target = special.logit(errors)
    counted = 1.0 / (errors * (1.0 - errors) * counts)  # the variance that counting images causes
    prior_mean = np.array(
        [float(np.average(target)), *(mean for mean, _ in PRIOR_EXPONENTS.values()), *[0.0] * len(folds)]
    )
    deviations = [BASELINE_DEVIATION, *(each for _, each in PRIOR_EXPONENTS.values()), *[FOLD_DEVIATION] * len(folds)]
    precision = np.diag(1.0 / np.square(deviations))

    def posterior(variance: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
        """Returns mean and covariance of the coefficients for a variance of the residuals, whose degrees follow."""
        weights = 1.0 / (variance + counted)
        information = design.T @ (weights[:, None] * design)
        covariance = np.asarray(np.linalg.inv(precision + information), np.float64)
        coefficients = float(np.trace(covariance @ information))  # as many as the trainings determine
        degrees = PRIOR_DEGREES + max(0.0, len(trainings) - coefficients)
        return covariance @ (precision @ prior_mean + design.T @ (weights * target)), covariance, degrees

    variance = PRIOR_VARIANCE
    for _ in range(ITERATIONS):
        mean, _, degrees = posterior(variance)
        # Of a squared residual, the share that is not due to counting.
        squares = float((variance / (variance + counted) * (target - design @ mean) ** 2).sum())
        variance = (PRIOR_DEGREES * PRIOR_VARIANCE + squares) / degrees
    mean, covariance, degrees = posterior(variance)
    return Growth(tuple(columns), reference, mean, covariance, degrees, len(folds), float(counts.mean()) * len(folds))
