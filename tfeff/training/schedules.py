"""Learning rates over time: a rate for each step, warm-up in front of any of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Schedule(Protocol):
    """A learning rate for each step (counted from 0)."""

    def __call__(self, step: int) -> float:
        """The learning rate of the update that `step` makes."""
        ...

    def observe(self, validation_loss: float, *, epochs: int) -> None:
        """Takes a validation loss, `epochs` after the one before."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep, JSON-ready."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        ...


class Stateless:
    """Base of the schedules that depend on the step alone."""

    def observe(self, validation_loss: float, *, epochs: int) -> None:
        """Nothing follows from the validation loss."""

    def state(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


@dataclass(frozen=True)
class Constant(Stateless):
    """The same rate at each step."""

    peak: float

    def __call__(self, step: int) -> float:
        """The learning rate of `step`."""
        return self.peak


@dataclass(frozen=True)
class Cosine(Stateless):
    """Half a cosine from `peak` at step 0 to 0 at `decay_steps` (Loshchilov & Hutter, arXiv:1608.03983, no restarts).

    >>> [round(Cosine(1.0, 4)(step), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    peak: float
    decay_steps: int

    def __call__(self, step: int) -> float:
        """The learning rate of `step`."""
        return self.peak * 0.5 * (1 + math.cos(math.pi * min(step / self.decay_steps, 1)))


@dataclass(frozen=True)
class Exponential(Stateless):
    """`rate` once every `decay_steps`, in stairs: EfficientNet's ×.97 every 2.4 epochs (arXiv:1905.11946, §5.2)."""

    peak: float
    rate: float
    decay_steps: float

    def __call__(self, step: int) -> float:
        """The learning rate of `step`."""
        return float(self.peak * self.rate ** math.floor(step / self.decay_steps))


@dataclass(frozen=True)
class Step(Stateless):
    """`rate` at each of the `boundaries` (steps).

    >>> [Step(1.0, 0.5, (2, 3))(step) for step in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """

    peak: float
    rate: float
    boundaries: Sequence[float]

    def __call__(self, step: int) -> float:
        """The learning rate of `step`."""
        return float(self.peak * self.rate ** sum(step >= boundary for boundary in self.boundaries))


@dataclass
class Plateau:
    """`rate` whenever the validation loss has not improved for `patience` epochs."""

    peak: float
    rate: float
    patience: int
    best: float = math.inf
    waited: int = 0
    factor: float = field(default=1.0)

    def __call__(self, step: int) -> float:
        """The learning rate of `step`."""
        return self.peak * self.factor

    def observe(self, validation_loss: float, *, epochs: int) -> None:
        """Counts the epochs without a better loss, and lowers the rate when there were `patience` of them."""
        if validation_loss < self.best:
            self.best, self.waited = validation_loss, 0
            return
        self.waited += epochs
        if self.waited >= self.patience:
            self.factor, self.waited = self.factor * self.rate, 0

    def state(self) -> dict[str, Any]:
        """The best loss, the epochs waited and the factor reached."""
        return {"best": self.best if math.isfinite(self.best) else None, "waited": self.waited, "factor": self.factor}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        self.best = math.inf if state["best"] is None else state["best"]
        self.waited, self.factor = state["waited"], state["factor"]


@dataclass(frozen=True)
class WarmUp:
    """A linear rise over `steps` to where `after` begins; `after` counts from the end of the rise.

    The first update already moves: its rate is 1 / steps of the first one after the rise.

    >>> [WarmUp(Constant(1.0), 4)(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    after: Schedule
    steps: int

    def __call__(self, step: int) -> float:
        """The learning rate of `step`."""
        if step < self.steps:
            return self.after(0) * (step + 1) / self.steps
        return self.after(step - self.steps)

    def observe(self, validation_loss: float, *, epochs: int) -> None:
        """Passed on."""
        self.after.observe(validation_loss, epochs=epochs)

    def state(self) -> dict[str, Any]:
        """That of the schedule after the rise."""
        return self.after.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Passed on."""
        self.after.restore(state)
