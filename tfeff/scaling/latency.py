"""Measured latency as a cost: some networks are timed, the others follow by a fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from tfeff.execution.executor import Executor, collect
from tfeff.scaling import work
from tfeff.scaling.baseline import Baseline, ScaledNetwork, memory
from tfeff.scaling.store import Store
from tfeff.scaling.sweeps import single

REACH = (1.5, 2.0, 3.0)
"""Multiply-adds, as multiples of the baseline's, at which each dimension alone is timed for the fit."""


@dataclass(frozen=True)
class Latency:
    """What the prediction of one image takes.

    Attributes:
        seconds: of the network.
        relative: to the baseline's, timed in turn with it.
    """

    seconds: float
    relative: float


class Clock:
    """Times networks, one after the other so that none slows another down, and each once a search.

    Args:
        store: keeps what was measured.
        executor: where.
        say: told of each timing.
    """

    def __init__(self, store: Store, executor: Executor, say: Callable[[str], None] = lambda text: None) -> None:
        self._store, self._executor, self._say = store, executor, say

    def __call__(self, baseline: Baseline, network: ScaledNetwork, check: Callable[[], None] = lambda: None) -> Latency:
        """The latency of a network; `check` is called now and then, and may raise."""
        fact = f"latency {network.id}"

        def time() -> Any:
            self._say(f"timing {network.label}")
            call = work.latency, network.model, baseline.start.model, baseline.num_classes, baseline.channels
            return collect(self._executor, {fact: call}, check)[fact]

        return Latency(*self._store.remember(fact, time))


@dataclass(frozen=True)
class LatencyModel:
    """Ratio = a + b · multiply-adds + c · blocks + d · bytes of activations, no term below 0.

    So it never falls as a network grows, which the enumeration of candidates relies on.
    """

    terms: tuple[float, ...]

    @classmethod
    def fit(cls, measured: Sequence[tuple[ScaledNetwork, float]]) -> "LatencyModel":
        """Non-negative least squares of relative errors over timed networks and their ratios to the baseline."""
        rows = np.array([_features(network) for network, _ in measured])
        ratios = np.array([value for _, value in measured])
        scale = rows.max(axis=0)
        terms, _ = optimize.nnls(rows / scale / ratios[:, None], np.ones(len(ratios)))
        return cls(tuple((terms / scale).tolist()))

    def relative(self, network: ScaledNetwork) -> float:
        """Latency over the baseline's."""
        return float(np.dot(_features(network), self.terms))


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
