"""The time of a budget search: what trainings take, until when they may begin, and decisions that depend on it."""

import dataclasses
import json
import math
import statistics
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfeff.budget import durations, race
from tfeff.budget.probing import Probe
from tfeff.budget.race import Stopwatch
from tfeff.budget.study import Study
from tfeff.budget.verification import IMAGES
from tfeff.trials.progress import Rate
from tfeff.trials.runner import TrialRunner
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate

Paces = tuple[float, float]
"""Shares of the epochs that the rules choose: of trainings on folds, and of the final one."""
FINAL_SHARE = 1.5
"""Time kept for the final training, relative to the expected time of the longest final training."""
CHOICE_SHARE = 1.2
"""The same for the choice, unless it has a teacher: nothing else is left to do."""
DELIVERY_SECONDS = 30.0
"""Time kept for evaluation, export and its measurement, without the predictions of the exported network."""
MACS_PER_SECOND = 2e10
"""Multiply-adds of an exported network in a second, where its latency is not known: about those of one core."""
ALONE = 0.5
"""A training that has the machine to itself is as many times faster as there are trainings at once, to this power."""
TOLERATED = 2.0
"""However few minutes there are, a network competes that takes at most this many times as long as the quickest one."""
TEACHER_SHARE = 2.0
"""Time kept for a teacher, relative to that of a training on all images without one: it is larger."""
IMAGES_TO_INHERIT = 3000
"""The inheritance of weights takes about as long as the features of this many images."""
WORTHWHILE = 0.1
"""Trainings are not shortened if that saves less than this share of their time, as with stored features."""
TRAINED_ALONE = "trained alone"
"""Fact: the network that was trained without a comparison."""
FEWEST_TRAININGS = 4
"""Candidates are trained for fewer epochs than the rules choose if there is no time for this many trainings and the
final one."""


def delivery_seconds(study: Study) -> float:
    """Returns the time kept for all that follows the training of the choice.

    The exported network predicts images one at a time: those on which the choice is evaluated, and training images. The
    slowest network that competes counts, because any may be the choice.
    """
    tested = study.found.get("test", study.found.get("validation"))
    images = min(IMAGES, study.whole.count) + (0 if tested is None else tested.images)

    def latency(name: str) -> float:
        costs = study.costs[name]
        if "latency" in costs and study.settings.budget.latencies is None:  # otherwise, it is that of another device
            return costs["latency"]
        return costs["macs"] / MACS_PER_SECOND

    return DELIVERY_SECONDS + images * max(map(latency, study.shortlist), default=0.0)


def _alone_pace(name: str) -> str:
    """Returns the name of a fact: the share of the epochs of a network that was trained without a comparison."""
    return f"pace of {name} alone"


class Timekeeper:
    """Prediction of how long trainings take, from those that are finished.

    Decisions that depend on the time are stored, so that a search that is killed and resumed makes the same ones; with
    another budget, other candidates or another margin they are made anew.

    Args:
        runner: has the finished trainings.
        slots: trainings at once, on all machines.
        local_slots: trainings at once on this machine, where that on all images is made.
        watch: time of the search.

    Attributes:
        ids: name of each candidate, also of earlier ones -> id of its network.
        pace: share of the epochs that the rules choose.
        final_pace: the same of the final training for which time is kept, if one of `promising` is chosen.
        promising: ids of candidates.
        rate: forecast of the passes of trainings as long as none is finished, from some steps or from the probes.
        probes: probes of some candidates, by id.
        over: whether the minutes were over when this call began.
    """

    def __init__(
        self, study: Study, store: TrialStore, runner: TrialRunner, slots: int, local_slots: int, watch: Stopwatch
    ) -> None:
        self._study, self._store, self._runner, self._watch = study, store, runner, watch
        self._slots, self._speedup = slots, local_slots**ALONE
        self._candidates: Mapping[str, Candidate] = {}
        self.ids = dict[str, str]()
        self.pace = self.final_pace = 1.0
        self.promising: Sequence[str] = ()
        self.rate: Rate | None = None
        self.probes = dict[str, Probe]()
        self.over = watch.seconds >= self.end
        settings = study.settings
        choices = [dataclasses.asdict(each) for each in (settings.budget, settings.candidates, settings.objective)]
        decisive = [choices, settings.folds.blocks, list(study.shortlist)]
        self._key = f"{zlib.crc32(json.dumps(decisive).encode()):08x}"

    @property
    def seconds(self) -> float:
        """Seconds of the search so far."""
        return self._watch.seconds

    @property
    def candidates(self) -> Mapping[str, Candidate]:
        """Id -> how it is trained from here on."""
        return self._candidates

    @candidates.setter
    def candidates(self, candidates: Mapping[str, Candidate]) -> None:
        self._candidates = candidates
        self.ids |= {each.name: name for name, each in candidates.items()}

    def decide(self, name: str, decision: Callable[[], Any]) -> Any:
        """Returns a decision that depends on the time: the stored one, or the one that is made now."""
        self._watch.save()
        return self._store.cached(self._fact(name), decision)

    def _fact(self, decision: str) -> str:
        return f"decision {self._key} {decision}"

    @property
    def feature_rate(self) -> Rate | None:
        """The time that features take, by the probes; None without any."""
        found = [(self.candidates[name].macs, each.start, each.image) for name, each in self.probes.items()]
        return Rate.fit(found) if found else None

    def loading(self) -> dict[str, float]:
        """Returns the seconds until each candidate has its weights; 0 if nothing is known.

        If it was not probed, and has to inherit them, that takes as long as for others, or as `IMAGES_TO_INHERIT` says.
        """
        networks, rate = self._study.networks, self.feature_rate
        if self._study.detects:
            rate = self.rate
        alike = dict[bool, list[float]]()
        for name, each in self.probes.items():
            alike.setdefault(networks[name].inherits, []).append(each.loading)

        def expected(name: str) -> float:
            inherits = networks[name].inherits
            if name in self.probes:
                return self.probes[name].loading
            if inherits in alike:
                return statistics.fmean(alike[inherits])
            if inherits and rate is not None:
                return rate.seconds(self.candidates[name].macs, IMAGES_TO_INHERIT) - rate.start
            return 0.0

        return {name: expected(name) for name in self.candidates}

    def loads_before(self, name: str, until: float) -> bool:
        """Returns whether a candidate, if it loads its weights now, has them by a second of the search."""
        return self.seconds + self.loading()[name] <= until

    def timing(self) -> durations.Timing:
        """Returns how long trainings take, by those that are finished; without any, by `rate`."""
        macs, loading = {name: each.macs for name, each in self.candidates.items()}, self.loading()
        finished = list[durations.Trained]()
        for job, seconds in self._runner.seconds.items():
            if job.candidate in self.ids:
                name, epochs = self.ids[job.candidate], [float(row["seconds"]) for row in self._runner.rows[job]]
                candidate = self.candidates[name]
                passes, stored = durations.passes(candidate, job.epochs), durations.stores_features(candidate)
                finished.append(durations.Trained(name, seconds, epochs, passes, stored))
        if not finished and self.rate is not None:
            start, images = self.rate.start, self._study.examples[0]
            per_pass = {name: self.rate.seconds(each, images) - start for name, each in macs.items()}
            return durations.Timing(per_pass, start, macs, loading)
        return durations.Timing.of_trainings(finished, macs, loading)

    def expected(self, names: Sequence[str]) -> list[float]:
        """Returns the expected seconds of each candidate's training on one fold; 0 as long as nothing is known."""
        timing = self.timing()
        return [timing.seconds(name, durations.passes(self.candidates[name])) for name in names]

    def _final(self, names: Sequence[str], timing: durations.Timing, pace: float) -> float:
        """Returns the longest expected time of some candidates' trainings on all training images, one at a time.

        With a teacher, it contains that of the teacher.

        Args:
            pace: see the class.
        """
        return max((self._final_of(name, timing, pace) for name in names), default=0.0) / self._speedup

    def _final_of(self, name: str, timing: durations.Timing, pace: float) -> float:
        plain = timing.seconds(name, self._study.final_passes(name, pace))
        if not self._study.settings.distill:
            return plain
        taught = timing.seconds(name, self._study.final_passes(name, pace, taught=True))
        return taught + TEACHER_SHARE * plain

    @property
    def end(self) -> float:
        """Second of the search at which `budget.minutes` are over."""
        minutes = self._study.settings.budget.minutes
        return math.inf if minutes is None else 60 * minutes

    def _left(self) -> float:
        """Returns the seconds that are left until the choice has to be evaluated and exported."""
        return self.end - delivery_seconds(self._study) - self.seconds

    def deadline(self, share: float, names: Sequence[str]) -> float:
        """Returns the second of the search until which trainings may start that have a share of the time left.

        Args:
            names: candidates that may be the choice, for whose final training time is kept.
        """
        if math.isinf(self.end):
            return self.end
        timing, promising = self.timing(), [name for name in names if name in self.promising]
        final = max(self._final(names, timing, self._least), self._final(promising, timing, self.final_pace))
        return self.seconds + share * max(0.0, self._left() - FINAL_SHARE * final)

    @property
    def _least(self) -> float:
        """The share of the epochs that a final training has in any case."""
        return min(self.pace, self.final_pace)

    def affordable(self, names: Sequence[str], pace: float, final: float, *, tolerant: bool) -> list[str]:
        """Returns the candidates for which there is time to train them on one fold and on all images.

        As long as nothing is known, returns all.

        Args:
            names: the most promising ones first.
            pace: share of the epochs of the training on a fold.
            final: the same of the one on all images.
            tolerant: also return those that take at most `TOLERATED` times as long as the quickest one.
        """
        timing = self.timing()
        if not timing.per_pass:
            return list(names)
        needed = {
            name: self._trial(name, timing, pace) + FINAL_SHARE * self._final([name], timing, final) for name in names
        }
        limit = max(self._left(), TOLERATED * min(needed.values(), default=0.0) if tolerant else 0.0)
        return [name for name in names if needed[name] <= limit]

    def may_compare(
        self, trained: Sequence[str], names: Sequence[str], choice: str, pace: float, final_pace: float
    ) -> bool:
        """Returns whether there is time to train candidates on one fold, and then one on all images.

        Args:
            trained: those to train on the fold.
            names: all candidates.
            choice: the one for which time is kept.
            pace: share of the epochs on the fold.
            final_pace: the same of the final training of the choice.
        """
        return self._comparison(trained, names, choice, pace, final_pace) <= self._left()

    def minutes_to_compare(
        self, trained: Sequence[str], names: Sequence[str], choice: str, pace: float, final_pace: float
    ) -> int | None:
        """Returns whole `budget.minutes` with which a new search `may_compare`; None if nothing is known."""
        if not self.timing().per_pass:
            return None
        needed = self._comparison(trained, names, choice, pace, final_pace) + delivery_seconds(self._study)
        return math.ceil((self.seconds + needed) / 60)

    def _comparison(
        self, trained: Sequence[str], names: Sequence[str], choice: str, pace: float, final_pace: float
    ) -> float:
        timing = self.timing()
        trials = durations.together([self._trial(name, timing, pace) for name in trained], self._slots)
        final = max(self._final([choice], timing, final_pace), self._final(names, timing, min(pace, final_pace)))
        return trials + FINAL_SHARE * final  # as in `deadline`

    def longest_final(self, names: Sequence[str], pace: float) -> str:
        """Returns the first of some candidates whose training on all images ends in time, else the quickest one.

        As long as nothing is known, that with the fewest multiply-adds, unless there is no limit.

        Args:
            pace: share of its epochs.
        """
        timing = self.timing()
        if not timing.per_pass and math.isfinite(self.end):
            return min(names, key=lambda name: self.candidates[name].macs)
        needed = {name: CHOICE_SHARE * self._final([name], timing, pace) for name in names}
        quickest = min(needed, key=needed.__getitem__)
        return next((name for name in names if needed[name] <= self._left()), quickest)

    def _trial(self, name: str, timing: durations.Timing, pace: float) -> float:
        """Returns the expected seconds of a candidate's training on one fold at a pace."""
        candidate = self.candidates[name]
        passes = durations.passes(candidate)
        if not durations.stores_features(candidate):
            passes *= pace / self.pace
        return timing.seconds(name, passes)

    def has_time_for_choice(self, name: str) -> bool:
        """Returns whether a training on all images, as short as it may be, is expected to end in time."""
        return CHOICE_SHARE * self._final([name], self.timing(), self._least) <= self._left()

    def teacher(self, chosen: str, ordered: Mapping[str, str]) -> tuple[str, str] | None:
        """Returns the first network whose training on all images fits into half of the time that is left.

        Unless `budget.minutes` or the networks to choose from change, it stays the same for a choice.

        Args:
            ordered: networks that may teach -> why, the best ones first.

        Returns:
            The network, and why; None if there is no time for any.
        """

        def found() -> tuple[str, str] | None:
            left, timing = self._left(), self.timing()
            for name, why in ordered.items():
                known = dataclasses.replace(timing, macs={**timing.macs, name: self._study.networks[name].cost.macs})
                if known.seconds(name, self._study.final_passes(name)) / self._speedup <= left / 2:
                    return name, why
            return None

        self._watch.save()
        networks = zlib.crc32(json.dumps(sorted(self._study.networks)).encode())
        minutes = self._study.settings.budget.minutes
        fact = f"teacher of {chosen} among {networks:08x} within {minutes} minutes"
        stored = self._store.cached(fact, found)
        return None if stored is None else (str(stored[0]), str(stored[1]))

    def moment(self, name: str) -> float:
        """Returns the second of the search at which it first got this far with these settings.

        That includes settings on which trainings on folds do not depend.

        Args:
            name: `choice`, `delivery` or `end`.
        """
        return float(self.decide(self._moment(name), lambda: self.seconds))

    def reached(self, name: str) -> bool:
        """Returns whether this call or an earlier one got as far as a `moment`."""
        return self._store.fact(self._fact(self._moment(name))) is not None

    def _moment(self, name: str) -> str:
        settings, data = self._study.settings, self._study.settings.experiment.data
        decisive = [data.test_split, settings.distill and data.unlabeled, name == "end" and settings.forecast]
        return f"moment of {name} {json.dumps(decisive)}"

    def affordable_paces(self, names: Sequence[str], stored: Paces | None = None) -> Paces:
        """Returns the shares of their epochs for which there is time: of trainings on folds, and of the final one.

        Both are at least that of a short training. The final one is shortened only if short trainings before it leave
        too little time: it loses accuracy, while networks can be compared before they are fully trained. Unless
        `budget.minutes` changes, the shares stay those of the first search in the workdir, whose trainings then count.
        So they do if the minutes were over when this call began, which ends a search with the best so far: its final
        training is as long as planned, since it cannot end in time.

        Args:
            names: candidates that may be trained, the most promising ones first; there is time for the first
                `FEWEST_TRAININGS`, which become `promising`.
            stored: paces of an earlier call that stored trainings on folds; these are not shortened further.
        """
        minutes, names = self._study.settings.budget.minutes, names[:FEWEST_TRAININGS]
        self.promising = names
        if minutes is None:
            return 1.0, 1.0

        def affordable() -> Paces:
            if stored is not None and self.over:
                return stored
            timing, rounds, left = self.timing(), math.ceil(FEWEST_TRAININGS / self._slots), self._left()

            def trials(pace: float) -> float:
                return rounds * max((self._trial(name, timing, pace) for name in names), default=0.0)

            def final(pace: float) -> float:
                return FINAL_SHARE * self._final(names, timing, pace)

            short, whole = (trials(pace) + final(pace) for pace in (race.SHORT, 1.0))
            if whole - short < WORTHWHILE * whole:
                return 1.0, 1.0
            pace = durations.pace(left - final(1.0), trials(race.SHORT), trials(1.0))
            if stored is not None and stored[0] > pace:
                return stored[0], durations.pace(left, final(race.SHORT), final(1.0))
            return pace, durations.pace(left - trials(pace), final(race.SHORT), final(1.0))

        self._watch.save()
        pace, final_pace = self._store.cached(f"paces within {minutes} minutes", affordable)
        return float(pace), float(final_pace)

    def pace_of_choice(self, name: str, *, taught: bool) -> float:
        """Returns the share of the epochs for which there is time to train the choice on all images.

        At least that of its trainings on folds, if these could be shortened. It stays the same, like that of theirs.
        If the minutes were over when this call began, it is the planned one.

        Args:
            taught: whether it has a teacher, which is already trained.
        """
        if self._never_shortened:
            return 1.0
        before = float(self._store.fact(_alone_pace(name)) or 0.0)

        def affordable() -> float:
            if self.over:
                return max(before, self.final_pace)
            timing = self.timing()

            def needed(pace: float) -> float:
                seconds = timing.seconds(name, self._study.final_passes(name, pace, taught=taught)) / self._speedup
                return (FINAL_SHARE if taught else CHOICE_SHARE) * seconds

            return max(before, self._least, durations.pace(self._left(), needed(race.SHORT), needed(1.0)))

        self._watch.save()
        return float(self._store.cached(self._fact_of_pace(name, taught=taught), affordable))

    def trained_alone(self, name: str, pace: float) -> None:
        """Keeps that a network was trained without a comparison, so that another call does not train a worse one."""
        self._store.write_fact(TRAINED_ALONE, name)
        self._store.write_fact(_alone_pace(name), str(pace))

    def alone_before(self) -> str | None:
        """Returns the network that an earlier call trained without a comparison, or None."""
        return self._store.fact(TRAINED_ALONE)

    def stored_pace_of_choice(self, name: str, *, taught: bool) -> float | None:
        """Returns what `pace_of_choice` returned earlier for these minutes, or would return at any time; else None."""
        if self._never_shortened:
            return 1.0
        stored = self._store.fact(self._fact_of_pace(name, taught=taught))
        return None if stored is None else float(stored)

    @property
    def _never_shortened(self) -> bool:
        return self._study.settings.budget.minutes is None or self._least == 1.0

    def _fact_of_pace(self, name: str, *, taught: bool) -> str:
        minutes = self._study.settings.budget.minutes
        return f"pace of {name}{' with a teacher' if taught else ''} within {minutes} minutes"
