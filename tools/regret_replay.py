"""Repeats searches with limited time on the stored trainings of an exhaustive one; for `measure_regret`.

The clock is virtual: a training takes the seconds that it took when it was stored. No search is charged for what is not
stored: reading and decoding the images, starting processes, timing `precision=auto`, and exports, which a bound of
multiply-adds does without. All networks are trained for all epochs, also where `tfeff.search` would shorten trainings.
"""

import dataclasses
import heapq
import io
import itertools
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from rich.console import Console

from tfeff import config
from tfeff.budget import probing
from tfeff.budget.competition import Competition
from tfeff.budget.race import Stopwatch
from tfeff.budget.search import open_store
from tfeff.budget.study import Study
from tfeff.budget.timekeeping import delivery_seconds
from tfeff.execution.executor import Function, Outcome
from tfeff.networks import Architecture
from tfeff.trials import worker
from tfeff.trials.results import Job
from tfeff.trials.runner import running
from tfeff.trials.two_way import fit_two_way


@dataclass(frozen=True)
class Timed:
    """A stored value, and the seconds that it took."""

    value: Any
    seconds: float


@dataclass(frozen=True)
class Recorded:
    """Everything that a search can ask for.

    Attributes:
        probes: network -> what `probing.probe` returned; those that failed are missing.
        trainings: job -> what `worker.train` returned.
        finals: network -> its metric on the test images after a training on all training images.
        values: network -> fold -> value.
        slots: trainings at once when they were timed.
        steps: the section of each network, and what `worker.calibrate` would return for it.
    """

    probes: Mapping[str, Timed]
    trainings: Mapping[Job, Timed]
    finals: Mapping[str, Timed]
    values: Mapping[str, Mapping[int, float]]
    slots: int
    steps: Sequence[tuple[Architecture, Timed]] = ()

    def seconds(self, name: str, folds: Sequence[int] | None = None) -> float:
        """Returns seconds of a network's trainings on some folds; None: on all."""
        own = [
            each.seconds
            for job, each in self.trainings.items()
            if job.candidate == name and (folds is None or job.fold in folds)
        ]
        return sum(own) / self.slots

    def mean(self, name: str) -> float:
        """Returns a network's mean over all folds."""
        return float(np.mean(list(self.values[name].values())))

    def best(self, names: Sequence[str]) -> str:
        """Returns the choice of an exhaustive search."""
        return max(names, key=self.mean)


class Replay:
    """An executor that looks calls up.

    Args:
        recorded: the stored calls.
        folds: fold of the search -> stored fold.

    Attributes:
        clock: virtual seconds since the start.
    """

    def __init__(self, recorded: Recorded, folds: Sequence[int]) -> None:
        self.slots = self.local_slots = recorded.slots
        self.clock = 0.0
        self._recorded, self._folds, self._numbers = recorded, folds, itertools.count()
        self._running = list[tuple[float, int, Outcome]]()

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """See `Executor`; there is a free slot, because callers of this package do not queue calls."""
        if function is probing.probe:
            found = self._recorded.probes.get(str(key))
            if found is None:
                failed = Outcome(key, error="its probe failed")
                heapq.heappush(self._running, (self.clock, next(self._numbers), failed))
                return
        elif function is worker.train and isinstance(key, Job):
            found = self._recorded.trainings[dataclasses.replace(key, fold=self._folds[key.fold])]
        elif function is worker.calibrate:
            found = next(each for model, each in self._recorded.steps if model == arguments[0].experiment.model)
        else:
            raise ValueError(f"{function.__name__} of {key} is not stored")
        end = self.clock + found.seconds
        heapq.heappush(self._running, (end, next(self._numbers), Outcome(key, found.value)))

    def wait(self, timeout: float) -> list[Outcome]:
        """See `Executor`: the call that ends first."""
        if not self._running:
            return []
        self.clock, _, outcome = heapq.heappop(self._running)
        return [outcome]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._running.clear()


class _Clock(Stopwatch):
    def __init__(self, executor: Replay) -> None:
        super().__init__(0.0, lambda seconds: None)
        self._executor = executor

    @property
    def seconds(self) -> float:
        return self._executor.clock


class _Unshortened(Study):
    @property
    def may_shorten(self) -> bool:
        return False


Choice = tuple[str, float]
"""A chosen network, and the seconds that were spent, with its training on all training images."""


def search(study: Study, recorded: Recorded, seconds: float, folds: Sequence[int]) -> Choice:
    """Returns the choice of the budget search in this time, and in the time that it keeps for what is not stored.

    Args:
        study: the study of one budget. Its costs are exact, so nothing is exported.
        folds: fold of the search -> stored fold.
    """
    settings = config.replaced(study.settings, {"budget.minutes": (seconds + delivery_seconds(study)) / 60})
    values = {each.name: getattr(study, each.name) for each in dataclasses.fields(study)}
    study = _Unshortened(**values | {"settings": settings})
    with tempfile.TemporaryDirectory() as name, open_store(Path(name), settings) as store:
        executor, quiet = Replay(recorded, folds), Console(file=io.StringIO())
        with running(settings, study.fingerprint, study.objective, Path(name), store, executor, quiet) as runner:
            precision = settings.experiment.training.precision
            # Nothing is measured, because no bound refers to the exported form.
            measures: Any = None
            competition = Competition(study, store, executor, runner, precision, measures, _Clock(executor))
            competition.screen()
            competition.compete()
            chosen = competition.ranking().chosen
    return chosen, executor.clock + recorded.finals[chosen].seconds


@dataclass
class Trainings:
    """Trainings, one network after the other, until the time for the longest one's final training is left.

    Attributes:
        limit: seconds of the search, with the final training.
        spent: seconds without it.
        tried: network -> fold -> value.
    """

    recorded: Recorded
    limit: float
    spent: float = 0.0
    tried: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, name: str, folds: Sequence[int]) -> bool:
        """Trains a network on folds if there is time for all; the first network on as many as there is time for."""
        folds = [fold for fold in folds if fold not in self.tried.get(name, {})]
        for part in [folds] if self.tried else [[fold] for fold in folds]:
            needed = self.recorded.seconds(name, part)
            final = max(self.recorded.finals[each].seconds for each in (*self.tried, name))
            if self.tried and self.spent + needed + final > self.limit:  # one training is always made
                return False
            self.spent += needed
            self.tried.setdefault(name, {}).update({fold: self.recorded.values[name][fold] for fold in part})
        return True

    @property
    def choice(self) -> Choice:
        """The best one by its mean; means over different folds are adjusted for these."""
        table = {name: {(fold, 0): value for fold, value in row.items()} for name, row in self.tried.items()}
        means = fit_two_way(table).means
        chosen = max(means, key=lambda name: means[name])
        return chosen, self.spent + self.recorded.finals[chosen].seconds


def random_search(
    recorded: Recorded, names: Sequence[str], seconds: float, seed: int, *, by_fold: bool = False
) -> Choice:
    """Trains networks in random order, each on all folds.

    Args:
        by_fold: train all on one fold first, then all on the next one.
    """
    trainings, rng = Trainings(recorded, seconds), np.random.default_rng(seed)
    order = [names[index] for index in rng.permutation(len(names)).tolist()]
    folds = rng.permutation(sorted(recorded.values[names[0]])).tolist()
    for part in [[fold] for fold in folds] if by_fold else [folds]:
        if not all(trainings.add(name, part) for name in order):
            break
    return trainings.choice


def tpe(study: Study, names: Sequence[str], recorded: Recorded, seconds: float, seed: int) -> Choice:
    """Trains the networks that Optuna's TPE proposes by start, width, depth and resolution, each on all folds.

    The nearest network stands for each proposal.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    networks = {name: study.networks[name] for name in names}
    places = {
        name: np.log([each.width, each.depth, each.model.resolution / each.start.model.resolution])
        for name, each in networks.items()
    }
    low, high = (np.array(list(places.values())).min(axis=0), np.array(list(places.values())).max(axis=0))
    starts = list(dict.fromkeys(each.start.name for each in networks.values()))
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
    tuning = optuna.create_study(direction="maximize", sampler=sampler)
    trainings = Trainings(recorded, seconds)
    for _ in range(10 * len(networks)):
        trial = tuning.ask()
        start = trial.suggest_categorical("start", starts)
        place = [trial.suggest_float(str(side), low[side], high[side] + 1e-9) for side in range(3)]
        near = [name for name, each in networks.items() if each.start.name == start]
        name = min(near, key=lambda each: float(np.linalg.norm(places[each] - place)))
        if not trainings.add(name, sorted(recorded.values[name])):
            break
        tuning.tell(trial, float(np.mean(list(trainings.tried[name].values()))))
    return trainings.choice
