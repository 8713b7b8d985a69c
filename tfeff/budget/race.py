"""A race of candidates on more and more folds, in which those that are hardly among the best drop out."""

import heapq
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tfeff import config
from tfeff.reporting.tables import percent
from tfeff.trials.results import Block

SLACK = 0.01
"""A candidate stays in the race while it can be at most this much worse than the best one, unless objective.margin is
set. It is for metrics in [0, 1], as `SHORT_SLACK` is."""
LEAST_CHANCE = 0.05
"""Chance of being within the slack of the best, below which a candidate is dropped."""
SHARES = (0.4, 0.5, 1.0)
"""Share of the time left that each stage may take."""
SHORT, SHORT_SLACK = 0.2, 0.05
"""A short training has this share of the epochs; a candidate stays while it can be at most this much worse than the
best one, or objective.margin, if that is larger."""

SAVED_SECONDS = 10.0
"""Between two times that are stored: a kill loses little more."""


def stages(blocks: Sequence[Block]) -> list[list[Block]]:
    """Returns the folds of each stage: one, about half of them, all.

    >>> stages([(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)])
    [[(0, 0)], [(0, 0), (1, 0), (2, 0)], [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]]
    """
    counts = dict.fromkeys((1, math.ceil(len(blocks) / 2), len(blocks)))
    return [list(blocks[:count]) for count in counts]


class Stopwatch:
    """Time since the search began, over all its processes.

    Args:
        spent: seconds of earlier calls.
        save: stores the seconds.
    """

    def __init__(self, spent: float, save: Callable[[float], None]) -> None:
        self._spent, self._store, self._began, self._saved = spent, save, time.monotonic(), spent

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._spent + time.monotonic() - self._began

    def save(self) -> None:
        """Stores the time, so that it counts after a kill."""
        self._saved = self.seconds
        self._store(self._saved)

    def tick(self) -> None:
        """Stores the time now and then; called often."""
        if self.seconds - self._saved > SAVED_SECONDS:
            self.save()


GRADIENT = 3.0
"""A training step of all layers takes as long as this many predictions."""


def passes(experiment: config.Experiment, epochs: int | None = None) -> float:
    """Returns how many predictions of each training image take about as long as a training.

    Args:
        epochs: number of epochs; None: those of the training.
    """
    training, optimizer = experiment.training, experiment.optimizer
    if training.feature_variants is not None:  # which the frozen layers compute once
        return training.feature_variants
    frozen = "stage*" in optimizer.frozen and not optimizer.unfreeze
    return (training.epochs if epochs is None else epochs) * (1.0 if frozen else GRADIENT)


@dataclass(frozen=True)
class Timing:
    """How long trainings take.

    Attributes:
        each: seconds of one of the `passes` over the images of a fold, by candidate that was trained.
        start: seconds of a training besides its passes and the loading of its weights.
        macs: multiply-adds of every candidate.
        loading: seconds until a candidate has its weights, which it may have to inherit.
    """

    each: Mapping[str, float]
    start: float
    macs: Mapping[str, int]
    loading: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_trainings(
        cls,
        trainings: Iterable[tuple[str, float, Sequence[float], float]],
        macs: Mapping[str, int],
        loading: Mapping[str, float],
    ) -> "Timing":
        """Measures the timing of finished trainings.

        Args:
            trainings: candidate, seconds of the whole training, those of each epoch, and its `passes`. The first epoch
                contains the compilation, which the others do not repeat, unless most passes are in it.
            macs, loading: see the class.
        """
        found, starts = dict[str, list[float]](), list[float]()
        for name, seconds, epochs, count in trainings:
            stored = count < len(epochs)
            own = sum(epochs) if stored else len(epochs) * statistics.median(epochs[1:] or epochs)
            found.setdefault(name, []).append(own / count)
            starts.append(max(0.0, seconds - own - loading.get(name, 0.0)))
        means = {name: statistics.fmean(values) for name, values in found.items()}
        return cls(means, statistics.fmean(starts) if starts else 0.0, macs, loading)

    def of(self, name: str, count: float) -> float | None:
        """Predicts the seconds of a training from its `passes`; None if nothing is known.

        A pass of a candidate that was not trained yet takes time in proportion to multiply-adds.
        """
        if not self.each:
            return None
        per_mac = sum(self.each.values()) / sum(self.macs[name] for name in self.each)
        return self.start + self.loading.get(name, 0.0) + count * self.each.get(name, per_mac * self.macs[name])


def together(trainings: Iterable[float], slots: int) -> float:
    """Returns the seconds of trainings, in this order, some of them at once.

    >>> together([10.0] * 5, 4), together([10.0, 30.0], 4), together([], 4)
    (20.0, 30.0, 0.0)
    """
    ends = [0.0] * slots
    for seconds in trainings:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def pace(seconds: float, start: float, whole: float) -> float:
    """Returns the share of a training's epochs for which there is time, from `SHORT` to 1.

    Args:
        seconds: time that a training may take.
        start: seconds of a training besides its epochs.
        whole: seconds of a training with all epochs.
    """
    return 1.0 if whole <= max(start, seconds) else min(1.0, max(SHORT, (seconds - start) / (whole - start)))


def dropped(chances: Mapping[str, float], slack: float, words: str, *, bounded: bool = True) -> dict[str, str]:
    """Returns the candidates that are hardly among the best, with the reason.

    Args:
        chances: chance of each candidate.
        slack: what a candidate may lose against the best one.
        words: what was trained, such as "3 folds".
        bounded: whether the metric is in [0, 1], so that differences are in points.
    """
    shown = f"{100 * slack:g} point{'s' * (slack != 0.01)}" if bounded else f"{slack:.3g}"
    return {
        name: f"chance of being within {shown} of the best: {percent(chance, 1)} after {words}"
        for name, chance in chances.items()
        if chance < LEAST_CHANCE
    }
