"""Costs of networks in the exported form: estimated for all, measured for some."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfeff import config
from tfeff.budget.candidates import Network
from tfeff.budget.limits import Costs
from tfeff.budget.study import Estimates
from tfeff.errors import UserError
from tfeff.execution.executor import Executor, collect
from tfeff.execution.local import LocalProcesses
from tfeff.models.cost.exported_size import exported_bytes
from tfeff.models.cost.latency import LatencyFit, networks_to_time
from tfeff.serving import timing
from tfeff.serving.latencies import Latencies
from tfeff.trials.store import TrialStore

SIZE_ERROR = 0.02
"""Of an estimated size, relative to it: see `exported_bytes`."""
TIMED = 8
"""Networks that are exported and timed, to estimate the latency of all others."""


class Exports:
    """Estimates and measures the costs of networks in the exported form.

    Measurements run one after the other, in a process that may use all cores, which those of trials may not.

    Args:
        settings: the config.
        store: keeps what was measured.
        log: file for the output of this process.
        say: shows a line.
    """

    def __init__(self, settings: config.BudgetSearch, store: TrialStore, log: Path, say: Callable[[str], None]) -> None:
        self._settings, self._store, self._log, self._say = settings, store, log, say
        budget = settings.budget
        self._form: dict[str, Any] = {"format": budget.format, "int8": budget.int8, "threads": budget.threads}

    def estimated(self, networks: Sequence[Network], num_classes: int) -> Estimates:
        """Latency and size of networks, as far as the budget bounds them, without exporting all of them."""
        budget = self._settings.budget
        bounds = budget.bounds
        costs: list[dict[str, float]] = [{} for _ in networks]
        errors = dict[str, float]()
        if "size" in bounds:
            for network, own in zip(networks, costs, strict=True):
                own["size"] = float(exported_bytes(network.cost, budget.format, int8=budget.int8))
            errors["size"] = SIZE_ERROR
        if "latency" in bounds:
            fit = self._fit(networks, num_classes)
            for network, own in zip(networks, costs, strict=True):
                own["latency"] = fit.seconds(network.cost)
            errors["latency"] = fit.relative_error
            self._say(f"latency of the others: from a fit, within {100 * fit.relative_error:.0f} %")
        return Estimates(costs, errors)

    def _fit(self, networks: Sequence[Network], num_classes: int) -> LatencyFit:
        budget = self._settings.budget
        if budget.latencies is not None:
            found = Latencies.read(budget.latencies)
            found.check(Path(budget.latencies), **self._form)
            return LatencyFit.fit([(each.cost, each.seconds) for each in found.networks])
        chosen = networks_to_time([each.cost for each in networks], TIMED, [each.start.name for each in networks])
        timed = []
        with self._process() as process:
            for number, index in enumerate(chosen, 1):
                network = networks[index]
                self._say(f"exporting and timing {network.label} ({number} of {len(chosen)})")
                try:
                    timed.append((network.cost, self._measured(network, num_classes, process)["latency"]))
                except UserError as error:  # others may be possible
                    self._say(str(error))
        if not timed:
            raise UserError(f"config: budget.format: none of {len(chosen)} networks can be exported and timed")
        return LatencyFit.fit(timed)

    def _process(self) -> LocalProcesses:
        return LocalProcesses(1, self._log)

    def network(self, network: Network, num_classes: int) -> Costs:
        """Latency and size of a network with random weights, exported for this; without the latency if it is that of
        another device."""
        with self._process() as process:
            return self._here(self._measured(network, num_classes, process))

    def _here(self, costs: Costs) -> Costs:
        if self._settings.budget.latencies is None:
            return costs
        return {name: value for name, value in costs.items() if name != "latency"}

    def _measured(self, network: Network, num_classes: int, process: Executor) -> Costs:
        form = " ".join(f"{key} {value}" for key, value in self._form.items())

        def measure() -> dict[str, float]:
            task, channels = self._settings.experiment.task, self._settings.experiment.data.channels
            call = functools.partial(
                timing.export_and_time,
                network.model,
                num_classes=num_classes,
                channels=channels,
                task=task if task.IS_CLASSIFIER else None,
                **self._form,
            )
            found: timing.Timing = collect(process, {network.label: (call,)})[network.label]
            return {"latency": found.seconds, "size": float(found.size)}

        measured: dict[str, float] = self._store.cached(f"measured {network.id} {form}", measure)
        return measured

    def exported(self, path: Path) -> Costs:
        """Latency and size of an exported model, in a fresh process."""
        with self._process() as process:
            call = functools.partial(timing.time_exported, path, threads=self._settings.budget.threads)
            found: timing.Timing = collect(process, {str(path): (call,)})[str(path)]
        return self._here({"latency": found.seconds, "size": float(found.size)})
