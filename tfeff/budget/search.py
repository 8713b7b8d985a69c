"""Runs a budget search: probes, a race over folds, and the delivery of the choice."""

import functools
import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from rich.console import Console

from tfeff import config
from tfeff.budget import probing, race
from tfeff.budget.candidates import Network
from tfeff.budget.delivery import Delivered, deliver, set_aside
from tfeff.budget.limits import Costs
from tfeff.budget.probing import Probe, probe
from tfeff.budget.study import Fate, Study
from tfeff.errors import UserError
from tfeff.execution.executor import ATTEMPTS, Executor
from tfeff.reporting.tables import percent
from tfeff.training import Reporter
from tfeff.trials import growth
from tfeff.trials.allocation import Full
from tfeff.trials.chance import Prior, chance_within
from tfeff.trials.growth import Growth
from tfeff.trials.ranking import Ranking, rank
from tfeff.trials.results import Block, by_fold, finite
from tfeff.trials.runner import TrialRunner, running
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate, Trial

STORE = "search.sqlite"
FREE = ("budget.", "candidates.", "objective.", "trials.attempts", "folds.seeds")
"""Keys that select trials or evaluate their results. No trial depends on them, so a search can resume with others."""
PARTS = (0.25, 0.5)
"""Shares of the training images on which the choice is also trained, for the forecast."""
PROBE_SHARE = 0.25
"""Of the time, for probes."""
SAID_SECONDS = 30.0
"""Between two lines on the progress of probes."""
ELAPSED, DECISION = "elapsed seconds", "decision"
FINAL_SHARE = 1.5
"""Time kept for the final training and export, relative to a training of the largest candidate on a fold."""


@dataclass(frozen=True)
class Forecast:
    """What more images and more compute would bring.

    Attributes:
        fitted: to the trainings of all networks of the choice's start.
        trainings: (images, accuracy) of each training of the choice.
        macs: multiply-adds of the choice, relative to the largest of these networks.
    """

    fitted: Growth
    trainings: Sequence[tuple[int, float]]
    macs: float

    def accuracy(self, *, images: float = 1.0, macs: float = 1.0) -> growth.Forecast:
        """With `images` times the images and `macs` times the multiply-adds of the choice."""
        return self.fitted.forecast(images=images, macs=macs * self.macs)


@dataclass(frozen=True)
class Findings:
    """The outcome of a search.

    Attributes:
        probes: id -> its probe.
        fates: id -> what became of it, for all networks.
        candidates: id -> how it was trained, for those that were.
        table: id -> fold -> value.
        ranking: of the candidates that were trained on the most folds.
        measured: id -> costs in the exported form, where they were measured.
        delivered: the choice, trained on all training images.
        complete: whether the finalists were trained on all folds.
        growth: what more images and compute would bring; None if there was no time to find out.
    """

    study: Study
    probes: Mapping[str, Probe]
    fates: Mapping[str, Fate]
    candidates: Mapping[str, Candidate]
    table: Mapping[str, Mapping[Block, float]]
    ranking: Ranking
    measured: Mapping[str, Costs]
    delivered: Delivered
    complete: bool
    growth: Forecast | None


def open_store(directory: Path, settings: config.BudgetSearch | None) -> TrialStore:
    """The store in the workdir of a search; None opens an existing one with any config."""
    return TrialStore(directory / STORE, settings, FREE)


class Measures(Protocol):
    """Measures costs in the exported form."""

    def network(self, network: Network, num_classes: int) -> Costs:
        """Of a network with random weights, which is exported for this."""

    def exported(self, path: Path) -> Costs:
        """Of an exported model."""


def run(
    study: Study,
    directory: Path,
    store: TrialStore,
    executor: Executor,
    console: Console,
    measures: Measures,
) -> Findings:
    """Runs a search to the end, resuming from the store.

    Args:
        measures: exports networks and times them.

    Raises:
        UserError: the images have changed since the first trial, every candidate failed, or no network meets the budget
            when it is exported.
        Interrupted: after Ctrl-C or SIGTERM; finished trials are stored.
    """
    settings = study.settings
    with running(settings, study.fingerprint, study.objective, directory, store, executor, console) as runner:
        largest = max(study.shortlist, key=lambda name: study.networks[name].cost.macs)
        trial = Trial(study.candidate(largest).experiment)
        precision = runner.resolve(trial, trial.on_fold(settings.folds, fold=0, seed=0)).training.precision
        search = _Search(study, store, executor, runner, precision, measures)
        search.probe()
        search.compete()
        ranking, complete = search.ranking()
        found = search.forecast(ranking.chosen) if settings.forecast else None
        delivered = search.deliver(ranking, directory)
        return Findings(
            study=study,
            probes=search.probes,
            fates=search.fates,
            candidates=search.candidates,
            table=search.table(list(search.candidates)),
            ranking=ranking,
            measured=search.measured,
            delivered=delivered,
            complete=complete,
            growth=found,
        )


class _Search:
    """The state of a search: everything in it follows from the store.

    Decisions that depend on the time are stored, so that a search that is killed and resumed makes the same ones.
    """

    def __init__(
        self,
        study: Study,
        store: TrialStore,
        executor: Executor,
        runner: TrialRunner,
        precision: str,
        measures: Measures,
    ) -> None:
        self.study, self.store, self.executor, self.runner = study, store, executor, runner
        self._measures, self._precision = measures, precision
        self.candidates = {name: study.candidate(name, precision) for name in study.shortlist}
        self.fates = dict(study.fates)
        self.probes = dict[str, Probe]()
        self.measured = dict[str, Costs]()
        self.alive = list(study.shortlist)
        self.blocks = study.settings.folds.blocks
        self.trained: Sequence[Block] = ()
        spent = float(store.fact(ELAPSED) or 0.0)
        self.watch = race.Stopwatch(spent, lambda seconds: store.write_fact(ELAPSED, str(seconds)))
        self.slack = study.settings.objective.margin or race.SLACK

    # --- probes ---

    def probe(self) -> None:
        """Probes the candidates with trained weights, as far as the time allows, and discards the clearly worse ones.

        Those whose weights need not be inherited, which takes longest, come first.
        """
        names = [name for name in self.alive if self.study.networks[name].start.kind != "scratch"]
        names.sort(key=lambda name: self.study.networks[name].inherits)
        for name, found in self._probed(names).items():
            if isinstance(found, str):
                self._drop(name, "failed", found)
            else:
                self.probes[name] = Probe(tuple(found))
        best = max((each.accuracy for each in self.probes.values()), default=0.0)
        for name, (difference, half) in probing.clearly_worse(self.probes).items():
            points = f"{100 * difference:.1f} ± {100 * half:.1f}"
            self._drop(name, "probe", f"its probe is {points} points below the best one, {percent(best, 1)}")
        if self.probes:
            images = len(next(iter(self.probes.values())).correct)
            self.runner.progress.say(
                f"{len(self.probes)} networks probed on {images:,} held-out images: accuracy up to {percent(best, 1)}; "
                f"{len(self.alive)} go on"
            )

    def _probed(self, names: Sequence[str]) -> dict[str, list[bool] | str]:
        """What each probe found, or why it failed; those for which there was no time are missing."""
        found, attempts = dict[str, list[bool] | str](), Counter[str]()
        waiting, running, said = list(names), set[str](), time.monotonic()
        until = self._deadline(PROBE_SHARE)
        while waiting or running:
            while waiting and len(running) < self.executor.slots:
                name = waiting.pop(0)
                stored = self.store.fact(f"probe {name}")
                if stored is None and self.watch.seconds > until:
                    stored = "null"
                    self.store.write_fact(f"probe {name}", stored)
                if stored is not None:
                    found |= {} if stored == "null" else {name: json.loads(stored)}
                    continue
                running.add(name)
                trial = probing.trial_of(self.candidates[name].experiment, self.study.settings.folds)
                self.executor.submit(name, probe, trial)
            outcomes = self.executor.wait(1.0) if running else ()
            self.runner.check()
            for outcome in outcomes:
                name = str(outcome.key)
                running.remove(name)
                if outcome.error is not None:
                    attempts[name] += 1
                    if outcome.retryable and attempts[name] < ATTEMPTS:
                        waiting.append(name)
                        continue
                found[name] = outcome.value if outcome.error is None else outcome.error
                self.store.write_fact(f"probe {name}", json.dumps(found[name]))
            if time.monotonic() - said > SAID_SECONDS:
                said = time.monotonic()
                self.runner.progress.say(f"probes: {len(found)} of {len(names)}")
        return found

    # --- race ---

    def compete(self) -> None:
        """Trains the candidates that are left on more and more folds."""
        for number, blocks in enumerate(race.stages(self.blocks)):
            if number == 1:
                self._measure_alive()
            self._stage(number, blocks)
            self.trained = blocks
            folds = len({fold for fold, _ in blocks})
            for name, reason in race.dropped(self._chances(), self.slack, folds).items():
                self._drop(name, "race", reason)

    def _stage(self, number: int, blocks: Sequence[Block]) -> None:
        """Trains as many of the candidates that are left as the time allows, the most promising ones first."""
        order = self._order()
        until = self._deadline(race.SHARES[min(number, len(race.SHARES) - 1)])
        slots = self.executor.slots
        for part, names in enumerate(race.chunks(order, max(race.FEWEST, slots))):
            fact = f"{DECISION} {number} {part}"
            decided = self.store.cached(fact, functools.partial(self._affordable, part, names, blocks, until))
            for name in names:
                if name not in decided:
                    self._drop(name, "time", f"the time was over after {self._folds(name)}")
            if decided:
                self._train(decided, blocks)

    def _affordable(self, part: int, names: Sequence[str], blocks: Sequence[Block], until: float) -> list[str]:
        """Those of the next candidates for which there is time."""
        if part == 0:
            return list(names[: max(race.FEWEST, self.executor.slots)])
        timing = self._timing()
        expected = [(timing.of(name) or 0.0) * self._open(name, blocks) for name in names]
        left = until - self.watch.seconds
        return list(names) if sum(expected) / self.executor.slots <= left else []

    def _train(self, names: Sequence[str], blocks: Sequence[Block]) -> None:
        """Trains candidates on some folds; their numbers of epochs may differ."""
        by_epochs: dict[int, list[Candidate]] = {}
        for name in names:
            each = self.candidates[name]
            by_epochs.setdefault(each.experiment.training.epochs, []).append(each)
        for epochs, group in by_epochs.items():
            words = f"{len(blocks)} fold{'s' * (len(blocks) != 1)}"
            plan = self.runner.run(group, Full(epochs), f"{len(self.alive)} networks, {words}", blocks)
            for name, elimination in plan.eliminated.items():
                self._drop(name, "failed", elimination.reason)

    def _measure_alive(self) -> None:
        """Exports and times the candidates that are left, and drops those that exceed the budget after all."""
        if not set(self.study.bounds.values) & {"latency", "size"}:
            return
        for name in list(self.alive):
            self.runner.check()
            try:
                costs = self._measures.network(self.study.networks[name], self.study.num_classes)
            except UserError as error:
                self._drop(name, "failed", str(error))
                continue
            self.measured[name] = {**self.study.costs[name], **costs}
            excess = self.study.bounds.exceeded(self.measured[name])
            if excess is not None:
                self._drop(name, "measured", f"exported and measured: {excess.text}")
        if not self.alive:
            closest = self.fates[self.study.shortlist[0]].reason
            raise UserError(f"config: budget: no candidate meets it when it is exported ({closest}); raise it")

    def _order(self) -> list[str]:
        """The candidates that are left, the most promising ones first."""
        chances = self._chances() if self.trained else {}
        accuracy = {name: self.probes[name].accuracy for name in self.alive if name in self.probes}
        middle = float(np.median(list(accuracy.values()))) if accuracy else 0.0
        return sorted(self.alive, key=lambda name: (-chances.get(name, 0.0), -accuracy.get(name, middle), name))

    def _chances(self) -> dict[str, float]:
        table = self.table(self.alive)
        values = {name: row for name, row in table.items() if finite(row)}
        if not values:
            return {}
        prior = Prior(1.0 / max(1, self.study.examples[1]), PRIOR_DEGREES)
        bounded = self.study.objective.bounded
        return chance_within(values, self.slack, bounded=bounded, prior=prior if bounded else None)

    def _timing(self) -> race.Timing:
        spent: dict[str, list[float]] = {}
        for record in self.store.records():
            if record.state == "done" and record.seconds is not None:
                spent.setdefault(record.job.candidate, []).append(record.seconds)
        seconds = {name: float(np.mean(values)) for name, values in spent.items() if name in self.candidates}
        return race.Timing(seconds, {name: each.macs for name, each in self.candidates.items()})

    def _deadline(self, share: float) -> float:
        """Second of the search until which a stage may begin trainings."""
        minutes = self.study.settings.budget.minutes
        if minutes is None:
            return math.inf
        timing = self._timing()
        final = FINAL_SHARE * max((timing.of(name) or 0.0 for name in self.alive), default=0.0)
        now = self.watch.seconds
        return now + share * max(0.0, 60 * minutes - final - now)

    def _open(self, name: str, blocks: Sequence[Block]) -> int:
        epochs = self.candidates[name].experiment.training.epochs
        done = {job.block for job in self.runner.results if job.candidate == name and job.epochs == epochs}
        return len(set(blocks) - done)

    def _folds(self, name: str) -> str:
        count = len(self.table([name])[name])
        return f"{count} fold{'s' * (count != 1)}"

    def _drop(self, name: str, stage: str, reason: str) -> None:
        self.fates[name] = Fate(stage, reason)
        if name in self.alive:
            self.alive.remove(name)

    # --- choice ---

    def table(self, names: Sequence[str]) -> dict[str, dict[Block, float]]:
        """Candidate -> fold -> value, averaged over seeds."""
        found = dict[str, dict[Block, float]]()
        for name in names:
            epochs = self.candidates[name].experiment.training.epochs
            found |= by_fold(self.runner.results, epochs, [name], self.blocks)
        return found

    def ranking(self) -> tuple[Ranking, bool]:
        """Ranks the candidates that are left; also whether they were trained on all folds."""
        table = self.table(self.alive)
        most = max((len(row) for row in table.values()), default=0)
        if not most:
            reasons = "; ".join(sorted({fate.reason for name, fate in self.fates.items() if name in self.candidates}))
            raise UserError(f"every candidate failed: {reasons}; see {self.runner.directory / 'trials.log'}")
        finalists = {name: row for name, row in table.items() if len(row) == most}
        bounds = self.study.bounds.values
        by = next(iter(bounds), "macs")
        costs = {name: (self.measured.get(name) or self.study.costs[name]).get(by, 0.0) for name in finalists}
        labels = {name: self.candidates[name].label for name in finalists}
        found = rank(
            finalists,
            costs,
            margin=self.study.settings.objective.margin,
            bounded=self.study.objective.bounded,
            labels=labels,
            metric=self.study.objective.title,
            eliminated=len(self.candidates) - len(finalists),
        )
        return found, most == len({fold for fold, _ in self.blocks})

    def forecast(self, chosen: str) -> Forecast | None:
        """Trains the choice on parts of the images and fits power laws to all trainings of its start; None without time
        for it, and for metrics that are no accuracy."""
        parts = [self.study.on_part(chosen, share, self._precision) for share in PARTS]
        parts = [each for each in parts if each.experiment.training.batch_size <= self._images(each)]
        table = self.table([chosen])[chosen]
        blocks = [block for block in self.blocks if block in table]
        expected = (self._timing().of(chosen) or 0.0) * sum(PARTS) * len(blocks) / self.executor.slots
        until = self._deadline(1.0)
        affordable = self.store.cached("forecast", lambda: self.watch.seconds + expected <= until)
        if not affordable or not parts or not self.study.objective.metric.endswith("accuracy"):
            return None
        rows = list[growth.Training]()
        for each in parts:
            epochs = each.experiment.training.epochs
            self.runner.run([each], Full(epochs), f"{self._images(each)} images", blocks)
            values = by_fold(self.runner.results, epochs, [each.name], blocks)[each.name]
            rows += self._trainings(each, self._images(each), values)
        own = self._trainings(self.candidates[chosen], self.study.examples[0], table)
        curve = [(each.images, 1.0 - each.error) for each in (*rows, *own)]
        for name, values in self.table(list(self.candidates)).items():
            if self.study.networks[name].start == self.study.networks[chosen].start:
                rows += self._trainings(self.candidates[name], self.study.examples[0], values)
        return Forecast(growth.fit(rows), curve, self.candidates[chosen].macs / max(each.macs for each in rows))

    def _images(self, part: Candidate) -> int:
        return part.experiment.data.fold_train_examples or self.study.examples[0]

    def _trainings(self, candidate: Candidate, images: int, values: Mapping[Block, float]) -> list[growth.Training]:
        epochs, validated = candidate.experiment.training.epochs, self.study.examples[1]
        return [
            growth.Training(images, float(candidate.macs), epochs, fold, 1.0 - value, validated)
            for (fold, _), value in values.items()
        ]

    def deliver(self, ranking: Ranking, directory: Path) -> Delivered:
        """Trains the choice on all training images, exports and measures it; the next one if it misses the budget.

        Raises:
            UserError: none meets it.
        """
        misses = []
        for name in (ranking.chosen, *(each for each in ranking.order if each != ranking.chosen)):
            if (reason := self.store.fact(f"missed {name}")) is not None:
                self._drop(name, "measured", reason)
                misses.append(f"{self.candidates[name].label}: {reason}")
                continue
            self.runner.progress.say(f"training {self.candidates[name].label} on all training images")
            workdir = directory / "best"
            delivered = deliver(self.study, self.candidates[name], workdir, self._measures.exported, Reporter())
            excess = self.study.bounds.exceeded(delivered.costs)
            if excess is None:
                self.fates[name] = Fate("chosen", "the choice")
                for other in ranking.order:
                    if self.fates.get(other) is None:
                        self.fates[other] = Fate("beaten", "not the best by its mean over the folds")
                return delivered
            set_aside(workdir, name)
            reason = f"trained, exported and measured: {excess.text}"
            self.store.write_fact(f"missed {name}", reason)
            self._drop(name, "measured", reason)
            misses.append(f"{self.candidates[name].label}: {reason}")
        raise UserError("config: budget: no finalist meets it when it is exported: " + "; ".join(misses))


PRIOR_DEGREES = 4.0
"""Weight of the variance that the number of validation images implies, in degrees of freedom."""
