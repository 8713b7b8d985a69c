"""Early stopping: when to end, and which epoch was the best."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Watches the validation loss; `patience` None never stops, the best epoch is known all the same.

    >>> watch = EarlyStopping(patience=2)
    >>> [watch.observe(loss, epochs=1) for loss in (3.0, 2.0, 2.5, 2.5)], watch.exhausted
    ([True, True, False, False], True)
    """

    patience: int | None
    best: float = math.inf
    waited: int = 0

    def observe(self, validation_loss: float, *, epochs: int) -> bool:
        """Takes a validation loss, `epochs` after the one before; True when it is the best so far."""
        if validation_loss < self.best:
            self.best, self.waited = validation_loss, 0
            return True
        self.waited += epochs
        return False

    @property
    def exhausted(self) -> bool:
        """Whether `patience` epochs have passed without a better loss."""
        return self.patience is not None and self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep, JSON-ready."""
        return {"best": self.best if math.isfinite(self.best) else None, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        self.best = math.inf if state["best"] is None else state["best"]
        self.waited = state["waited"]
