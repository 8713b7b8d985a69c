"""Costs of networks in the exported form: estimated for all, measured for some."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tfeff import config
from tfeff.budget.candidates import Network
from tfeff.budget.limits import Costs
from tfeff.budget.study import Estimates
from tfeff.errors import UserError
from tfeff.execution.executor import Executor, collect
from tfeff.execution.local import LocalProcesses
from tfeff.models.cost.exported_size import exported_bytes
from tfeff.models.cost.latency import LatencyFit, networks_to_time
from tfeff.networks.catalog import BACKBONES
from tfeff.serving import timing
from tfeff.serving.latencies import Latencies
from tfeff.trials.store import TrialStore

SIZE_ERROR = 0.02
"""Of an estimated size, relative to it: see `exported_bytes`."""
TIMED = 6
"""Networks of each family that are exported and timed, to estimate the latency of the others. A fit to one family is
wrong by up to a half for another one."""


class Exports:
    """Estimates and measures the costs of networks in the exported form.

    A latency is that without other load on the machine (`timing.Timing.undisturbed`). Measurements run one after the
    other in a process that may use all cores, which those of trials may not; it lives as long as the context.

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
        self._process = LocalProcesses(1, log)

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.__exit__(*error)

    def estimated(self, networks: Sequence[Network], num_classes: int) -> Estimates:
        """Latency and size of networks, as far as the budget bounds them, without exporting all of them.

        Raises:
            UserError: no network can be exported and timed, or the file of latencies is not one of this format.
        """
        budget = self._settings.budget
        costs: list[dict[str, float]] = [{} for _ in networks]
        errors = dict[str, float]()
        if "size" in budget.bounds:
            for network, own in zip(networks, costs, strict=True):
                own["size"] = float(exported_bytes(network.cost, budget.format, int8=budget.int8))
            errors["size"] = SIZE_ERROR
        if "latency" in budget.bounds:
            families = [_family(network) for network in networks]
            for family in dict.fromkeys(families):
                members = [index for index, each in enumerate(families) if each == family]
                fit = self._fit([networks[index] for index in members], num_classes)
                for index in members:
                    costs[index]["latency"] = fit.seconds(networks[index].cost)
                errors["latency"] = max(errors.get("latency", 0.0), fit.relative_error)
                self._say(f"latency of {family} networks: by a fit, within {100 * fit.relative_error:.0f} %")
        return Estimates(costs, errors)

    def _fit(self, networks: Sequence[Network], num_classes: int) -> LatencyFit:
        """The latencies of the networks of a family."""
        budget = self._settings.budget
        if budget.latencies is not None:
            found = Latencies.read(budget.latencies)
            found.check(Path(budget.latencies), **self._form)
            family = _family(networks[0])
            same = [each for each in found.networks if each.name in BACKBONES.get(family, ())]
            return LatencyFit.fit([(each.cost, each.undisturbed) for each in same or found.networks])
        chosen = networks_to_time([each.cost for each in networks], TIMED, [each.start.name for each in networks])
        timed = []
        for number, index in enumerate(chosen, 1):
            network = networks[index]
            self._say(f"exporting and timing {network.label} ({number} of {len(chosen)})")
            try:
                timed.append((network.cost, self._measured(network, num_classes)["latency"]))
            except UserError as error:  # others may be possible
                self._say(str(error))
        if not timed:
            raise UserError(f"config: budget.format: none of {len(chosen)} networks can be exported and timed")
        return LatencyFit.fit(timed)

    def network(self, network: Network, num_classes: int) -> Costs:
        """Latency and size of a network with random weights, exported for this; without the latency if it is that of
        another device."""
        return self._here(self._measured(network, num_classes))

    def exported(self, path: Path) -> Costs:
        """As `network`, for an exported model, in a fresh process."""
        call = functools.partial(timing.time_exported, path, threads=self._settings.budget.threads)
        with LocalProcesses(1, self._log) as process:
            return self._here(_costs(process, call, str(path)))

    def _here(self, costs: Costs) -> Costs:
        if self._settings.budget.latencies is None:
            return costs
        return {name: value for name, value in costs.items() if name != "latency"}

    def _measured(self, network: Network, num_classes: int) -> Costs:
        experiment = self._settings.experiment
        call = functools.partial(
            timing.export_and_time,
            network.model,
            num_classes=num_classes,
            channels=experiment.data.channels,
            task=experiment.task if experiment.task.IS_CLASSIFIER else None,
            **self._form,
        )
        form = " ".join(f"{key} {value}" for key, value in self._form.items())
        measured: Costs = self._store.cached(
            f"measured {network.id} {form}", lambda: _costs(self._process, call, network.label)
        )
        return measured


def _costs(process: Executor, call: Callable[[], timing.Timing], name: str) -> dict[str, float]:
    found: timing.Timing = collect(process, {name: (call,)})[name]
    return {"latency": found.undisturbed, "size": float(found.size)}


def _family(network: Network) -> str:
    name = network.model.name
    return next((family for family, members in BACKBONES.items() if name in members), name)
