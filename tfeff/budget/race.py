"""Trains candidates on more and more folds, and drops those that are hardly among the best, until the time is over."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tfeff.reporting.tables import percent
from tfeff.trials.results import Block

SLACK = 0.01
"""A candidate stays in the race while it can be at most this much worse than the best one, unless objective.margin is
set."""
LEAST_CHANCE = 0.05
"""Chance of being within the slack of the best, below which a candidate is dropped."""
SHARES = (0.4, 0.5, 1.0)
"""Share of the time left that each stage may take."""


def stages(blocks: Sequence[Block]) -> list[list[Block]]:
    """The folds of each stage: one, about half of them, all.

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
        self._spent, self._store, self._began = spent, save, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._spent + time.monotonic() - self._began

    def save(self) -> None:
        """Stores the time, so that it counts after a kill."""
        self._store(self.seconds)


@dataclass(frozen=True)
class Timing:
    """How long trainings take.

    Attributes:
        seconds: of a training on one fold, by candidate that was trained.
        macs: of all candidates.
    """

    seconds: Mapping[str, float]
    macs: Mapping[str, int]

    def of(self, name: str) -> float | None:
        """Expected seconds of a training; in proportion to multiply-adds, if this candidate was not trained yet."""
        if name in self.seconds:
            return self.seconds[name]
        if not self.seconds:
            return None
        per_mac = sum(self.seconds.values()) / sum(self.macs[each] for each in self.seconds)
        return per_mac * self.macs[name]


def dropped(chances: Mapping[str, float], slack: float, folds: int) -> dict[str, str]:
    """The candidates that are hardly among the best, with the reason."""
    words = f"{folds} fold{'s' * (folds != 1)}"
    points = f"{100 * slack:g} point{'s' * (slack != 0.01)}"
    return {
        name: f"chance of being within {points} of the best: {percent(chance, 1)} after {words}"
        for name, chance in chances.items()
        if chance < LEAST_CHANCE
    }
