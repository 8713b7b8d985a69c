"""The competition of a budget search: probes, then trainings on more and more folds, until the time is over."""

import dataclasses
import functools
import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfeff.budget import probing, race
from tfeff.budget.candidates import Network
from tfeff.budget.limits import Costs, Excess
from tfeff.budget.probing import Probe
from tfeff.budget.race import Stopwatch
from tfeff.budget.study import Fate, Study
from tfeff.errors import UserError
from tfeff.execution.executor import Executor
from tfeff.reporting.tables import percent
from tfeff.trials.allocation import Full
from tfeff.trials.chance import Prior, chance_within
from tfeff.trials.ranking import Ranking, rank
from tfeff.trials.results import Block, by_fold, finite
from tfeff.trials.runner import TrialRunner
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate

PROBE_SHARE = 0.25
"""Share of the time for probes."""
FINAL_SHARE = 1.5
"""Time kept for the final training and export, relative to a training of the largest candidate on a fold."""
PRIOR_DEGREES = 4.0
"""Weight of the variance that the number of validation images implies, in degrees of freedom."""


class Measures(Protocol):
    """Measures costs in the exported form."""

    form: str
    """Format, precision, threads and machine, in words."""

    def networks(self, networks: Sequence[Network], num_classes: int) -> Iterator[Costs | UserError]:
        """Of networks with random weights, which are exported for this; or why one cannot be exported."""

    def exported(self, path: Path) -> Costs:
        """Of an exported model."""


class Competition:
    """The candidates of a search, and what became of them.

    Everything follows from the store. Decisions that depend on the time are stored, so that a search that is killed and
    resumed makes the same ones; with another budget, other candidates or another margin they are made anew.

    Args:
        precision: of trainings for which neither the config nor the rules choose one.
        measures: exports networks and times them.
        watch: of the search.

    Attributes:
        candidates: id -> how it is trained.
        fates: id -> what became of it, of all networks that are not in the competition any more.
        alive: ids of those that are.
        probes: id -> its probe.
        measured: id -> costs in the exported form, where they were measured.
    """

    def __init__(
        self,
        study: Study,
        store: TrialStore,
        executor: Executor,
        runner: TrialRunner,
        precision: str,
        measures: Measures,
        watch: Stopwatch,
    ) -> None:
        self.study, self.store, self.executor, self.runner = study, store, executor, runner
        self.measures, self.precision = measures, precision
        self.candidates = {name: study.candidate(name, precision) for name in study.shortlist}
        self.fates = dict(study.fates)
        self.probes = dict[str, Probe]()
        self.measured = dict[str, Costs]()
        self.alive = list(study.shortlist)
        self.blocks = study.settings.folds.blocks
        settings = study.settings
        choices = [dataclasses.asdict(each) for each in (settings.budget, settings.candidates, settings.objective)]
        self._key = f"{zlib.crc32(json.dumps([choices, self.blocks, study.shortlist]).encode()):08x}"
        self._trained: Sequence[Block] = ()
        self.watch = watch
        self.slack = settings.objective.margin or race.SLACK

    def decide(self, name: str, decision: Callable[[], Any]) -> Any:
        """A decision that depends on the time: the stored one, or the one that is made now."""
        self.watch.save()
        return self.store.cached(f"decision {self._key} {name}", decision)

    def probe(self) -> None:
        """Probes the candidates with trained weights, as far as the time allows, and discards the clearly worse ones.

        Those whose weights need not be inherited, which takes longest, come first.
        """
        names = [name for name in self.alive if self.study.networks[name].start.kind != "scratch"]
        names.sort(key=lambda name: self.study.networks[name].inherits)
        until = self.deadline(PROBE_SHARE)
        found = probing.run(
            {name: probing.trial_of(self.candidates[name], self.study.settings.folds) for name in names},
            self.store,
            self.executor,
            lambda name: self.decide(f"probe {name}", lambda: self.watch.seconds <= until),
            self.study.settings.trials.attempts,
            self.runner.check,
            self.runner.progress.say,
        )
        for name, each in found.items():
            if isinstance(each, str):
                self.drop(name, "failed", each)
            else:
                self.probes[name] = each
        best = max((each.accuracy for each in self.probes.values()), default=0.0)
        for name, (difference, half) in probing.clearly_worse(self.probes).items():
            points = f"{100 * difference:.1f} ± {100 * half:.1f}"
            self.drop(name, "probe", f"its probe is {points} points below the best one, {percent(best, 1)}")
        if self.probes:
            images = len(next(iter(self.probes.values())).correct)
            self.runner.progress.say(
                f"{len(self.probes)} networks probed on {images:,} held-out images: accuracy up to {percent(best, 1)}; "
                f"{len(self.alive)} are left"
            )

    def compete(self) -> None:
        """Trains the candidates that are left on more and more folds, until the time is over."""
        for number, blocks in enumerate(race.stages(self.blocks)):
            if number == 1:
                self._measure()
            if not self._stage(number, blocks):
                break
            self._trained = blocks
            folds = len({fold for fold, _ in blocks})
            for name, reason in race.dropped(self._chances(), self.slack, folds).items():
                self.drop(name, "race", reason)

    def _stage(self, number: int, blocks: Sequence[Block]) -> bool:
        """Trains as many of the candidates that are left as the time allows, the most promising ones first.

        Returns:
            Whether there was time for any.
        """
        until = self.deadline(race.SHARES[min(number, len(race.SHARES) - 1)])
        waiting, chunk, trained = self._order(), list[str](), False
        while waiting:
            chunk = []
            while waiting and len(chunk) < self.executor.slots:
                first = number == 0 and not trained and not chunk
                decision = functools.partial(self._affordable, [*chunk, waiting[0]], blocks, until, first=first)
                if not self.decide(f"stage {number} {waiting[0]}", decision):
                    break
                chunk.append(waiting.pop(0))
            if not chunk:
                break
            self._train(chunk, blocks)
            trained = True
        if trained:
            for name in waiting:
                count = len(self.table([name])[name])
                self.drop(name, "time", f"the time was over after {count} fold{'s' * (count != 1)}")
        return trained

    def _affordable(self, names: Sequence[str], blocks: Sequence[Block], until: float, *, first: bool) -> bool:
        """Whether there is time to train candidates at once; always for the first one of a search."""
        timing = self.timing()
        expected = [(timing.of(name) or 0.0) * self._open(name, blocks) for name in names]
        if first or not self._open(names[-1], blocks):
            return True
        return self.watch.seconds + sum(expected) / min(len(names), self.executor.slots) <= until

    def _train(self, names: Sequence[str], blocks: Sequence[Block]) -> None:
        """Trains candidates on some folds; their numbers of epochs may differ."""
        by_epochs: dict[int, list[Candidate]] = {}
        for name in names:
            each = self.candidates[name]
            by_epochs.setdefault(each.experiment.training.epochs, []).append(each)
        for epochs, group in by_epochs.items():
            stage = f"{len(group)} of {len(self.alive)} networks, {len(blocks)} fold{'s' * (len(blocks) != 1)}"
            plan = self.runner.run(group, Full(epochs), stage, blocks)
            for name, elimination in plan.eliminated.items():
                self.drop(name, "failed", elimination.reason)

    def _measure(self) -> None:
        """Exports and times the candidates that are left, and drops those that exceed the budget after all."""
        if not set(self.study.bounds.values) & {"latency", "size"}:
            return
        self.runner.progress.say(f"exporting and measuring {len(self.alive)} networks")
        excesses, names = dict[str, Excess](), list(self.alive)
        networks = [self.study.networks[name] for name in names]
        for name, costs in zip(names, self.measures.networks(networks, self.study.num_classes), strict=True):
            self.runner.check()
            if isinstance(costs, UserError):
                self.drop(name, "failed", str(costs))
                continue
            self.measured[name] = {**self.study.costs[name], **costs}
            excess = self.study.bounds.exceeded(self.measured[name])
            if excess is not None:
                excesses[name] = excess
                self.drop(name, "measured", f"exported and measured: {excess.text}")
        if not self.alive and excesses:
            label, closest = min(excesses.items(), key=lambda item: item[1].cost / item[1].bound)
            raise UserError(
                f"config: budget: none of {len(names)} candidates meets it when it is exported; the closest, "
                f"{self.candidates[label].label}, has {closest.text}. Raise budget.{closest.measure}"
            )

    def _order(self) -> list[str]:
        """The candidates that are left, the most promising ones first."""
        chances = self._chances() if self._trained else {}
        accuracy = {name: self.probes[name].accuracy for name in self.alive if name in self.probes}
        middle = float(np.median(list(accuracy.values()))) if accuracy else 0.0
        return sorted(self.alive, key=lambda name: (-chances.get(name, 0.0), -accuracy.get(name, middle), name))

    def _chances(self) -> dict[str, float]:
        values = {name: row for name, row in self.table(self.alive).items() if finite(row)}
        if not values:
            return {}
        prior = Prior(1.0 / max(1, self.study.examples[1]), PRIOR_DEGREES)
        bounded = self.study.objective.bounded
        if not bounded and len(self._trained) < 2:
            return {}  # nothing is known about the variance
        return chance_within(values, self.slack, bounded=bounded, prior=prior if bounded else None)

    def timing(self) -> race.Timing:
        """How long trainings take."""
        spent: dict[str, list[float]] = {}
        for record in self.store.records():
            if record.state == "done" and record.seconds is not None:
                spent.setdefault(record.job.candidate, []).append(record.seconds)
        seconds = {name: float(np.mean(values)) for name, values in spent.items() if name in self.candidates}
        return race.Timing(seconds, {name: each.macs for name, each in self.candidates.items()})

    def deadline(self, share: float) -> float:
        """Second of the search until which trainings may begin that have a share of the time left."""
        minutes = self.study.settings.budget.minutes
        if minutes is None:
            return math.inf
        timing = self.timing()
        final = FINAL_SHARE * max((timing.of(name) or 0.0 for name in self.alive), default=0.0)
        now = self.watch.seconds
        return now + share * max(0.0, 60 * minutes - final - now)

    def _open(self, name: str, blocks: Sequence[Block]) -> int:
        """Number of folds on which a candidate has still to be trained."""
        epochs = self.candidates[name].experiment.training.epochs
        done = {job.block for job in self.runner.results if job.candidate == name and job.epochs == epochs}
        return len(set(blocks) - done)

    def drop(self, name: str, stage: str, reason: str) -> None:
        """Ends the competition for a candidate."""
        self.fates[name] = Fate(stage, reason)
        if name in self.alive:
            self.alive.remove(name)

    def table(self, names: Sequence[str]) -> dict[str, dict[Block, float]]:
        """Candidate -> fold -> value, averaged over seeds."""
        found = dict[str, dict[Block, float]]()
        for name in names:
            epochs = self.candidates[name].experiment.training.epochs
            found |= by_fold(self.runner.results, epochs, [name], self.blocks)
        return found

    def ranking(self) -> tuple[Ranking, bool]:
        """Ranks the candidates that are left; also whether they were trained on all folds.

        Raises:
            UserError: every candidate failed.
        """
        table = self.table(self.alive)
        most = max((len(row) for row in table.values()), default=0)
        if not most:
            reasons = "; ".join(sorted({fate.reason for name, fate in self.fates.items() if name in self.candidates}))
            raise UserError(f"every candidate failed: {reasons}; see {self.runner.directory / 'trials.log'}")
        finalists: Mapping[str, Mapping[Block, float]] = {name: row for name, row in table.items() if len(row) == most}
        by = next(iter(self.study.bounds.values), "macs")
        found = rank(
            finalists,
            {name: (self.measured.get(name) or self.study.costs[name]).get(by, 0.0) for name in finalists},
            margin=self.study.settings.objective.margin,
            bounded=self.study.objective.bounded,
            labels={name: self.candidates[name].label for name in finalists},
            metric=self.study.objective.title,
            eliminated=len(self.candidates) - len(finalists),
        )
        return found, most == len({fold for fold, _ in self.blocks})
