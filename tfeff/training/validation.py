"""Validation after an epoch, and what follows from its result."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.tasks.task import Predictions, concatenate, of_images
from tfeff.training import distribution
from tfeff.training.loop import Hook, Loop, Row
from tfeff.training.stopping import watched

Scoring = Callable[[Predictions | None], Mapping[str, float]]
"""Computes a task's `scores` from the predictions for all validation images; None: predicts them first."""


class Validation(Hook):
    """Hook that adds validation metrics to an epoch's row and reports the monitored one to schedule and early stopping.

    The averaged weights are validated, if there is an average.

    Args:
        batches: the validation batches of this worker.
        scoring: computes the task's `scores`, if it has any.
        batch_size: examples of a batch, over all workers.
        monitor: the loss or metric that decides which epoch is the best.
        every: epochs between two validations. The last epoch of the run is validated, too.
        sampled: whether the batches hold samples of images, such as regions, not all images in order.
    """

    def __init__(
        self,
        batches: tf.data.Dataset,
        scoring: Scoring | None = None,
        *,
        batch_size: int,
        monitor: str,
        every: int,
        sampled: bool = False,
    ) -> None:
        self._own, self._scoring, self._sampled = batches, scoring, sampled
        self._batch_size, self._monitor, self._every = batch_size, monitor, every

    def start(self, loop: Loop) -> None:
        """Splits the batches among the devices."""
        self._batches = distribution.distribute(loop.step.strategy, self._own, self._batch_size)

    def interruptible(self, loop: Loop) -> bool:
        """Returns whether it is time, or the current call ends here."""
        epoch = loop.state.step // loop.pipeline.steps_per_epoch
        return self._is_scheduled(loop, epoch) or epoch == loop.until

    def _is_scheduled(self, loop: Loop, epoch: int) -> bool:
        return epoch % self._every == 0 or epoch == loop.epochs

    def epoch(self, loop: Loop, row: Row) -> None:
        """Validates when it is time, or because the current call ends here."""
        epoch, state = row["epoch"], loop.state
        if self.interruptible(loop):
            row |= self._metrics(loop)
        # If validation happened only because this call ends here, it must not change the state of the run.
        if self._is_scheduled(loop, epoch):
            value = watched(row, self._monitor)
            if math.isnan(value):
                raise UserError(
                    f"the validation images give no value of training.monitor={self._monitor}; train in a new "
                    "--workdir with another metric, or with validation images of all classes"
                )
            epochs = epoch - state.stopping.observed  # fewer than `every` after the end of a run that is continued
            state.schedule.observe(value, epochs=epochs)
            if state.stopping.observe(value, epochs=epochs):
                loop.best(row)

    def _metrics(self, loop: Loop) -> dict[str, float]:
        average = loop.state.average
        if average is not None:
            average.swap()
        try:
            sums, scores = self._evaluated(loop)
        finally:
            if average is not None:
                average.swap()
        means = {**loop.step.task.means(sums), **scores}
        if not math.isfinite(means["loss"]):
            raise loop.divergence(f"the validation loss is {means['loss']}")
        return {f"validation_{name}": mean for name, mean in means.items()}

    def _evaluated(self, loop: Loop) -> tuple[np.ndarray, Mapping[str, float]]:
        """Returns totals and counts of all batches, and the scores.

        Unless batches are samples, predictions are made in the same pass; the replicas share the images.
        """
        step, parts = loop.step, list[Predictions]()
        sums = step.task.zero_sums()
        together = self._scoring is not None and not self._sampled
        for batch in self._batches:
            loop.interruption.check("the run resumes from its last checkpoint")
            if together:
                totals, decoded, about = step.evaluate_and_predict(batch)
                parts.append(of_images(about, decoded))
            else:
                totals = step.evaluate(batch)
            sums += np.asarray(totals, np.float64)
        if self._scoring is None:
            return sums, {}
        return sums, self._scoring(concatenate(parts) if together else None)
