"""Latency of networks that were not timed, from that of a few that were."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from tfeff.models.cost.complexity import Complexity

TERMS = ("constant", "macs", "kernel_calls", "kernel_bytes", "params")
"""What each coefficient of a fit multiplies."""


@dataclass(frozen=True)
class LatencyFit:
    """Seconds as a sum of costs, each with a coefficient that is not negative: see `TERMS`.

    An estimate therefore never falls as a network grows. Instead of seconds, a fit can have any measure that is
    proportional to them.

    A fit is for one family. A fit to 16 EfficientNet-Lite (one thread, all four formats) had an error of 3 to 7 % on
    other EfficientNet-Lite (root mean square, one left out). ConvNeXt took up to 2.4 times as long as its estimate, and
    EfficientNet-B0 a quarter longer.

    Attributes:
        coefficients: seconds per unit of each term.
        errors: for each timed network, the relative error of its estimate by a fit to all others.
    """

    coefficients: tuple[float, ...]
    errors: tuple[float, ...]

    @classmethod
    def fit(cls, timed: Sequence[tuple[Complexity, float]]) -> "LatencyFit":
        """Fits by non-negative least squares of relative errors.

        Args:
            timed: cost and seconds of networks in one format, with one number of threads; at least one. Take
                seconds that other load does not change (`Timing.undisturbed`): medians grow with the length of a call.
        """
        rows, seconds = np.array([_terms(cost) for cost, _ in timed]), np.array([each for _, each in timed])
        every = np.arange(len(timed))
        errors = [
            float(rows[i] @ _fitted(rows[every != i], seconds[every != i]) / seconds[i] - 1)
            for i in every
            if len(every) > 1
        ]
        return cls(tuple(_fitted(rows, seconds).tolist()), tuple(errors))

    def seconds(self, cost: Complexity) -> float:
        """Estimates the latency of a network."""
        return float(np.dot(_terms(cost), self.coefficients))

    @property
    def relative_error(self) -> float:
        """Half of the 95 % interval of an estimate's relative error, by leaving one timed network out.

        Student's t times the root mean square of `errors`, taken as normal with mean zero. Infinity for a single timed
        network.
        """
        if not self.errors:
            return np.inf
        squares = np.mean(np.square(self.errors))
        return float(stats.t.ppf(0.975, len(self.errors) - 1 or 1) * np.sqrt(squares))


def networks_to_time(costs: Sequence[Complexity], count: int) -> list[int]:
    """Chooses networks whose times determine a fit: the smallest, then those farthest from all chosen ones.

    The distance is that of the logarithms of the terms of `LatencyFit`, so networks differ in width, depth and
    resolution.

    Args:
        costs: the cost of each network.
        count: how many to choose.

    Returns:
        Indices, at most `count`, in the order of choice; networks of equal cost count as one.
    """
    places = np.log([_terms(cost)[1:] for cost in costs] + np.ones(len(TERMS) - 1))
    spans = np.ptp(places, axis=0)
    places = places / np.where(spans > 0, spans, 1)
    distances = np.full(len(costs), np.inf)
    chosen = list[int]()
    while len(chosen) < count and distances.any():
        farthest = int(np.argmax(distances)) if chosen else min(range(len(costs)), key=lambda i: costs[i].macs)
        chosen.append(farthest)
        distances = np.minimum(distances, np.linalg.norm(places - places[farthest], axis=1))
    return chosen


def _terms(cost: Complexity) -> tuple[float, ...]:
    return (
        1.0,
        float(cost.macs),
        float(cost.kernel_calls),
        float(cost.kernel_bytes),
        float(cost.params),
    )


def _fitted(rows: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Returns coefficients of the terms, [n, terms]."""
    scale = np.maximum(rows.max(axis=0), 1e-300)
    found: np.ndarray = optimize.nnls(rows / scale / seconds[:, np.newaxis], np.ones(len(seconds)))[0]
    return found / scale
