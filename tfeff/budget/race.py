"""A race of candidates on more and more folds, in which those that are hardly among the best drop out."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

from tfeff.reporting.tables import percent
from tfeff.trials.results import Block

SLACK = 0.01
"""A candidate stays in the race while it can be at most this much worse than the best one, unless objective.margin is
set. It is for metrics in [0, 1], as `SHORT_SLACK` is."""
LEAST_CHANCE = 0.05
"""Chance of being within the slack of the best, below which a candidate is dropped."""
SHARES = 0.4, 0.5
"""Share of the time left that the first stages may take; the last one may take all of it."""
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


def shares(stages: int) -> tuple[float, ...]:
    """Returns the share of the time left that each of so many stages may take.

    >>> shares(3), shares(1)
    ((0.4, 0.5, 1.0), (1.0,))
    """
    return (*SHARES[: stages - 1], 1.0)


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
