"""The training loop: epochs and steps, on one device, several devices or several workers.

Whatever else happens in a run is done by hooks that the loop calls at named points: validation, event files,
checkpoints, progress, profiling.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfeff.data.input.device_batches import DeviceBatches
from tfeff.errors import DivergedError, WorkerLostError
from tfeff.execution import workers
from tfeff.tasks.task import Batch
from tfeff.training import distribution
from tfeff.training.agreement import Agreement, noticing_lost_workers
from tfeff.training.interruption import Interruption
from tfeff.training.state import State
from tfeff.training.step import Step
from tfeff.training.workdir import Workdir

SECONDS_BETWEEN_LOGS = 1.0
"""Interval for fetching the loss from the device, checking and logging it. In between, steps run asynchronously."""
SECONDS_AT_RISK = 60.0
"""Before a validation or similar pass, the state is saved if an interruption of it would lose more training."""
Row = dict[str, Any]
"""The metrics of an epoch."""
STEPS_BETWEEN_CHECKS = 16
"""After so many steps, several workers ask each other whether to stop."""
TIMES = ("images_per_second", "input_wait", "seconds")
"""The metrics that differ between equal runs."""


class Hook:
    """Callbacks at the named points of the training loop, which do nothing by default.

    At each point the loop calls its hooks in their order.
    """

    def start(self, loop: "Loop") -> None:
        """Runs before the first step of a call."""

    def step(self, loop: "Loop", batch: Batch) -> None:
        """Runs before each step, with its batch."""

    def log(self, loop: "Loop", loss: float, images_per_second: float) -> None:
        """Runs about once per second, with the mean loss and the speed since the last time."""

    def save(self, loop: "Loop") -> None:
        """Runs within an epoch or before its validation, when a checkpoint is due or a signal stops the run."""

    def interruptible(self, loop: "Loop") -> bool:
        """Returns whether `epoch` will pass images through the network, which can take long and be interrupted."""
        return False

    def epoch(self, loop: "Loop", row: Row) -> None:
        """Runs after each epoch, with its metrics; a hook may add others, which the hooks after it see."""

    def settle(self, loop: "Loop") -> None:
        """Runs before files are looked at: finishes what is being written."""

    def best(self, loop: "Loop", row: Row) -> None:
        """Runs when validation has found the best value so far of the monitored metric."""

    def finish(self, loop: "Loop") -> None:
        """Runs after the last epoch of the run, or early stopping; not if a later call continues the run."""

    def close(self, loop: "Loop") -> None:
        """Runs at the end of a call, also after an error."""


class Pipeline(Protocol):
    """The training batches of a run. They are a function of its seed, the epoch and the step."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        ...

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """Returns this worker's part of all batches from `start_step` to the end of the last of `epochs`."""
        ...


@dataclass(kw_only=True, eq=False)
class Loop:
    """Training loop over the epochs of a run.

    Attributes:
        state: what the steps change; `state.step` is where training begins or resumes.
        step: the compiled training and evaluation steps.
        pipeline: the training batches.
        hooks: the hooks, called in this order.
        workdir: the run's workdir.
        interruption: notices signals.
        agreement: of the workers of the run.
        epochs: number of epochs of the whole run.
        checkpoint_seconds: seconds between checkpoints within an epoch.
        advice: what to do if training diverges, for the message.
        chief: whether this is the first worker, the only one that writes files.
        until: epoch at which the current call of `run` ends.
    """

    state: State
    step: Step
    pipeline: Pipeline
    hooks: Sequence[Hook]
    workdir: Workdir
    interruption: Interruption
    agreement: Agreement
    epochs: int
    checkpoint_seconds: float
    advice: str
    chief: bool = True
    until: int = field(init=False)
    _unseen: list[tf.Tensor] = field(init=False, default_factory=list)  # sums of steps whose loss was not looked at

    def run(self, until_epoch: int | None = None) -> None:
        """Trains to the end of the run, or of `until_epoch`.

        Raises:
            DivergedError: training diverged.
            Interrupted: after Ctrl-C or SIGTERM; the state is saved.
            WorkerLostError: another worker of a distributed run is lost.
        """
        self.until = min(self.epochs, until_epoch or self.epochs)
        with ExitStack() as closing:
            for hook in reversed(self.hooks):  # the last callback is called first
                closing.callback(hook.close, self)
            with noticing_lost_workers(self._explain):
                self._train()

    def batches(self, epochs: int, start_step: int) -> Any:
        """Returns the batches of the devices of this worker; see `Pipeline.training_batches`."""
        own, finish = self.pipeline.training_batches(epochs, start_step), None
        if isinstance(self.pipeline, DeviceBatches):
            finish = self.pipeline.finish
        return distribution.distribute(self.step.strategy, own, self.step.batch_size, finish)

    def best(self, row: Row) -> None:
        """Tells the hooks that an epoch is the best so far."""
        for hook in self.hooks:
            hook.best(self, row)

    def divergence(self, reason: str) -> DivergedError:
        """Returns the error for a loss or a weight that is not finite."""
        for hook in self.hooks:
            hook.settle(self)
        state, last = self.state, self.workdir.checkpoints.latest()
        epoch = (state.step - 1) // self.pipeline.steps_per_epoch + 1
        if self.chief:
            self.workdir.write_divergence({"step": state.step, "epoch": epoch, "reason": reason})
        saved = f". The last good checkpoint is {last}" if last else ""
        return DivergedError(
            f"training diverged: {reason} at step {state.step:,} (epoch {epoch}). {self.advice}; this run would "
            f"diverge again{saved}"
        )

    def _train(self) -> None:
        state, steps = self.state, self.pipeline.steps_per_epoch
        start = time.perf_counter()
        own = self.batches(self.until, state.step)
        computing = time.perf_counter() - start  # of stored features
        state.seconds, state.waited = state.seconds + computing, state.waited + computing
        batches = iter(own)
        for hook in self.hooks:
            hook.start(self)
        while state.pending or (state.step < self.until * steps and not state.stopping.exhausted):
            if not state.pending:
                self._train_epoch(batches)
            row = self._row()
            for hook in self.hooks:
                hook.epoch(self, row)
            if self._is_told_to_stop():
                self._stop()
        if state.step == self.epochs * steps or state.stopping.exhausted:
            for hook in self.hooks:
                hook.finish(self)
            self._check_interruption()

    def _train_epoch(self, batches: Iterator[Batch]) -> None:
        """Trains to the end of the current epoch."""
        state, steps, batch_size = self.state, self.pipeline.steps_per_epoch, self.step.batch_size
        end = (state.step // steps + 1) * steps
        last_log = last_save = time.perf_counter()
        logged_step, alone = state.step, workers.worker_count() == 1
        while state.step < end:
            start = time.perf_counter()
            batch = next(batches)
            state.waited += time.perf_counter() - start
            for hook in self.hooks:
                hook.step(self, batch)
            self._unseen.append(self.step.train(batch, step=state.step, learning_rate=state.schedule(state.step)))
            state.step += 1
            state.pending = state.step == end
            # Between their checks, several workers do not wait for each other.
            stop = (alone or state.step % STEPS_BETWEEN_CHECKS == 0) and self._is_told_to_stop()
            due = self.checkpoint_seconds
            if state.pending:  # what follows saves the state, too
                due = min(due, SECONDS_AT_RISK) if any(hook.interruptible(self) for hook in self.hooks) else math.inf
            save = time.perf_counter() - last_save > due

            if stop or save or state.pending or time.perf_counter() - last_log > SECONDS_BETWEEN_LOGS:
                loss = self._fetch_loss()
                now = time.perf_counter()
                elapsed = now - last_log
                state.seconds += elapsed
                speed = (state.step - logged_step) * batch_size / elapsed
                last_log, logged_step = now, state.step
                for hook in self.hooks:
                    hook.log(self, loss, speed)
            if stop or save:
                for hook in self.hooks:
                    hook.save(self)
                if stop:
                    self._stop()
                last_log = last_save = time.perf_counter()

    def _row(self) -> Row:
        """Returns the metrics of the epoch that has ended."""
        state, steps, batch_size = self.state, self.pipeline.steps_per_epoch, self.step.batch_size
        row = {
            "epoch": state.step // steps,
            "step": state.step,
            **{f"train_{name}": mean for name, mean in self.step.task.means(state.sums).items()},
            "learning_rate": state.schedule(state.step - 1),
            "images_per_second": steps * batch_size / state.seconds,
            "input_wait": state.waited / state.seconds,
            "seconds": state.seconds,
        }
        state.sums, state.seconds, state.waited, state.pending = self.step.task.zero_sums(), 0.0, 0.0, False
        return row

    def _is_told_to_stop(self) -> bool:
        """Returns whether a signal was received; of several workers, by any of them: all ask at the same step."""
        return self.agreement.any(self.interruption.signal_number is not None)

    def _stop(self) -> None:
        """Ends the call after a signal; the state has been saved.

        Raises:
            Interrupted: this worker received it.
            WorkerLostError: another one did.
        """
        self._check_interruption()
        raise WorkerLostError("another worker was stopped")

    def _explain(self) -> None:
        """Looks for the reason why another worker was lost.

        Raises:
            DivergedError: it found that the training diverged.
            Interrupted: all workers were told to stop.
        """
        record = self.workdir.divergence()
        if record is not None and abs(record["step"] - self.state.step) <= 1:
            raise self.divergence(record["reason"])
        with suppress(tf.errors.OpError):  # of the step in which the worker was lost
            self._fetch_loss()
        self.interruption.check("another worker stopped first; the run resumes from its last checkpoint")

    def _fetch_loss(self) -> float:
        """Adds the sums of the steps since the last call to those of the epoch; returns their mean loss.

        Raises:
            DivergedError: the loss is not finite. The last checkpoint remains.
        """
        if not self._unseen:
            return math.nan
        sums = np.sum([np.asarray(part, np.float64) for part in self._unseen], axis=0)
        self._unseen.clear()
        loss = self.step.task.means(sums)["loss"]
        if not math.isfinite(loss):
            raise self.divergence(f"the loss is {loss}")
        self.state.sums = self.state.sums + sums
        return loss

    def _check_interruption(self) -> None:
        if self.chief:
            self.interruption.check(f"state saved at step {self.state.step:,}")
        else:
            self.interruption.check(
                "this worker stopped; the first worker saves the state, and the others wait until this one is restarted"
            )
