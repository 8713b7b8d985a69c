"""Early stopping and the best epoch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Early stopping by the monitored metric, the lower the better.

    `patience=None` never stops but still tracks the best epoch.

    Attributes:
        patience: epochs without improvement before the run stops.
        minimum_change: a value is an improvement if it is lower than the best one by more than this.
        best: the best value.
        waited: epochs since then, until the last value.
        observed: epoch of the last value.

    >>> stopping = EarlyStopping(patience=2)
    >>> [stopping.observe(loss, epochs=1) for loss in (3.0, 2.0, 2.5, 2.5)], stopping.exhausted
    ([True, True, False, False], True)
    """

    patience: int | None
    minimum_change: float = 0.0
    best: float = math.inf
    waited: int = 0
    observed: int = 0

    def observe(self, value: float, *, epochs: int) -> bool:
        """Reports a value, measured `epochs` after the previous one. True if it is the best so far."""
        self.observed += epochs
        if value < self.best - self.minimum_change:
            self.best, self.waited = value, 0
            return True
        self.waited += epochs
        return False

    @property
    def exhausted(self) -> bool:
        """Whether `patience` epochs have passed without improvement."""
        return self.patience is not None and self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """Returns the state for the checkpoint, JSON-serializable."""
        best = self.best if math.isfinite(self.best) else None
        return {"best": best, "waited": self.waited, "observed": self.observed}

    def restore(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned."""
        self.best = math.inf if state["best"] is None else state["best"]
        self.waited, self.observed = state["waited"], state["observed"]


def watched(row: Mapping[str, Any], monitor: str) -> float:
    """Returns the monitored value of an epoch, the lower the better.

    It is what has a name that ends in "loss", or any other metric with its sign changed; see `tfeff.tasks.task.Task`.

    >>> watched({"validation_distance_loss": 0.5}, "distance_loss"), watched({"validation_accuracy": 0.8}, "accuracy")
    (0.5, -0.8)
    """
    value = float(row[f"validation_{monitor}"])
    return value if monitor.endswith("loss") else -value
