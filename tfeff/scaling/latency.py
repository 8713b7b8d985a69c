"""Measured latency as a cost: some networks are timed, a fit (`models.cost.latency`) estimates the others."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tfeff import config
from tfeff.execution.executor import Executor, collect
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.members import scaled
from tfeff.serving.latencies import environment
from tfeff.trials import worker
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Trial

SAMPLE_RATIOS = (1.5, 2.0, 3.0)
"""Multiply-adds relative to the baseline's at which each single dimension is timed for the fit."""


@dataclass(frozen=True)
class Latency:
    """Latency of a prediction of one image, and its ratio to the baseline's, timed alternately with it."""

    seconds: float
    relative: float


class Clock:
    """A clock that times networks one after the other, so that none slows another.

    Each is timed once per store, and again on another machine, with other packages or in another number of processes,
    which share the cores.
    """

    def __init__(self, store: TrialStore, executor: Executor, say: Callable[[str], None] = lambda text: None) -> None:
        self._store, self._executor, self._say = store, executor, say
        self._setting = f"{executor.local_slots} processes {json.dumps(environment(), sort_keys=True)}"

    def __call__(self, baseline: Baseline, network: ScaledNetwork, check: Callable[[], None] = lambda: None) -> Latency:
        """Returns the latency of a network; `check` is called repeatedly while waiting and may raise."""

        def time() -> Any:
            name = f"timing {network.label}"
            self._say(name)
            data = config.Data(channels=baseline.channels)
            trials = (
                Trial(config.Experiment(model=each.model, task=replace(each.task, plain_epochs=0), data=data))
                for each in (network, baseline.unscaled)
            )
            call = worker.latency, *trials, baseline.num_classes
            return collect(self._executor, {name: call}, check)[name]

        return Latency(*self._store.cached(f"latency {network.id} {self._setting}", time))


def samples(baseline: Baseline) -> list[ScaledNetwork]:
    """Returns the networks to time for a fit: the baseline, and each dimension scaled alone."""
    networks = {baseline.unscaled.id: baseline.unscaled}
    for dimension in ("depth", "width", "resolution"):
        for ratio in SAMPLE_RATIOS:
            network = scaled(baseline, dimension, round(baseline.cost.macs * ratio))
            networks[network.id] = network
    return list(networks.values())
