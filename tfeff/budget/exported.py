"""Costs of networks in the exported form: estimated for all, measured for some."""

import dataclasses
import functools
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tfeff import config, models
from tfeff.budget.candidates import Network
from tfeff.budget.limits import Costs, estimated
from tfeff.budget.race import Stopwatch
from tfeff.budget.study import Estimates
from tfeff.errors import UserError
from tfeff.execution import resources
from tfeff.execution.executor import Executor, collect
from tfeff.execution.local import LocalProcesses
from tfeff.models.cost.complexity import Complexity
from tfeff.models.cost.exported_size import exported_bytes
from tfeff.models.cost.latency import LatencyFit, networks_to_time
from tfeff.networks.catalog import BACKBONES
from tfeff.reporting.tables import percent
from tfeff.serving import timing
from tfeff.serving.latencies import Latencies, environment, timing_flags
from tfeff.trials.store import TrialStore

SIZE_ERROR, DETECTOR_SIZE_ERROR = 0.02, 0.08
"""Largest relative error of an estimated size; see `exported_bytes`. The decoding of detectors adds about 100 kB."""
FEWEST_TIMED = 4
"""Networks of a family (of a detector with backbones of a family) that a file of latencies must have."""
LEAVE_OUT = "leave the family out of candidates.starts (and candidates.scratch)"
OTHER_BASELINE = "set another baseline (experiment.model.name), or budget.latency as a time such as 20ms"
"""What to do if such networks are missing there: candidates, or the baseline."""
BUSY = 0.25
"""Cores that other programs may use without a note on latencies."""
DOUBTFUL = 0.3
"""Relative error of a fit from which its networks are timed once more."""
AGAIN_SHARE = 0.15
"""Share of the search's minutes after which they are not timed again: the time is better spent on trainings."""
TIMED = 8
"""Networks of each family that are exported and timed, to estimate the latency of the others. With six, leaving one out
overstates the error. A fit to one family is wrong by up to a half for another one."""


class Exports:
    """Estimated and measured costs of networks in the exported form.

    A latency is that without other load on the machine (`timing.Timing.undisturbed`). Measurements run one after the
    other in a process that may use all cores, which those of trials may not.

    Args:
        settings: the config.
        store: keeps what was measured.
        log: file for the output of this process.
        say: shows a line.
        watch: time of the search.
    """

    def __init__(
        self,
        settings: config.BudgetSearch,
        store: TrialStore,
        log: Path,
        say: Callable[[str], None],
        watch: Stopwatch,
    ) -> None:
        self._settings, self._store, self._log, self._say, self._watch = settings, store, log, say, watch
        budget = settings.budget
        self._form: dict[str, Any] = {
            "format": budget.format,
            "precision": budget.precision,
            "threads": budget.threads,
        }
        self._known = dict[Complexity, Costs]()  # measured costs
        self._baseline: Complexity | None = None
        self._words = json.dumps(self._form | environment(), sort_keys=True)

    def estimated(self, networks: Sequence[Network], num_classes: int) -> Estimates:
        """Returns the latency and size of networks, as far as the budget bounds them, without exporting all of them.

        Those that are timed for a fit, and the baseline if `baseline` was called before, have the measured costs.

        Raises:
            UserError: no network can be exported and timed, or the file of latencies is not one of this format.
        """
        budget = self._settings.budget
        if budget.format != "saved_model" and "latency" not in budget.measured:
            self._require_exportable(min(networks, key=lambda each: each.cost.macs), num_classes)
        costs, errors = ([dict[str, float]() for _ in networks] for _ in range(2))
        if "size" in budget.bounds:
            size_error = DETECTOR_SIZE_ERROR if networks[0].start.detects else SIZE_ERROR
            for network, own, wrong in zip(networks, costs, errors, strict=True):
                own["size"] = float(exported_bytes(network.cost, budget.format, precision=budget.precision))
                wrong["size"] = size_error
        if "latency" in budget.bounds:
            families = [_family(each.described) for each in networks]
            for family in dict.fromkeys(families):
                members = [index for index, each in enumerate(families) if each == family]
                fit = self._fit([networks[index] for index in members], num_classes)
                error = min(1.0, fit.relative_error)  # which is infinite for a single timed network
                for index in members:
                    costs[index]["latency"] = fit.seconds(networks[index].cost)
                    errors[index]["latency"] = error
                self._say(f"latency of {family} networks: by a fit{estimated(error)}")
        for network, own, wrong in zip(networks, costs, errors, strict=True):
            for measure in own.keys() & self._known.get(network.cost, {}).keys():
                own[measure] = self._known[network.cost][measure]
                del wrong[measure]
        return Estimates(costs, errors)

    def _require_exportable(self, network: Network, num_classes: int) -> None:
        """Exports a network, so that what a format requires is missed now, and not when the choice is trained.

        Raises:
            UserError: it cannot be exported.
        """
        (costs,) = self._measured([network], num_classes)
        if isinstance(costs, UserError):
            raise UserError(f"config: budget.format={self._settings.budget.format}: {costs}")

    def _fit(self, networks: Sequence[Network], num_classes: int, otherwise: str = LEAVE_OUT) -> LatencyFit:
        """Returns the latencies of the networks of a family.

        Args:
            otherwise: what else to do if the file of latencies has too few of them.
        """
        budget = self._settings.budget
        if budget.latencies is not None:
            found = Latencies.read(budget.latencies)
            found.check(Path(budget.latencies), **self._form)
            wanted = networks[0].described
            family = _family(wanted)
            same = [each for each in found.networks if _family(each.description) == family]
            if len(same) < FEWEST_TIMED:
                detector = f"--detector={wanted.name} " if isinstance(wanted, models.Detector) else ""
                raise UserError(
                    f"{budget.latencies}: {len(same)} {family} networks; a fit needs {FEWEST_TIMED}. Add some on that "
                    f"device with python -m tfeff.summary {detector}--family={_family(wanted.backbone)} --latency "
                    f"{timing_flags(**self._form)} --out={budget.latencies}, or {otherwise}"
                )
            for each in same:
                self._known[each.cost] = {"latency": each.undisturbed}
            return LatencyFit.fit([(each.cost, each.undisturbed) for each in same])
        some = [networks[index] for index in networks_to_time([each.cost for each in networks], TIMED)]
        family = _family(networks[0].described)
        self._say(f"exporting and timing {len(some)} {family} networks")
        fit = self._fitted(some, num_classes)
        if DOUBTFUL < fit.relative_error < math.inf:
            poor = f"a fit to these times would be wrong by up to {percent(fit.relative_error)}"
            # Stored, so that a resumed search has the same candidates.
            if self._store.cached(f"times {family} again within {budget.minutes} {self._words}", self._has_time):
                self._say(f"{poor}: timing them again")
                fit = self._fitted(some, num_classes, again=True)
            else:
                self._say(f"{poor}; budget.minutes={budget.minutes:g} leaves no time to time them again")
        return fit

    def _has_time(self) -> bool:
        """Returns whether it is early in the search."""
        self._watch.save()
        minutes = self._settings.budget.minutes
        return minutes is None or self._watch.seconds < AGAIN_SHARE * 60 * minutes

    def _fitted(self, networks: Sequence[Network], num_classes: int, *, again: bool = False) -> LatencyFit:
        """Keeps the measured costs of networks, and returns a fit to them.

        Args:
            again: see `_measured`.

        Raises:
            UserError: none can be exported.
        """
        timed = []
        for network, costs in zip(networks, self._measured(networks, num_classes, again=again), strict=True):
            if not isinstance(costs, UserError):
                self._known[network.cost] = costs
                timed.append((network.cost, costs["latency"]))
            elif not again:  # others may be possible
                self._say(f"{network.label}: {costs}")
        if not timed:
            raise UserError(f"config: budget.format: none of {len(networks)} networks can be exported and timed")
        return LatencyFit.fit(timed)

    def baseline(self, network: Network, num_classes: int) -> Costs:
        """Returns the measured costs of the network that relative bounds refer to.

        Its latency on another device is estimated, unless it was timed there.

        Raises:
            UserError: it cannot be exported.
        """
        self._baseline = network.cost
        costs = next(iter(self.networks([network], num_classes)))
        if isinstance(costs, UserError):
            raise costs
        fit = None if self._settings.budget.latencies is None else self._fit([network], num_classes, OTHER_BASELINE)
        known = self._known[network.cost] = {**self._known.get(network.cost, {}), **costs}
        return known if fit is None else {"latency": fit.seconds(network.cost), **known}

    def networks(self, networks: Sequence[Network], num_classes: int) -> Iterator[Costs | UserError]:
        """Yields latency and size of networks, exported with random weights; or why one cannot be exported.

        The latency is left out if it is that of another device.
        """
        for costs in self._measured(networks, num_classes):
            yield costs if isinstance(costs, UserError) else self._bounded(costs)

    def exported(self, path: Path, name: str) -> Costs:
        """Returns the latency and size of an exported model, measured in a fresh process.

        The latency is left out if it is that of another device. What was measured is stored.

        Args:
            path: the model.
            name: name of the model in the store.
        """

        def measured() -> dict[str, float]:
            self._say_if_busy()
            call = functools.partial(timing.time_exported, path, threads=self._settings.budget.threads)
            with LocalProcesses(1, self._log) as process:
                return _costs(process, call, str(path))

        return self._bounded(self._store.cached(self._fact(name), measured))

    def known(self, name: str) -> Costs | None:
        """Returns what `exported` has found earlier; None if it was not called for this model."""
        stored = self._store.fact(self._fact(name))
        return None if stored is None else self._bounded(json.loads(stored))

    def _fact(self, name: str) -> str:
        return f"delivered {name} {self._words}"

    def _bounded(self, costs: Costs) -> Costs:
        """Returns measured costs without the latency if the budget bounds that of another device."""
        if self._settings.budget.latencies is None:
            return costs
        return {name: value for name, value in costs.items() if name != "latency"}

    def _say_if_busy(self) -> None:
        """Says whether other programs slow what is measured next, as far as the budget bounds a latency."""
        if "latency" not in self._settings.budget.measured:
            return
        others = resources.cores_in_use()
        if others > BUSY:
            self._say(
                f"other programs use {others:.1f} of {os.cpu_count()} cores: latencies may be measured too long, and "
                "good networks be left out; search on an idle machine"
            )

    def _measured(
        self, networks: Sequence[Network], num_classes: int, *, again: bool = False
    ) -> Iterator[Costs | UserError]:
        """Yields the costs of networks, or why one cannot be exported.

        Args:
            again: time networks once more, except for the baseline, by whose costs the budget may be given. From then
                on, the shorter time counts.
        """
        experiment, say_if_busy = self._settings.experiment, functools.cache(self._say_if_busy)  # once
        with LocalProcesses(1, self._log) as process:

            def measured(call: Callable[[], timing.Timing], label: str) -> dict[str, float]:
                say_if_busy()
                return _costs(process, call, label)

            for network in networks:
                self._watch.tick()
                call = functools.partial(
                    timing.export_and_time,
                    network.described,
                    num_classes=num_classes,
                    channels=experiment.data.channels,
                    task=network.task,
                    **self._form,
                )
                untrained = dataclasses.replace(network.model, weights=None)  # as it is exported
                description = zlib.crc32(repr((untrained, network.task)).encode())
                head = f"{num_classes} classes {experiment.data.channels} channels"
                fact = f"measured {network.id} {description:08x} {head} {self._words}"
                compute = functools.partial(measured, call, network.label)
                try:
                    costs = self._store.cached(fact, compute)
                    if again and network.cost != self._baseline:
                        self._store.cached(f"again {fact}", compute)
                except UserError as error:
                    yield error
                    continue
                repeated = self._store.fact(f"again {fact}")
                yield costs if repeated is None else min(costs, json.loads(repeated), key=_latency)


def _costs(process: Executor, call: Callable[[], timing.Timing], name: str) -> dict[str, float]:
    found: timing.Timing = collect(process, {name: (call,)})[name]
    return {"latency": found.undisturbed, "size": float(found.size)}


def _latency(costs: Costs) -> float:
    return costs["latency"]


def _family(description: models.Architecture | models.Detector) -> str:
    """Returns the family of a network; of a detector its name, then the family of its backbone."""
    name = description.backbone.name
    family = next((family for family, members in BACKBONES.items() if name in members), name)
    return f"{description.name} {family}" if isinstance(description, models.Detector) else family
