"""Measured latency as a cost: some networks are timed, the others follow by a fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from tfeff.scaling.baseline import Baseline, ScaledNetwork, memory
from tfeff.scaling.sweeps import single

REACH = (1.5, 2.0, 3.0)
"""Multiply-adds, as multiples of the baseline's, at which each dimension alone is timed for the fit."""


@dataclass(frozen=True)
class LatencyModel:
    """Seconds = a + b · multiply-adds + c · blocks + d · bytes of activations, no term below 0.

    So it never falls as a network grows, which the enumeration of candidates relies on.
    """

    terms: tuple[float, ...]

    @classmethod
    def fit(cls, measured: Sequence[tuple[ScaledNetwork, float]]) -> "LatencyModel":
        """Non-negative least squares of relative errors over timed networks."""
        rows = np.array([_features(network) for network, _ in measured])
        seconds = np.array([value for _, value in measured])
        scale = rows.max(axis=0)
        terms, _ = optimize.nnls(rows / scale / seconds[:, None], np.ones(len(seconds)))
        return cls(tuple((terms / scale).tolist()))

    def seconds(self, network: ScaledNetwork) -> float:
        """Of the prediction of one image."""
        return float(np.dot(_features(network), self.terms))

    def errors(self, measured: Sequence[tuple[ScaledNetwork, float]]) -> list[float]:
        """Relative error of each timed network."""
        return [self.seconds(network) / seconds - 1 for network, seconds in measured]


def samples(baseline: Baseline) -> list[ScaledNetwork]:
    """The networks to time for a fit: the baseline, and each dimension alone."""
    found = {baseline.start.id: baseline.start}
    for dimension in ("depth", "width", "resolution"):
        for reach in REACH:
            network = single(baseline, dimension, round(baseline.cost.macs * reach))
            found[network.id] = network
    return list(found.values())


def _features(network: ScaledNetwork) -> tuple[float, ...]:
    return 1.0, float(network.cost.macs), float(sum(network.blocks)), float(memory(network.cost))
