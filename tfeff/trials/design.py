"""Which networks to train next, to learn the best direction of the surface with the fewest seconds of training.

A sequential Bayesian design. The next network to train is the one that reduces most, per second, the variance of the
differences between directions that can still be the best. These are directions drawn from their posterior
(V-optimality; Chaloner and Verdinelli 1995, "Bayesian experimental design: a review", Statistical Science 10). The
variance after a training does not depend on its result, so several trainings are planned at once, as a round, and can
run in parallel. A plan is a function of the results of earlier rounds: an interrupted search plans the same rounds
again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from tfeff.errors import UserError
from tfeff.trials.direction import Direction, infer
from tfeff.trials.surface import Data, Floats, Surface, Training, fit_surface, terms

CONTRASTS = 200
"""Number of drawn directions whose differences from their mean matter."""
ALWAYS = 0.05
"""Weight of the single dimensions among them, however improbable they are."""
FEWEST_DEGREES = 10.0
"""Degrees of freedom of the residual variance from which a region counts as known. With fewer, a search would often end
because the variance is underestimated, and its region would be too small."""
PER_FOLD = 2
"""Trainings of a round on each fold."""


@dataclass(frozen=True)
class Place:
    """A network that could be trained.

    Attributes:
        shares: shares of depth, width and resolution in the logarithm of its cost.
        phi: logarithm of its cost relative to that of the member φ = 1.
        seconds: predicted seconds of its training.
    """

    shares: tuple[float, float, float]
    phi: float
    seconds: float


Choice = tuple[int, int]
"""A training: index of the place, and the fold."""


@dataclass(frozen=True, eq=False)
class State:
    """What the trainings so far say.

    Attributes:
        surface: without a prior; None while the trainings do not determine it.
        direction: the best direction, with a prior.
    """

    surface: Surface | None
    direction: Direction

    @property
    def extent(self) -> float:
        """The share of the plane that the 95 % confidence region of the best direction covers."""
        return 1.0 if self.surface is None else self.surface.extent


@dataclass(frozen=True, eq=False)
class Planner:
    """The networks to choose from, and the model.

    Attributes:
        center: shares [3] of the published proportions.
        top: the largest φ, at whose cost the best direction is sought.
        folds: number of folds.
    """

    places: Sequence[Place]
    center: Floats
    top: float
    folds: int

    def state(self, chosen: Sequence[Choice], values: Sequence[float | None]) -> State:
        """Infers the direction from the values of trainings; None: the training failed."""
        data = self._data(chosen, values)
        try:
            surface = fit_surface(data)
        except UserError:
            surface = None
        if surface is not None and surface.degrees < FEWEST_DEGREES:
            surface = None
        return State(surface, infer(data))

    def next_round(self, chosen: Sequence[Choice], state: State, most: int | None = None) -> list[Choice]:
        """Returns the next trainings, the same number on each fold.

        There are fewer if no network is left, or if fewer are wanted.

        A network is trained again, on another fold, only after all others. A quadratic describes no network exactly,
        and its error differs less between folds than between networks.
        """
        seconds = np.array([place.seconds for place in self.places])
        directions, weights = self._contrasts(state.direction)
        covariance = state.direction.covariance.copy()
        taken = list(chosen)
        found: list[Choice] = []
        size = PER_FOLD * self.folds
        for number in range(size if most is None else min(size, most)):
            fold = (len(chosen) + number) % self.folds
            free = self._free(taken, fold)
            if not len(free):
                continue
            points = np.concatenate([self.rows[free], np.eye(self.folds)[np.full(len(free), fold)]], axis=1)
            gains = information(points, covariance, directions, weights) / seconds[free]
            best = int(gains.argmax())
            moved = covariance @ points[best]
            covariance -= np.outer(moved, moved) / (1.0 + points[best] @ moved)
            found.append((int(free[best]), fold))
            taken.append(found[-1])
        return found

    @cached_property
    def rows(self) -> Floats:
        """Terms of the surface [places, DIRECTION + OTHER]."""
        return terms([each.shares for each in self.places], [each.phi for each in self.places], self.center, self.top)

    def _data(self, chosen: Sequence[Choice], values: Sequence[float | None]) -> Data:
        trainings = [
            Training(self.places[place].shares, self.places[place].phi, fold, value)
            for (place, fold), value in zip(chosen, values, strict=True)
            if value is not None
        ]
        return Data.of(trainings, self.center, self.top, self.folds)

    def _free(self, taken: Sequence[Choice], fold: int) -> npt.NDArray[np.intp]:
        """Returns indices of the places to choose from on a fold."""
        trained = np.zeros(len(self.places), np.intp)
        for place, _ in taken:
            trained[place] += 1
        here = np.ones(len(self.places), np.bool_)
        here[[place for place, at in taken if at == fold]] = False
        return np.flatnonzero(here & (trained == trained[here].min())) if here.any() else np.empty(0, np.intp)

    def _contrasts(self, direction: Direction) -> tuple[Floats, Floats]:
        """Returns terms [n, all] of possible best directions minus their mean, and weights [n]."""
        drawn = direction.draws[:CONTRASTS]
        shares = np.concatenate([drawn, np.eye(3)])
        weights = np.concatenate([np.full(len(drawn), (1.0 - ALWAYS) / len(drawn)), np.full(3, ALWAYS / 3.0)])
        rows = terms(shares, np.full(len(shares), self.top), self.center, self.top)
        rows = np.concatenate([rows - weights @ rows, np.zeros((len(rows), self.folds))], axis=1)
        return rows, weights


def information(points: Floats, covariance: Floats, contrasts: Floats, weights: Floats) -> Floats:
    """Returns the reduction of the contrasts' mean variance by a training at each point [n, all].

    The contrasts are [m, all], with weights [m].

    In variances of a training's value.
    """
    moved = points @ covariance
    shared = moved @ contrasts.T
    return np.asarray((shared**2) @ weights / (1.0 + (moved * points).sum(axis=1)))


@dataclass(frozen=True)
class Limits:
    """When a search is finished.

    Attributes:
        precision: share of the plane that the region may cover at most.
        trainings: maximum number of trainings.
        seconds: maximum of their predicted seconds in total; None: any.
    """

    precision: float
    trainings: int
    seconds: float | None = None


Reason = Literal["precision", "trainings", "seconds", "networks"]
"""Which limit was reached; networks: all were trained on all folds."""


@dataclass(frozen=True, eq=False)
class Explored:
    """A finished search.

    Attributes:
        chosen: the trainings in their order.
        values: the results of these; None where one failed.
        states: after each round, the first one before any training.
        counts: number of trainings until then.
    """

    chosen: Sequence[Choice]
    values: Sequence[float | None]
    states: Sequence[State]
    counts: Sequence[int]
    reason: Reason

    @property
    def state(self) -> State:
        """The last state."""
        return self.states[-1]


def explore(
    planner: Planner,
    limits: Limits,
    train: Callable[[Sequence[Choice], int], Sequence[float | None]],
    report: Callable[[Sequence[Choice], State], None] = lambda chosen, state: None,
) -> Explored:
    """Trains round after round until a limit is reached.

    Args:
        train: all trainings, those of a new round last, and its number -> the values of all trainings.
        report: called with the state after each round.
    """
    chosen: list[Choice] = []
    values: Sequence[float | None] = []
    states, counts = [planner.state(chosen, values)], [0]
    while True:
        spent = sum(planner.places[place].seconds for place, _ in chosen)
        if states[-1].extent <= limits.precision:
            return Explored(chosen, values, states, counts, "precision")
        if len(chosen) >= limits.trainings:
            return Explored(chosen, values, states, counts, "trainings")
        planned = planner.next_round(chosen, states[-1], limits.trainings - len(chosen))
        if not planned:
            return Explored(chosen, values, states, counts, "networks")
        total = spent + np.cumsum([planner.places[place].seconds for place, _ in planned])
        affordable = len(planned) if limits.seconds is None else int((total <= limits.seconds).sum())
        if not affordable:
            return Explored(chosen, values, states, counts, "seconds")
        chosen += planned[:affordable]
        values = train(chosen, len(states))
        states.append(planner.state(chosen, values))
        counts.append(len(chosen))
        report(chosen, states[-1])


def simulate(
    planner: Planner,
    limits: Limits,
    coefficients: Floats,
    deviation: float,
    rng: np.random.Generator,
    fold_deviation: float = 0.0,
) -> Explored:
    """Returns a search of a known surface, with normal noise.

    Args:
        coefficients: coefficients of the surface [DIRECTION + OTHER], in the terms of `surface.terms`.
        deviation: standard deviation of a training's value.
        fold_deviation: standard deviation of the folds' effects.
    """
    expected, values = planner.rows @ coefficients, list[float | None]()
    effects = rng.normal(0.0, fold_deviation, planner.folds)

    def train(chosen: Sequence[Choice], _: int) -> Sequence[float | None]:
        for place, fold in chosen[len(values) :]:
            values.append(float(expected[place] + effects[fold] + rng.normal(0.0, deviation)))
        return values

    return explore(planner, limits, train)
