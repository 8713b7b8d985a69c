"""Means of metrics in [0, 1], such as accuracies, and their intervals, which stay in [0, 1].

The variance of such a value is modeled as φ p (1 - p), with the dispersion φ of a quasi-binomial model (Wedderburn
1974, Biometrika 61). φ is 1 / images if only the choice of the images varies, more if the training varies, too, and at
most 1 for any values in [0, 1]. It is pooled over all candidates. The interval of a mean p is the score interval of
Wilson (1927, JASA 22), all m with |p - m| <= t sqrt(φ m (1 - m) / folds). In simulations, it had the coverage of a t
interval on the logit scale, and was narrower on average. Values of 0 and 1 need no correction
(`tools/check_coverage.py` shows its coverage).

A candidate whose values vary much more than those of the others, because its training fails on some folds, has a
dispersion of its own (`stands_apart`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
MOST = 1.0
"""The dispersion of values that are 0 or 1, the largest of any values in [0, 1]."""
APART = 0.05
"""How often at most one of equal candidates seems to vary more than the others."""
MINIMIZED = ("loss", "error", "seconds", "latency")
"""Last words of metrics that are minimized."""
_WORDS = {"accuracy", "ap", "background", "f1", "iou", "map", "precision", "recall"}


def is_proportion(metric: str) -> bool:
    """Returns whether the name of a metric, or its name in words, is that of one in [0, 1], higher is better.

    >>> [is_proportion(name) for name in ("validation_recall_at_1", "validation mAP", "validation_loss")]
    [True, True, False]
    """
    return not metric.endswith(MINIMIZED) and not _WORDS.isdisjoint(metric.replace("_", " ").lower().split())


def in_range(values: Iterable[float]) -> bool:
    """Returns whether all values are in [0, 1]; a metric of a task of one's own may be named as if they were."""
    return all(0.0 <= value <= 1.0 for value in values)


@dataclass(frozen=True)
class Dispersion:
    """φ, pooled over candidates, of the mean of one candidate over folds.

    Attributes:
        value: φ, in (0, 1].
        degrees: degrees of freedom, not always whole.
    """

    value: float
    degrees: float

    def interval(self, mean: float, n: int, quantile: float) -> tuple[float, float]:
        """Returns Wilson's score interval of a mean over n folds.

        Args:
            quantile: quantile of Student's t distribution with `degrees`.
        """
        a = quantile**2 * self.value / n
        half = np.sqrt(a * mean * (1.0 - mean) + a**2 / 4.0)
        low, high = (mean + a / 2.0 - half) / (1.0 + a), (mean + a / 2.0 + half) / (1.0 + a)
        # Of a mean of 0 or 1, one end is equal to it, except for rounding.
        return max(0.0, min(float(low), mean)), min(1.0, max(float(high), mean))


def dispersion(values: Floats) -> Dispersion | None:
    """Returns the pooled dispersion of a table; None without degrees of freedom.

    Candidates share their folds, so their values are not independent. The degrees of freedom are Satterthwaite's (1946,
    Biometrics Bulletin 2) for the sum of the variances between and within folds: folds - 1 if all candidates move
    together, candidates × (folds - 1) if they are independent. The estimated variance between folds is raised in them
    (only in them), because it has a few degrees of freedom and would often suggest too many.

    Values that do not vary at all tell nothing about their spread. Then the dispersion is the largest possible.

    Args:
        values: [candidates, folds], in [0, 1]; NaN where a trial is missing. Each candidate has a value.
    """
    filled = ~np.isnan(values)
    n = filled.sum(axis=1)
    freedom = int(n.sum() - len(n))
    if not freedom:
        return None
    mean = np.nansum(values, axis=1) / n
    varies = mean * (1.0 - mean)
    inner = (varies > 0.0) & (n > 1)
    if not inner.any():
        return Dispersion(MOST, freedom)
    z = np.where(filled, values - mean[:, None], 0.0)[inner] / np.sqrt(varies[inner])[:, None]
    per_fold = filled[inner].sum(axis=0)
    folds = int((per_fold > 0).sum())
    total = float((z**2).sum())
    own = int((n[inner] - 1).sum())  # degrees of freedom of the total
    value = min(total / own, MOST)
    if value <= 1e-20:
        return Dispersion(MOST, freedom)
    between = float((z.sum(axis=0) ** 2 / np.maximum(per_fold, 1)).sum())
    rest = own - (folds - 1)
    if rest < 1:
        return Dispersion(value, own)
    # Raised by the expectation of a squared mean square relative to its squared expectation.
    between *= (folds + 1) / (folds - 1)
    within = max(0.0, total - between * (folds - 1) / (folds + 1))
    degrees = (between + within) ** 2 / (between**2 / (folds - 1) + within**2 / rest)
    return Dispersion(value, float(np.clip(degrees, folds - 1, own)))


def dispersions(values: Floats) -> list[Dispersion | None]:
    """Returns the dispersion of each candidate: the pooled one, or its own if it stands apart.

    Args:
        values: see `dispersion`.
    """
    apart = stands_apart(values)
    shared = dispersion(values[~apart])
    return [dispersion(values[[i]]) if apart[i] else shared for i in range(len(values))]


def stands_apart(values: Floats) -> npt.NDArray[np.bool_]:
    """Finds candidates that vary significantly more than the rest: F tests, adjusted for their number, largest first.

    Args:
        values: see `dispersion`.
    """
    n = (~np.isnan(values)).sum(axis=1)
    mean = np.nanmean(values, axis=1)
    squares = np.nansum((values - mean[:, None]) ** 2, axis=1)
    scale = mean * (1.0 - mean)
    squares = np.divide(squares, scale, out=np.zeros(len(n)), where=scale > 0.0)
    degrees = n - 1
    compared = np.flatnonzero((scale > 0.0) & (degrees > 0))
    compared = compared[np.argsort(squares[compared] / degrees[compared])]
    apart = np.zeros(len(n), np.bool_)
    while len(compared) > 1:
        *rest, largest = compared
        others, own = squares[rest].sum() / degrees[rest].sum(), squares[largest] / degrees[largest]
        if not others > 1e-20:
            break
        chance = special.fdtrc(degrees[largest], degrees[rest].sum(), own / others)
        if chance * len(compared) >= APART:
            break
        apart[largest] = True
        compared = compared[:-1]
    return apart


def variances(values: Floats, known: float | None = None) -> Floats:
    """Returns p (1 - p) of each candidate [candidates], with means moved away from 0 and 1 as far as chance could.

    Larger by the ratio of the dispersions for candidates that stand apart.

    A mean of 1 does not imply that the next value is 1. A mean counts as that of as many observations of 0 or 1 as
    would have the table's dispersion, to which a success and a failure are added (Laplace's rule of succession).

    Args:
        values: see `dispersion`.
        known: the dispersion, if these values do not tell it.
    """
    apart = stands_apart(values)
    found = dispersion(values[~apart])
    phi = found.value if found is not None else MOST if known is None else min(known, MOST)
    n = (~np.isnan(values)).sum(axis=1) / phi
    p = (np.nanmean(values, axis=1) * n + 1.0) / (n + 2.0)
    own = [dispersion(values[[i]]) if apart[i] else None for i in range(len(values))]
    more = np.array([1.0 if each is None else max(1.0, each.value / phi) for each in own])
    return np.asarray(p * (1.0 - p) * more)
