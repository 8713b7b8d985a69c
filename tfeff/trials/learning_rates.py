"""The learning rate of each network, where trainings find it: which rates to try, and which is the best."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfeff.config.search import HELD_OUT_RATES, HELD_OUT_STEP
from tfeff.trials.store import LEARNING_RATE, TrialStore
from tfeff.trials.trial import Candidate

Tried = tuple[float, float | None]
"""A learning rate, and the objective after a training with it; None if this training diverged."""


@dataclass(frozen=True)
class RateCall:
    """A call that helps to find the learning rate of a candidate: a training with a rate, or, without, a range test."""

    candidate: str
    rate: float | None = None


class RateSearch:
    """Search for the learning rate of a candidate; what is known is in the store.

    Args:
        rule: `trials.learning_rate`: `range_test` or `held_out`.
        candidate: the candidate; its experiment has the rate in the middle.
        attempts: how often the process of a call may be lost.
    """

    def __init__(self, rule: str, candidate: Candidate, store: TrialStore, attempts: int) -> None:
        self.rule, self.candidate, self._store, self._attempts = rule, candidate.name, store, attempts
        self._middle = candidate.experiment.optimizer.learning_rate
        self._fact = f"{LEARNING_RATE} {candidate.name}"

    @property
    def tried(self) -> list[Tried]:
        """The rates with which trainings have ended so far; none with range tests."""
        return [] if self.rule == "range_test" else [(rate, value) for rate, value in self._stored or []]

    @property
    def waiting(self) -> list[RateCall]:
        """The calls to make next, any number of them at once; none if the rate is found, or cannot be found."""
        if self.failure is not None:
            return []
        if self.rule == "range_test":
            return [RateCall(self.candidate)] if self._stored is None else []
        return [RateCall(self.candidate, rate) for rate in next_rates(self.tried, self._middle)]

    @property
    def most_waiting(self) -> int:
        """How many trainings finding the rate still takes, at most."""
        return HELD_OUT_RATES - len(self.tried) if self.rule == "held_out" and self.waiting else 0

    @property
    def rate(self) -> float | None:
        """The learning rate; None as long as it is not found."""
        if self.failure is not None or self.waiting:
            return None
        return float(self._stored) if self.rule == "range_test" else best_rate(self.tried)

    @property
    def failure(self) -> str | None:
        """Why the rate cannot be found; None if nothing is known against it."""
        tried = self.tried
        if self._failed is not None:
            return str(self._failed["error"])
        if not tried or not _all_diverged(tried):
            return None
        if next_rates(tried, self._middle):
            return None
        return f"no learning rate was found: the training diverged at {', '.join(f'{rate:.2g}' for rate, _ in tried)}"

    @property
    def lost(self) -> bool:
        """Whether it cannot be found because processes were lost, so that more attempts may help."""
        return self._failed is not None and self._failed["deaths"] > 0

    @property
    def _failed(self) -> dict[str, Any] | None:
        stored: dict[str, Any] | None = json.loads(self._store.fact(f"failed {self._fact}") or "null")
        return None if stored is not None and 0 < stored["deaths"] < self._attempts else stored

    @property
    def _stored(self) -> Any:
        """What the calls have found so far: a rate by a range test, or pairs `Tried`; None if nothing."""
        return json.loads(self._store.fact(self._fact) or "null")

    def add(self, call: RateCall, value: float | None) -> None:
        """Stores what a call has found: the objective at its rate, None if it diverged, or the rate of a range test."""
        if call.rate is None:
            self._store.write_fact(self._fact, json.dumps(value))
            return
        tried = [*self.tried, (call.rate, value)]
        # Of rates with equal objectives, `best_rate` takes the first: the one nearest to the middle.
        tried.sort(key=lambda pair: (round(abs(math.log(pair[0] / self._middle)), 9), pair[0]))
        self._store.write_fact(self._fact, json.dumps(tried))

    def fail(self, error: str, deaths: int = 0) -> None:
        """Stores that the rate cannot be found; the first cause remains.

        Args:
            deaths: number of lost attempts, if they are the cause.
        """
        if self.failure is None:
            failed = {"error": f"no learning rate was found: {error}", "deaths": deaths}
            self._store.write_fact(f"failed {self._fact}", json.dumps(failed))

    def count_death(self, call: RateCall) -> int:
        """Counts a lost attempt of a call; returns the number of its lost attempts so far."""
        fact = f"deaths {self._fact}" + ("" if call.rate is None else f" {call.rate:g}")
        deaths = int(self._store.fact(fact) or 0) + 1
        self._store.write_fact(fact, str(deaths))
        return deaths


def next_rates(tried: Sequence[Tried], middle: float) -> list[float]:
    """Returns the rates to try after others, any number of them at once; none if the others are enough.

    >>> next_rates([], 1.0)
    [1.0, 0.3333333333333333, 3.0]
    >>> next_rates([(1.0, 0.5), (1 / 3, 0.4), (3.0, 0.6)], 1.0)
    [9.0]
    """
    rates = [rate for rate, _ in tried]
    first = (middle, middle / HELD_OUT_STEP, middle * HELD_OUT_STEP)
    if missing := [rate for rate in first if rate not in rates]:
        return missing
    best = best_rate(tried)
    if len(rates) >= HELD_OUT_RATES or _all_diverged(tried):
        return []
    if best == max(rates):
        return [best * HELD_OUT_STEP]
    return [best / HELD_OUT_STEP] if best == min(rates) else []


def best_rate(tried: Sequence[Tried]) -> float:
    """Returns the learning rate with the highest objective; of several, the first one."""
    return max(tried, key=lambda pair: -math.inf if pair[1] is None else pair[1])[0]


def _all_diverged(tried: Sequence[Tried]) -> bool:
    return all(value is None for _, value in tried)
