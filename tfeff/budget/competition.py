"""Competition of a budget search: probes or short trainings, then trainings on more folds until the time is over."""

import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import numpy as np

from tfeff.budget import durations, probing, race
from tfeff.budget.candidates import Network
from tfeff.budget.limits import Costs
from tfeff.budget.probing import Probe
from tfeff.budget.race import Stopwatch
from tfeff.budget.study import Fate, Study
from tfeff.budget.timekeeping import FEWEST_TRAININGS, Paces, Timekeeper
from tfeff.data.names import counted
from tfeff.errors import UserError
from tfeff.execution.executor import Executor
from tfeff.reporting.tables import percent
from tfeff.trials import intervals
from tfeff.trials.allocation import Lengths
from tfeff.trials.chance import Prior, chance_within
from tfeff.trials.progress import Rate, measured_rate
from tfeff.trials.ranking import Ranking, fold_count, rank, sole
from tfeff.trials.results import Block, Job, Table, by_fold, finite
from tfeff.trials.runner import TrialRunner
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate
from tfeff.trials.two_way import TwoWay, fit_two_way

PROBE_SHARE = 0.25
"""Share of the time for probes or short trainings."""
MEASURING_SHARE = 0.1
"""Share of the time in which detectors are exported and timed before their short trainings."""
BESIDE = 1.25
"""Trainings beside the first one, which is made in any case, may take this much longer."""
ENOUGH = 0.6
"""Detectors are compared only as long as there is time for a final training of at least this share of the epochs."""
SHORTENED = 10
"""Trainings of fewer epochs are not preceded by short ones."""
WORSE = ("probe", "short", "race", "time")
"""Stages that drop candidates which may meet the budget; see `Fate`."""
PACE, FINAL_PACE = "pace", "final pace"
"""Facts: the share of the epochs of the last trainings, and of the final one that was planned."""
PRIOR_DEGREES = 4.0
"""Weight of the variance that the number of validation images implies, in degrees of freedom."""


class Measures(Protocol):
    """Measurement of costs in the exported form."""

    def networks(self, networks: Sequence[Network], num_classes: int) -> Iterator[Costs | UserError]:
        """Yields the costs of networks, exported with random weights; or why one cannot be exported."""

    def exported(self, path: Path, name: str) -> Costs:
        """Returns the costs of an exported model, and keeps them under a name."""

    def known(self, name: str) -> Costs | None:
        """Returns the costs that are kept under a name, if there are any."""


class Competition:
    """The candidates of a search, and what became of them.

    Everything follows from the store, also decisions that depend on the time (`Timekeeper`).

    Args:
        precision: dtype policy of trainings, used if neither the config nor the rules choose one.
        measures: exports networks and times them.
        watch: time since the search began.

    Attributes:
        candidates: id -> how it is trained.
        fates: id -> what became of it, for all networks that are no longer in the competition.
        alive: ids of those that are.
        screened: id -> accuracy of its probe, of a detector the metric after its short training.
        measured: id -> costs in the exported form, where they were measured.
        compared: (fold, seed) of the trainings by which the candidates were compared last; empty before that.
        alone: the candidate that is trained on all images without a comparison, for lack of time; None while others
            compete.
        why_alone: why, in words.
        leader: the detector that is trained first.
        time: what trainings take.
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
        self.time = Timekeeper(study, store, runner, executor.slots, executor.local_slots, watch)
        self.candidates = dict[str, Candidate]()
        self._set_pace(1.0)
        self.fates = dict(study.fates)
        self.screened = dict[str, float]()
        self.measured = dict[str, Costs]()
        self.alive = list(study.shortlist)
        self._late = list[str]()  # those without any training, for lack of time
        self.blocks = study.settings.folds.blocks
        self.compared: Sequence[Block] = ()
        self.alone: str | None = None
        self.why_alone = ""
        self.leader = ""
        margin = study.settings.objective.margin
        self.slack = margin or race.SLACK
        self.spared, self.short_slack = (max(each, margin or 0.0) for each in (probing.SPARED, race.SHORT_SLACK))

    def _set_pace(self, pace: float, final: float | None = None) -> None:
        """Trains all candidates for this share of the epochs from here on.

        Args:
            final: share of the epochs of the final training for which time is kept; None: `pace`.
        """
        self.time.pace, self.time.final_pace = pace, pace if final is None else final
        self.candidates = {name: self._at_pace(name, pace) for name in self.study.shortlist}
        self.time.candidates = self.candidates

    @property
    def pace(self) -> float:
        """Share of the epochs that the rules choose, for which candidates are trained."""
        return self.time.pace

    def screen(self) -> None:
        """Discards the clearly worse candidates, by probes or short trainings; shortens trainings if time is short."""
        if self.study.detects:
            self._forecast()
            self._set_pace(self._shortest, self._enough)
            self._lead()
            if not self._may_compare():
                self._choose_alone()
                return
            until = self.time.decide("until measured", lambda: self.time.deadline(MEASURING_SHARE, self.alive))

            def in_time(name: str) -> bool:
                return bool(self.time.decide(f"measure {name} at first", lambda: self.time.seconds < until))

            self._measure(in_time)  # first, because even a short training takes longer
            self._lead()
            self._train_shortly()
        else:
            self._probe()
            self._forecast()
        if self.study.may_shorten:
            out = self._without_time("if shortened", race.SHORT)
            names = [name for name in self._order() if name not in out]
            pace, final = self.time.affordable_paces(names, self._stored_paces())
            self._set_pace(pace, max(final, self._enough) if self.study.detects else final)
            self._say_reuse()
            # Trainings on the first fold turned out to be as short as the short ones.
            self._return_late(lambda name: self._at_pace(name, race.SHORT).name == self.candidates[name].name)
        self._drop_those_without_time()
        self._say_duration()

    @property
    def _shortest(self) -> float:
        """Share of the epochs of the first trainings of detectors."""
        epochs = max(self._at_pace(name, 1.0).experiment.training.epochs for name in self.study.shortlist)
        return race.SHORT if epochs >= SHORTENED else 1.0

    @property
    def _enough(self) -> float:
        """Share of the epochs of a detector's final training for which time is kept while detectors are compared."""
        return ENOUGH if self.study.may_shorten else 1.0

    def _lead(self) -> None:
        """Finds the detector that is trained first, or alone.

        This is the first one, in the order of `_by_size`, whose final training has time for enough epochs; without any,
        the quickest one.
        """
        order = self._by_size(self.alive)
        found = self.time.decide(f"first of {len(order)}", lambda: self.time.longest_final(order, self._enough))
        self.leader, self.time.promising = found, [found]

    def _may_compare(self) -> bool:
        """Returns whether there is time to train two detectors on a fold before a final training of enough epochs.

        Trainings that are stored need none. If the minutes were over when this call began, these are compared, so that
        the search ends with the best so far.
        """
        order, pace = self._by_effort(), self._first_pace
        stored = [name for name in order if not self.open(self._at_pace(name, pace), self.blocks[:1])]
        waiting = [name for name in order if name not in stored][: max(0, 2 - len(stored))]

        def found() -> bool:
            if self.time.over and self.runner.ended:
                return True
            if len(stored) > 1 and self.leader in stored:
                return True
            return self.time.may_compare(waiting, self.alive, self.leader, pace, self._enough)

        return bool(self.time.decide("comparison", found))

    @property
    def _first_pace(self) -> float:
        """Share of the epochs that the first trainings of detectors have if time is short."""
        return race.SHORT if self.study.may_shorten else self._shortest

    def _choose_alone(self) -> None:
        """Chooses the network that is trained without a comparison, and drops all others.

        If an earlier call has done so, it is the same one.

        Raises:
            UserError: none meets the budget when it is exported.
        """
        before = self.time.alone_before()
        if before in self.alive:
            self.leader = before
        while not self.fits(found := self.leader):
            if not self.alive:
                raise self._impossible()
            self._lead()
        self.alone, label = found, self.candidates[found].label
        others = [name for name in self.alive if name != found]
        largest = self._by_size(self.alive)[0]
        cheapest = [name for name in sorted(self.alive, key=lambda name: self.candidates[name].macs) if name != largest]
        minutes = self.time.decide(
            "minutes of a comparison",
            lambda: self.time.minutes_to_compare(
                [largest, *cheapest[:1]], self.alive, largest, self._first_pace, self._enough
            ),
        )
        self.why_alone = f"{label} is the only candidate, and there was no time to train it on folds"
        if others:
            self.why_alone = f"There was no time to compare networks; {label} was chosen by its size"
            if minutes is not None:
                self.why_alone += f" (a new search with budget.minutes={minutes} or more compares some)"
        self.runner.progress.say(self.why_alone)
        for name in others:
            self.drop(name, "time", "no time to compare networks")
        if self.study.may_shorten:
            self._set_pace(race.SHORT)

    def _by_size(self, names: Sequence[str]) -> list[str]:
        """Returns some candidates, those that are trained alone if there is time for a single one first.

        The largest unscaled one comes first, then those with trained weights, the largest ones first.
        """
        own = self.study.unscaled(names)

        def place(name: str) -> tuple[bool, bool, int, str]:
            scratch = self.study.networks[name].start.kind == "scratch"
            return name != own, scratch, -self.candidates[name].macs, name

        return sorted(names, key=place)

    def _at_pace(self, name: str, pace: float) -> Candidate:
        return self.study.candidate(name, self.precision, pace)

    def _stored_paces(self) -> Paces | None:
        """Returns the paces of an earlier call that stored trainings; None if there are none of those that are left.

        A candidate also counts if there is no time to train it again.
        """
        stored = self.store.fact(PACE)
        if stored is None:
            return None
        jobs = [_job(self._at_pace(name, float(stored)), self.blocks[0]) for name in self.alive]
        if not self.runner.ended.intersection(jobs):
            return None
        return float(stored), float(self.store.fact(FINAL_PACE) or stored)

    def _return_late(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Lets networks compete again for which there was no time on the first fold."""
        back = [name for name in self._late if self._stage_of(name) == "time" and wanted(name)]
        for name in back:
            del self.fates[name]
        self.alive += back
        self._late = [name for name in self._late if name not in back]

    def _without_time(self, when: str, pace: float) -> list[str]:
        """Returns the candidates that cannot be trained in time at a pace, on one fold and then on all images.

        Those whose trainings are stored need no time. One is trained in any case.

        Args:
            when: name of the decision.
        """
        if self.study.settings.budget.minutes is None:
            return []

        def found() -> list[str]:
            order, (block, *_) = self._order(), self.blocks
            waiting = [name for name in order if self.open(self.candidates[name], [block])]
            trained = any(_job(self.candidates[name], block) in self.runner.seconds for name in order)
            final = self._enough if self.study.detects else min(pace, self.time.final_pace)
            possible = self.time.affordable(waiting, pace, final, tolerant=not trained)
            return [name for name in waiting if name not in possible]

        decided: list[str] = self.time.decide(f"no time {when}", found)
        return decided

    def _drop_those_without_time(self) -> None:
        names = [name for name in self._without_time(f"at pace {self.pace:g}", self.pace) if name in self.alive]
        for name in names:
            self.drop(name, "time", "no time for its training on a fold and on all images; raise budget.minutes")
        if names:
            self.runner.progress.say(
                f"{counted(len(names), 'networks')} left out: budget.minutes="
                f"{self.study.settings.budget.minutes:g} leaves no time for training on a fold and on all images"
            )

    def _say_reuse(self) -> None:
        """Says that earlier trainings had another number of epochs, if none of them counts now."""
        before = self.store.fact(PACE)
        used = {each.name for each in self.candidates.values()} & {job.candidate for job in self.runner.ended}
        if before is not None and before != str(self.pace) and self.runner.ended and not used:
            self.runner.progress.say(
                f"trainings have {percent(self.pace)} of the epochs that suit the images; those of another "
                f"budget.minutes had {percent(float(before))} and are not reused"
            )
        self.store.write_fact(PACE, str(self.pace))
        self.store.write_fact(FINAL_PACE, str(self.time.final_pace))

    def _say_duration(self) -> None:
        """Says how long the first training takes, if that is known."""
        for name in self._order()[:1]:
            (seconds,) = self.time.expected([name])
            if seconds:
                each, shortened = self.candidates[name], ", shortened" if self.pace < 1 else ""
                words = f"{timedelta(seconds=round(seconds))} for {each.experiment.training.epochs} epochs{shortened}"
                self.runner.progress.say(f"a training of {each.label} on one fold takes about {words}")

    def _forecast(self) -> None:
        """Forecasts how long trainings take.

        That follows from some steps of the most promising networks, or from the probes if frozen layers compute stored
        features alone.
        """
        if self.study.settings.budget.minutes is None:
            return
        if self.time.timing().per_pass and (self.study.detects or self.time.seconds >= self.time.end):
            return  # finished trainings tell it, or no other one begins
        names = self._by_size(self.alive) if self.study.detects else self._order()
        trained = [name for name in names if self.study.networks[name].start.kind != "scratch"]
        if self.study.detects:
            trained = trained or names
        candidates = map(self.candidates.__getitem__, trained)
        timed = [each for each in candidates if not durations.stores_features(each)]
        count = self.executor.slots
        if self.study.detects:  # what the largest and the smallest one take decides which one is trained first
            count = max(2, count)
            timed = [*timed[: count - 1], *timed[count - 1 :][-1:]]
        timed = timed[:count]
        if not timed:
            self.time.rate = self.time.feature_rate
            return

        def measured() -> dict[str, float] | None:
            self.runner.progress.say(f"timing some steps of {', '.join(each.label for each in timed)}")
            try:
                found = measured_rate(
                    timed,
                    self.study.settings.folds,
                    self.executor,
                    lambda each: durations.passes(each, 1),
                    self.runner.check,
                )
                return dataclasses.asdict(found)
            except UserError:  # the training of such a network will fail, too, and say why
                return None

        found = self.time.decide("rate", measured)
        self.time.rate = None if found is None else Rate(**found)

    def _probe(self) -> None:
        """Probes the candidates with trained weights.

        Candidates whose weights need not be inherited come first, because inheriting takes longest.
        """
        names = [name for name in self.alive if self.study.networks[name].start.kind != "scratch"]
        names.sort(key=lambda name: self.study.networks[name].inherits)
        until = self.time.decide("until probes", lambda: self.time.deadline(PROBE_SHARE, self.alive))

        def affordable(name: str) -> bool:
            decision = functools.partial(self.time.loads_before, name, until)
            return bool(self.time.decide(f"probe {name}", decision))

        found = probing.run(
            {name: probing.trial_of(self.candidates[name], self.study.settings.folds) for name in names},
            self.store,
            self.executor,
            affordable,
            self.time.probes.__setitem__,
            self.study.settings.trials.attempts,
            self.runner.check,
            self.runner.progress.say,
        )
        probes = dict[str, Probe]()
        for name, each in found.items():
            if isinstance(each, str):
                self.drop(name, "failed", each)
                self.runner.progress.say(f"{self.candidates[name].label}: its probe failed: {each}")
            else:
                probes[name] = each
        self.screened = {name: each.accuracy for name, each in probes.items()}
        best = max(self.screened.values(), default=0.0)
        for name, (difference, half) in self._worse_probes(probes).items():
            points = f"{100 * difference:.1f} ± {100 * half:.1f}"
            self.drop(name, "probe", f"its probe is {points} points below the best one, {percent(best, 1)}")
        if probes:
            images = len(next(iter(probes.values())).correct)
            self.runner.progress.say(
                f"{len(probes)} networks probed on {images:,} held-out images: accuracy up to {percent(best, 1)}; "
                f"{len(self.alive)} are left"
            )
        elif found and self.alive:
            self.runner.progress.say("every probe failed: only networks that start from random weights are left")

    def _worse_probes(self, probes: Mapping[str, Probe]) -> Mapping[str, tuple[float, float]]:
        """Returns what `probing.clearly_worse` does; none if the objective is not accuracy alone."""
        return {} if self.study.objective.exponent else probing.clearly_worse(probes, self.spared)

    def _train_shortly(self) -> None:
        """Trains detectors for a part of their epochs on one fold.

        The cheapest ones come first, and those whose weights are random or have to be inherited last. The leader comes
        before all others.
        """
        if self._shortest < 1:
            self.runner.progress.say("detectors are not probed: short trainings on one fold come first")
            self._stage("short", self._by_effort(), self.blocks[:1], PROBE_SHARE, least=2)
            self.compared = self.blocks[:1]
            table = self.table(self.alive, self.compared)
            self.screened = {name: value for name, row in table.items() for value in row.values()}
            for name, reason in self._hopeless(self.short_slack, self.alive, "a short training").items():
                self.drop(name, "short", reason)
            self.compared = ()
        self._set_pace(1.0)

    def _by_effort(self) -> list[str]:
        """Returns the candidates that are left in the order of `_train_shortly`."""

        def effort(name: str) -> int:
            return self.candidates[name].macs * self.candidates[name].experiment.training.epochs

        def waits(name: str) -> bool:
            return self.study.networks[name].start.kind == "scratch" or self.study.networks[name].inherits

        return sorted(self.alive, key=lambda name: (name != self.leader, waits(name), effort(name), name))

    def compete(self) -> None:
        """Trains the candidates that are left on more and more folds, until the time is over."""
        if self.alone is not None:
            return
        stages = race.stages(self.blocks)
        for number, (blocks, share) in enumerate(zip(stages, race.shares(len(stages)), strict=True)):
            stage = str(number)
            # Probes say which classifiers are promising; a single fold would say less about the others.
            if number and self.study.detects and not self._decides(stage, blocks, share):
                self._train_late(stage, share)
            if number == 1:
                self._measure(functools.partial(self._trainable, stage, blocks, share))
            least = FEWEST_TRAININGS if self.study.detects and not number else 0
            if not self._stage(stage, self._order(), blocks, share, least):
                break
            self.compared = blocks
            self._drop_hopeless(blocks)
        self._drop_late([name for name, row in self.table(self.alive, self.compared).items() if not row])

    def _decides(self, stage: str, blocks: Sequence[Block], share: float) -> bool:
        """Returns whether there is time to train two candidates on these folds: those of one decide nothing."""
        names = self._order()[:2]

        def affordable() -> bool:
            return self._affordable(names, blocks, self.time.deadline(share, self.alive), first=False)

        return len(names) > 1 and bool(self.time.decide(f"two in stage {stage}", affordable))

    def _train_late(self, stage: str, share: float) -> None:
        """Trains networks that had to wait on the first fold, before others are trained on more folds."""
        self._return_late()
        block = self.blocks[:1]
        waiting = [name for name in self._order() if not self.table([name], block)[name]]
        if waiting:
            self._stage(f"{stage}, first fold", waiting, block, share)
            self._drop_late([name for name in self.alive if not self.table([name], block)[name]])
            self._drop_hopeless(block)

    def _stage(self, stage: str, order: Sequence[str], blocks: Sequence[Block], share: float, least: int = 0) -> bool:
        """Trains as many candidates as a share of the time left allows.

        Args:
            stage: its name.
            order: candidates, the most promising ones first.
            least: until so many are trained, all of the time left may be used.

        Returns:
            Whether there was time for any. If not, stored trainings of an earlier search do not count, either: those
            that have them are not better for that.
        """
        until = self._until(stage, share)
        end = self._until(f"{stage} at the latest", 1.0) if least else until

        def untrained() -> list[str]:
            return [name for name in order if self.open(self.candidates[name], blocks)]

        new = self.time.decide(f"new in stage {stage}", untrained)
        waiting = sorted(order, key=lambda name: name in new)  # the others need no time
        while waiting:
            trained = sum(bool(row) for row in self.table(self.alive, blocks).values())
            chunk, first = list[str](), not trained
            if first:  # one is trained in any case; as the second one, it may have been refused
                chunk.append(waiting.pop(0))
            while waiting and len(chunk) < self.executor.slots:
                limit = end if trained + len(chunk) < least else until
                decision = functools.partial(self._affordable, [*chunk, waiting[0]], blocks, limit, first=first)
                if not self.time.decide(f"stage {stage} {waiting[0]}", decision):
                    break
                chunk.append(waiting.pop(0))
            if not chunk:
                break
            self._train(chunk, blocks)
        if self.compared and new and set(new) <= set(waiting):
            return False
        self._drop_late(waiting)
        return True

    def _drop_late(self, names: Sequence[str]) -> None:
        """Drops candidates for which there is no time."""
        for name in names:
            folds = len(self.table([name], self.compared)[name])
            self.drop(name, "time", f"no time after {counted(folds, 'folds')}; raise budget.minutes to train it")
            if not folds:
                self._late.append(name)

    def _drop_hopeless(self, blocks: Sequence[Block]) -> None:
        """Drops candidates that are hardly among the best."""
        for name, reason in self._hopeless(self.slack, self.alive, fold_count(blocks)).items():
            self.drop(name, "race", reason)

    def _until(self, stage: str, share: float) -> float:
        """Returns the second of the search until which the trainings of a stage should end."""
        return float(self.time.decide(f"until {stage}", lambda: self.time.deadline(share, self.alive)))

    def _trainable(self, stage: str, blocks: Sequence[Block], share: float, name: str) -> bool:
        """Returns whether there is time to train a candidate in a stage, so that its costs matter."""
        until = self._until(stage, share)
        return bool(self.time.decide(f"measure {name}", lambda: self._affordable([name], blocks, until, first=False)))

    def _affordable(self, names: Sequence[str], blocks: Sequence[Block], until: float, *, first: bool) -> bool:
        """Returns whether there is time to train candidates at once.

        Args:
            first: none can be chosen so far: one is trained in any case, and others beside it that take hardly longer.
        """
        opened = {name: self.open(self.candidates[name], blocks) for name in names}
        if (first and len(names) == 1) or not opened[names[-1]]:
            return True
        expected = zip(self.time.expected(names), names, strict=True)
        trainings = [[seconds] * opened[name] for seconds, name in expected]
        limit = until - self.time.seconds
        if first:
            limit = max(limit, BESIDE * durations.together(trainings[0], self.executor.slots))
        return durations.together(itertools.chain.from_iterable(trainings), self.executor.slots) <= limit

    def _train(self, names: Sequence[str], blocks: Sequence[Block]) -> None:
        """Trains candidates on some folds; their numbers of epochs may differ."""
        group = [self.candidates[name] for name in names]
        lengths = Lengths({each.name: each.experiment.training.epochs for each in group})
        stage = f"{len(group)} of {len(self.alive)} networks, {counted(len(blocks), 'folds')}"
        plan = self.runner.run(group, lengths, stage, blocks)
        for name, elimination in plan.eliminated.items():
            self.drop(self.time.ids[name], "failed", elimination.reason)

    def _measure(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Exports and times the candidates that are left, and drops those that exceed the budget after all.

        Those that were dropped only because these seemed better come back, and are measured, too.

        Args:
            wanted: whether to measure a candidate; the first one that is not ends it.
        """
        if not self.study.settings.budget.measured:
            return
        self.runner.progress.say(f"exporting and measuring {len(self.alive)} networks")
        while waiting := [name for name in self._order() if name not in self.measured]:
            if not self._measure_each(waiting, wanted):
                return
            if not set(waiting) <= set(self.alive):
                for name in self._unjustly_dropped():
                    del self.fates[name]
                    self.alive.append(name)
        if not self.alive:
            raise self._impossible()

    def _impossible(self) -> UserError:
        """Returns why no candidate is left."""
        excesses = {name: self.study.bounds.exceeded(costs) for name, costs in self.measured.items()}
        found = [(each.cost / each.bound, name, each) for name, each in excesses.items() if each is not None]
        if found and all(self._stage_of(name) == "measured" for name in self.candidates):
            _, name, closest = min(found)
            return UserError(
                f"config: budget: none of {len(excesses)} candidates meets it when it is exported; the closest, "
                f"{self.candidates[name].label}, has {closest.text}. Raise budget.{closest.measure}"
            )
        reasons = "; ".join(sorted({fate.reason for name, fate in self.fates.items() if name in self.candidates}))
        return UserError(f"every candidate failed: {reasons}; see {self.runner.directory / 'trials.log'}")

    def _measure_each(self, names: Sequence[str], wanted: Callable[[str], bool]) -> bool:
        """Measures candidates, and drops those that exceed the budget; returns whether all were wanted."""
        found = self.measures.networks([self.study.networks[name] for name in names], self.study.num_classes)
        for name in names:
            self.runner.check()
            if not wanted(name):
                return False
            costs = next(found)
            if isinstance(costs, UserError):
                self.drop(name, "failed", str(costs))
                self.runner.progress.say(f"{self.candidates[name].label}: {costs}")
                continue
            self.measured[name] = {**self.study.costs[name], **costs}
            excess = self.study.bounds.exceeded(self.measured[name])
            if excess is not None:
                self.drop(name, "measured", f"exported and measured: {excess.text}")
        return True

    def fits(self, name: str) -> bool:
        """Returns whether a candidate meets the budget; measures it if that was not done, and drops it if it does not.

        The export that is measured has random weights.
        """
        if self.study.settings.budget.measured and name not in self.measured:
            self._measure_each([name], lambda _: True)
        return name not in self.fates or self.fates[name].stage in WORSE

    def _unjustly_dropped(self) -> list[str]:
        """Returns the candidates that are worse only than networks that exceed the budget.

        If none is left, these are also candidates for which there was no time.
        """
        possible = [name for name in self.candidates if name not in self.fates or self.fates[name].stage in WORSE]
        by = {stage: [name for name in possible if self._stage_of(name) == stage] for stage in WORSE}
        probes = {name: self.time.probes[name] for name in possible if name in self.time.probes}
        worse = self._worse_probes(probes)
        found = [name for name in by["probe"] if name not in worse]
        hopeless = self._hopeless(self.slack, [*self.alive, *by["race"]], "")
        found += [name for name in by["race"] if name not in hopeless]
        return found if found or self.alive else by["time"]

    def _stage_of(self, name: str) -> str | None:
        return self.fates[name].stage if name in self.fates else None

    def reserves(self) -> list[str]:
        """Returns the candidates that were dropped although they may meet the budget, the most promising ones first."""
        names = self._by_size([name for name in self.candidates if self._stage_of(name) in WORSE])
        if self.alone is not None:  # the time is over
            names.sort(key=lambda name: self.candidates[name].macs)
        fitted = self.fitted()
        place = {} if fitted is None else {name: index for index, name in enumerate(fitted.ranking)}
        return sorted(names, key=lambda name: (place.get(name, len(place)), -self.screened.get(name, 0.0)))

    def fitted(self) -> TwoWay | None:
        """Compares all candidates that were trained, also on different folds; None before any training."""
        table = {name: row for name, row in self.table(list(self.candidates)).items() if finite(row)}
        return fit_two_way(table) if table else None

    def _order(self) -> list[str]:
        """Returns the candidates that are left, the most promising ones first."""
        chances = self._chances(self.slack, self.alive) if self.compared else {}
        accuracy = {name: self.screened[name] for name in self.alive if name in self.screened}
        middle = float(np.median(list(accuracy.values()))) if accuracy else 0.0
        if self.study.detects:
            equal = self._by_effort()
        else:  # of those about which nothing is known, the largest ones first
            equal = sorted(self.alive, key=lambda name: (-self.candidates[name].macs, name))
        return sorted(equal, key=lambda name: (-chances.get(name, 0.0), -accuracy.get(name, middle)))

    def _chances(self, slack: float, names: Sequence[str]) -> dict[str, float]:
        """Returns the chance of each of some candidates, if it was trained, to be within the slack of the best one."""
        values = self._values(names)
        if not values:
            return {}
        bounded = self.study.objective.bounded
        prior = Prior(1.0 / self.study.validation_trials, PRIOR_DEGREES) if bounded else None
        return chance_within(values, self._in_units(slack, values), bounded=bounded, prior=prior)

    def _hopeless(self, slack: float, names: Sequence[str], words: str) -> dict[str, str]:
        """Returns those of some candidates that are hardly within the slack of the best one, with the reason."""
        shown = self._in_units(slack, self._values(names))
        return race.dropped(self._chances(slack, names), shown, words, bounded=self.study.objective.bounded)

    def _values(self, names: Sequence[str]) -> dict[str, dict[Block, float]]:
        """Returns candidate -> fold -> value on the folds of the stages so far, for those that have one."""
        return {name: row for name, row in self.table(names, self.compared).items() if finite(row)}

    def _in_units(self, slack: float, values: Table) -> float:
        """Returns a slack in the unit of the metric.

        The defaults are for metrics in [0, 1]. For others, without `objective.margin`, it is the residual standard
        deviation of a training; as long as that is unknown, no candidate is dropped.
        """
        if self.study.objective.bounded or self.study.settings.objective.margin is not None or not values:
            return slack
        return math.sqrt(fit_two_way(values).variance or 0.0)

    def open(self, candidate: Candidate, blocks: Sequence[Block]) -> int:
        """Returns the number of folds on which a candidate has still to be trained."""
        return sum(_job(candidate, block) not in self.runner.ended for block in blocks)

    def drop(self, name: str, stage: str, reason: str) -> None:
        """Ends the competition for a candidate."""
        self.fates[name] = Fate(stage, reason)
        if name in self.alive:
            self.alive.remove(name)

    def table(self, names: Sequence[str], blocks: Sequence[Block] | None = None) -> dict[str, dict[Block, float]]:
        """Returns candidate -> fold -> value, averaged over seeds.

        Args:
            blocks: those that count; None: all. An earlier call may have trained on folds of later stages; decisions
                of a stage depend on its own folds only, so that they are the same after an interruption.
        """
        found, blocks = dict[str, dict[Block, float]](), self.blocks if blocks is None else blocks
        for name in names:
            each = self.candidates[name]
            epochs = each.experiment.training.epochs
            found[name] = by_fold(self.runner.results, epochs, [each.name], blocks)[each.name]
        return found

    @property
    def complete(self) -> bool:
        """Whether the candidates that are left were trained on all folds; some of these trainings may have failed."""
        return len(self.compared) == len(self.blocks)

    def ranking(self) -> Ranking:
        """Ranks the candidates that are left, on the folds of the last stage; failed trainings are missing values.

        Raises:
            UserError: every candidate failed.
        """
        if self.alone is not None:
            return sole(self.alone, f"{self.why_alone}.")
        return self._ranked(self.compared)

    def best_so_far(self) -> str:
        """Returns the candidate that would be the choice if the search ended now, in words; empty before trainings.

        It still has to meet the budget when it is exported.
        """
        blocks = self.compared or self.blocks[:1]
        if not any(finite(row) for row in self.table(self.alive, blocks).values()):
            return ""
        ranking = self._ranked(blocks)
        label, found = self.candidates[ranking.chosen].label, ranking.summaries[ranking.chosen]
        mean = f"{intervals.number(found.mean)}{intervals.interval(found)}"
        return f"{label}, mean {self.study.objective.title} {mean} over {fold_count(blocks)}"

    def _ranked(self, blocks: Sequence[Block]) -> Ranking:
        table = {name: row for name, row in self.table(self.alive, blocks).items() if row}
        if not table:
            raise self._impossible()
        by = next(iter(self.study.bounds.values), "macs")
        stages = Counter(fate.stage for name, fate in self.fates.items() if name in self.candidates)
        failed, late = stages["failed"], stages["time"]
        return rank(
            table,
            {name: (self.measured.get(name) or self.study.costs[name]).get(by, 0.0) for name in table},
            margin=self.study.settings.objective.margin,
            bounded=self.study.objective.bounded,
            labels={name: self.candidates[name].label for name in table},
            metric=self.study.objective.title,
            eliminated=len(self.candidates) - len(table) - failed - late,
            failed=failed,
            blocks=blocks,
        )


def _job(candidate: Candidate, block: Block) -> Job:
    return Job(candidate.name, *block, candidate.experiment.training.epochs)
