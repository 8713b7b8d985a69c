"""Comparisons whose sides run in alternating rounds, and their results."""

import argparse
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

Round = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)


def interleave(
    first: Round, second: Round, *, rounds: int, before: tuple[Round, Round] = (lambda: None, lambda: None)
) -> tuple[list[float], list[float]]:
    """Alternates the rounds of two sides, after one warm-up round each, and returns the seconds of every round.

    Args:
        first: one round of the first side.
        second: one round of the second side.
        rounds: number of timed rounds per side.
        before: untimed preparation of a round, for the first and the second side.
    """
    first(), second()
    seconds: tuple[list[float], list[float]] = [], []
    for index in range(rounds):
        sides = ((first, 0), (second, 1))
        for run_round, side in sides if index % 2 == 0 else reversed(sides):
            before[side]()
            start = time.perf_counter()
            run_round()
            seconds[side].append(time.perf_counter() - start)
    return seconds


def alternate(sides: Mapping[Name, Round], *, rounds: int) -> dict[Name, list[float]]:
    """Runs any number of sides in turn, after one warm-up round each, and returns the seconds of every round.

    Args:
        sides: one round of each side, by name. Their order is reversed in every other round.
        rounds: number of timed rounds per side.
    """
    for run_round in sides.values():
        run_round()
    seconds: dict[Name, list[float]] = {name: [] for name in sides}
    for index in range(rounds):
        for name in sides if index % 2 == 0 else reversed(list(sides)):
            start = time.perf_counter()
            sides[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def several(text: str) -> int:
    """Returns a number of measurements that have quartiles, as the `type` of a flag."""
    count = int(text)
    if count < 2:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 2")
    return count


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the quartiles (25 %, 50 % and 75 %), which lie between values; for a single value, the value itself."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def row(comparison: str, ours: Sequence[float], theirs: Sequence[float], images: int) -> dict[str, object]:
    """Returns the table row of a comparison. The ratio is our images/s over theirs: above 1, this package is faster."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    low, middle, high = quartiles(ratios)
    return {
        "comparison": comparison,
        "ours, images/s": images / statistics.median(ours),
        "theirs, images/s": images / statistics.median(theirs),
        "ratio": middle,
        "quartiles": f"{low:.3f} to {high:.3f}",
        "rounds": len(ratios),
    }
