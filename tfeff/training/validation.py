"""Validation after an epoch, and what follows from its result."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfeff.training import distribution
from tfeff.training.loop import Hook, Loop, Row


class Validation(Hook):
    """Adds validation metrics to the row of an epoch, and reports the monitored one to schedule and early stopping.

    The averaged weights are validated, if there is an average.

    Args:
        batches: the validation batches of this worker.
        scoring: computes further metrics of the network, from its predictions for all validation images.
        monitor: the loss or metric that decides which epoch is the best.
        every: epochs between two validations. The last epoch of the run is validated, too.
    """

    def __init__(
        self, batches: tf.data.Dataset, scoring: Callable[[], Mapping[str, float]] = dict, *, monitor: str, every: int
    ) -> None:
        self._own, self._scoring = batches, scoring
        self._monitor, self._every = monitor, every

    def start(self, loop: Loop) -> None:
        """Splits the batches among the devices."""
        self._batches = distribution.distribute(loop.step.strategy, self._own, loop.step.batch_size)

    def epoch(self, loop: Loop, row: Row) -> None:
        """Validates when it is time, or because the current call ends here."""
        epoch, state = row["epoch"], loop.state
        scheduled = epoch % self._every == 0 or epoch == loop.epochs
        if scheduled or epoch == loop.until:
            row |= self._metrics(loop)
        # If validation happened only because this call ends here, it must not change the state of the run.
        if scheduled:
            value = loop.step.task.watched(row, self._monitor)
            epochs = (epoch - 1) % self._every + 1
            state.schedule.observe(value, epochs=epochs)
            if state.stopping.observe(value, epochs=epochs):
                loop.best(epoch)

    def _metrics(self, loop: Loop) -> dict[str, float]:
        average, step = loop.state.average, loop.step
        if average is not None:
            average.swap()
        sums = step.task.zero_sums()
        for batch in self._batches:
            sums += np.asarray(step.evaluate(batch), np.float64)
        scores = self._scoring()
        if average is not None:
            average.swap()
        means = {**step.task.means(sums), **scores}
        if not math.isfinite(means["loss"]):
            raise loop.divergence(f"the validation loss is {means['loss']}")
        return {f"validation_{name}": mean for name, mean in means.items()}
