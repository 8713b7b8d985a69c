"""Learning-rate schedules by step, with optional warm-up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tfeff import config


class LearningRate(Protocol):
    """A function from step (from 0) to learning rate."""

    def __call__(self, step: int) -> float:
        """Returns the learning rate of the update that `step` makes."""
        ...

    def observe(self, value: float, *, epochs: int) -> None:
        """Reports a validation loss, measured `epochs` after the previous one."""
        ...

    def state(self) -> dict[str, Any]:
        """Returns the state for the checkpoint, JSON-serializable."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned."""
        ...


class Stateless:
    """Base class of schedules that depend only on the step."""

    def observe(self, value: float, *, epochs: int) -> None:
        """Ignores the validation loss."""

    def state(self) -> dict[str, Any]:
        """Returns an empty state."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class Constant(Stateless):
    """A constant learning rate."""

    peak: float

    def __call__(self, step: int) -> float:
        """Returns the learning rate of `step`."""
        return self.peak


@dataclass(frozen=True)
class Cosine(Stateless):
    """Cosine decay from `peak` at step 0 to 0 at `decay_steps` (Loshchilov & Hutter, arXiv:1608.03983), no restarts.

    >>> [round(Cosine(1.0, 4)(step), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    peak: float
    decay_steps: int

    def __call__(self, step: int) -> float:
        """Returns the learning rate of `step`."""
        return self.peak * 0.5 * (1 + math.cos(math.pi * min(step / self.decay_steps, 1)))


@dataclass(frozen=True)
class Exponential(Stateless):
    """Decay by the factor `rate` every `decay_steps`, in steps.

    EfficientNet: 0.97 every 2.4 epochs (arXiv:1905.11946, section 5.2).
    """

    peak: float
    rate: float
    decay_steps: float

    def __call__(self, step: int) -> float:
        """Returns the learning rate of `step`."""
        return float(self.peak * self.rate ** math.floor(step / self.decay_steps))


@dataclass(frozen=True)
class StepDecay(Stateless):
    """Decay by the factor `rate` at each of the `boundaries` (in steps).

    >>> [StepDecay(1.0, 0.5, (2, 3))(step) for step in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """

    peak: float
    rate: float
    boundaries: Sequence[float]

    def __call__(self, step: int) -> float:
        """Returns the learning rate of `step`."""
        return float(self.peak * self.rate ** sum(step >= boundary for boundary in self.boundaries))


@dataclass
class Plateau:
    """Decay by the factor `rate` when a value has not fallen by more than `minimum_change` for `patience` epochs."""

    peak: float
    rate: float
    patience: int
    minimum_change: float = 0.0
    best: float = math.inf
    waited: int = 0
    factor: float = field(default=1.0)

    def __call__(self, step: int) -> float:
        """Returns the learning rate of `step`."""
        return self.peak * self.factor

    def observe(self, value: float, *, epochs: int) -> None:
        """Counts epochs without improvement; reduces the rate after `patience` of them."""
        if value < self.best - self.minimum_change:
            self.best, self.waited = value, 0
            return
        self.waited += epochs
        if self.waited >= self.patience:
            self.factor, self.waited = self.factor * self.rate, 0

    def state(self) -> dict[str, Any]:
        """Returns the best value, epochs since then, and the current factor."""
        return {"best": self.best if math.isfinite(self.best) else None, "waited": self.waited, "factor": self.factor}

    def restore(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned."""
        self.best = math.inf if state["best"] is None else state["best"]
        self.waited, self.factor = state["waited"], state["factor"]


@dataclass(frozen=True)
class WarmUp:
    """Linear warm-up over `steps` to the first rate of another schedule, which then takes over.

    The rate of the first update is 1 / `steps` of that rate, not 0.

    Attributes:
        after: the other schedule.
        steps: length of the warm-up, in steps.
        start: step from which the other schedule counts: `steps` if it starts after the warm-up, 0 if the warm-up
            replaces its first part.

    >>> [WarmUp(Constant(1.0), 4, 4)(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    >>> [WarmUp(StepDecay(1.0, 0.5, (3, 5)), 4, 0)(step) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 0.5, 0.25]
    """

    after: LearningRate
    steps: int
    start: int

    def __call__(self, step: int) -> float:
        """Returns the learning rate of `step`."""
        if step < self.steps:
            return self.after(0) * (step + 1) / self.steps
        return self.after(step - self.start)

    def observe(self, value: float, *, epochs: int) -> None:
        """Forwards to the schedule after the warm-up."""
        self.after.observe(value, epochs=epochs)

    def state(self) -> dict[str, Any]:
        """Returns the state of the schedule after the warm-up."""
        return self.after.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Forwards to the schedule after the warm-up."""
        self.after.restore(state)


def build(
    section: config.Schedule, *, peak: float, epochs: int, steps_per_epoch: int, change: float = 0.0
) -> LearningRate:
    """Creates a learning-rate schedule.

    Args:
        section: the config's `schedule`.
        peak: the highest learning rate.
        epochs: number of epochs of the whole run.
        steps_per_epoch: number of updates in each epoch.
        change: smallest improvement that counts for `plateau`.
    """
    warm_up, total = round(section.warmup_epochs * steps_per_epoch), epochs * steps_per_epoch
    start = 0 if section.count_warmup else warm_up  # of the schedule that follows
    after: LearningRate
    match section.name:
        case "constant":
            after = Constant(peak)
        case "cosine":
            after = Cosine(peak, max(1, total - start))
        case "exponential":
            after = Exponential(peak, section.decay_rate, section.decay_epochs * steps_per_epoch)
        case "step":
            boundaries = tuple(epoch * steps_per_epoch - start for epoch in section.boundaries)
            after = StepDecay(peak, section.decay_rate, boundaries)
        case "plateau":
            after = Plateau(peak, section.decay_rate, section.patience_epochs, change)
    return WarmUp(after, warm_up, start) if warm_up else after
