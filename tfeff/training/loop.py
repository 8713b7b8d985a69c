"""The training loop, for one device, several devices or several workers.

It reads from top to bottom: claim the workdir, load the images, build the network, restore the last checkpoint if there
is one, then train, validate and save, epoch by epoch.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.data.input.batches import Batches
from tfeff.data.sources.source import Source
from tfeff.errors import UserError, WorkerLostError
from tfeff.tasks.task import Batch
from tfeff.training import build, checkpoint, distribution, precision, profiler, selection
from tfeff.training.assembly import AssemblyCache, assemble
from tfeff.training.freezing import frozen_params
from tfeff.training.interruption import Interruption
from tfeff.training.progress import Reporter
from tfeff.training.state import State
from tfeff.training.step import Step
from tfeff.training.stopping import EarlyStopping
from tfeff.training.tensorboard import Board
from tfeff.training.workdir import Workdir

SECONDS_BETWEEN_LOGS = 1.0
"""Interval for fetching the loss from the device, checking and logging it. In between, steps run asynchronously."""
AUGMENTED_SAMPLES = 16
"""Number of augmented training images shown in TensorBoard."""


def train(
    settings: config.Experiment,
    directory: str | Path,
    *,
    until_epoch: int | None = None,
    source: Callable[[], Source] | None = None,
    caches: selection.SplitCaches | None = None,
    assemblies: AssemblyCache | None = None,
    reporter: Reporter | None = None,
    tensorboard: bool = True,
    profile: bool = False,
) -> Workdir:
    """Trains the network of an experiment; resumes from the last checkpoint if there is one.

    Args:
        settings: the experiment.
        directory: the workdir; `tfeff.training.workdir` lists its files.
        until_epoch: stop this call after this epoch, which is validated. A later call resumes as if the run had not
            been stopped: schedules, early stopping and the choice of the best epoch refer to the whole run.
        source: opens the experiment's source; a caller that needs it again passes a function that opens it once.
        caches: the experiment's decoded images (`selection.read`), which several runs can share. Default: decode them.
        assemblies: cache of compiled networks for several runs in this process. Default: build a new one.
        reporter: reports progress. Default: on the console, in the first worker only.
        tensorboard: write event files.
        profile: profile a few steps for TensorBoard.

    Returns:
        The workdir. When the run is finished (after the last epoch or early stopping), `checkpoints/final.npz` holds
        the weights to evaluate.

    Raises:
        UserError: for invalid images or settings, a workdir of another experiment, or if training diverges.
        ValueError: if the images were read with other settings, or `until_epoch` is below 1.
        Interrupted: after Ctrl-C or SIGTERM; the state is saved.
        WorkerLostError: if another worker of a distributed run is lost.
    """
    settings = config.resolve_family(settings)
    workdir = Workdir(directory)
    strategy = distribution.strategy(settings.training.strategy)
    worker = distribution.worker_index(), distribution.worker_count()
    chief = distribution.is_chief()
    reporter = reporter or Reporter(quiet=not chief)
    if until_epoch is not None and until_epoch < 1:
        raise ValueError(f"until_epoch is {until_epoch}; epochs count from 1")
    if settings.training.deterministic:
        tf.config.experimental.enable_op_determinism()

    claimed = workdir.claimed(settings) if chief else nullcontext()
    with claimed, Interruption() as interruption, reporter.bars():

        def reading(name: str, done: int, total: int) -> None:
            interruption.check("training had not started")
            reporter.reading(name, done, total)

        finished = workdir.final.is_file()
        saved = None
        if not finished or len(workdir.rows()) < settings.training.epochs:
            saved = workdir.checkpoints.load_latest(reporter.say)
        if finished and (saved is None or _has_stopped_early(settings, saved[2])):
            reporter.say(f"{workdir.path}: this run is already finished")
            return workdir
        if finished:
            reporter.say(f"{workdir.path}: continuing the finished run to epoch {settings.training.epochs}")
        if saved is not None and until_epoch is not None and _is_done(until_epoch, settings, workdir, saved[2]):
            reporter.say(f"{workdir.path}: epoch {until_epoch} is already finished")
            return workdir
        build.check(settings, strategy.num_replicas_in_sync, afresh=saved is None)
        if caches is None:
            opened = source() if source else selection.open_source(settings)
            selection.check(settings, opened)
            caches = selection.read(settings, reading, source=opened)
        dataset = selection.choose(settings, caches)
        for note in dataset.notes:
            reporter.say(note)
        if dataset.skipped:
            reporter.say(f"skipped {len(dataset.skipped)} corrupt images, the first is {dataset.skipped[0]}")
        if saved is None:
            record = dataset.record()
            policy = precision.select_policy(settings, record, reporter, interruption)
        else:
            record = workdir.dataset()
            policy = saved[2]["precision"]
            if not selection.unchanged(dataset.fingerprint, record["fingerprint"]):
                raise UserError(
                    f"the images of {settings.data.source} have changed since this run began; restore them, or use "
                    "another --workdir"
                )
        keras.mixed_precision.set_dtype_policy(policy)

        assembly = (assemblies.assemble if assemblies else assemble)(settings, record, strategy)
        model, average = assembly.model, assembly.average
        with strategy.scope():
            loaded = build.initial_weights(settings, model) if saved is None else None
        if loaded is not None:
            if average is not None:
                average.restart()
            reporter.say(f"{settings.model.weights}: {loaded}")
        if chief and saved is None:
            workdir.write_dataset(record | build.preprocessing(model))
        pipeline = build.training_pipeline(settings, dataset.train, model.resolution, worker)
        validation: Batches | None = None
        if dataset.validation is not None:
            validation = build.evaluation_pipeline(settings, dataset.validation, model.resolution, worker)
        state = State(
            model=model,
            optimizer=assembly.optimizer,
            average=average,
            schedule=build.schedule(settings, pipeline.steps_per_epoch),
            stopping=EarlyStopping(settings.training.early_stopping_epochs, settings.training.minimum_change),
            precision=policy,
            sums=assembly.step.task.zero_sums(),
        )
        if saved is not None:
            path, arrays, saved_record = saved
            state.restore(arrays, saved_record)
            reporter.say(f"resuming from step {state.step:,} ({path})")
        reporter.say(
            f"{settings.model.name} at {model.resolution}x{model.resolution}: {model.count_params():,} parameters, "
            f"{policy}, {len(dataset.train):,} training images, {pipeline.steps_per_epoch:,} steps per epoch"
        )
        if settings.optimizer.frozen:
            reporter.say(f"{frozen_params(model, settings.optimizer.frozen):,} parameters are frozen")
        run = _Run(
            settings=settings,
            workdir=workdir,
            strategy=strategy,
            reporter=reporter,
            interruption=interruption,
            state=state,
            step=assembly.step,
            pipeline=pipeline,
            validation=validation,
            chief=chief,
            board=Board(workdir.tensorboard, state.step) if chief and tensorboard else None,
            profiler=profiler.Profiler(workdir.tensorboard) if chief and profile else None,
        )
        try:
            run.train(until_epoch)
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            if distribution.worker_count() == 1:
                raise
            raise WorkerLostError("lost another worker") from error
        finally:
            run.close()
    return workdir


METRICS = (
    *("epoch", "step", "train_loss", "train_accuracy", "learning_rate", "images_per_second", "input_wait", "seconds"),
    *("validation_loss", "validation_accuracy"),
)
"""The columns of metrics.jsonl for classification; the last two only in validated epochs. Other tasks have more."""


@dataclass(kw_only=True)
class _Run:
    """The epochs of one run and what they share. Only the chief (the first worker) writes files."""

    settings: config.Experiment
    workdir: Workdir
    strategy: tf.distribute.Strategy
    reporter: Reporter
    interruption: Interruption
    state: State
    step: Step
    pipeline: Batches
    validation: Batches | None
    chief: bool
    board: Board | None
    profiler: profiler.Profiler | None

    def __post_init__(self) -> None:
        self.epochs = self.settings.training.epochs
        self.batch_size = self.settings.training.batch_size
        self.total_steps = self.epochs * self.pipeline.steps_per_epoch
        if self.validation is not None:
            self.validation_batches = self._distribute(self.validation.evaluation_batches())

    def train(self, until_epoch: int | None) -> None:
        """Trains to the end of the run or of `until_epoch`."""
        state = self.state
        if self.chief:
            self.workdir.rewind(state.step)
        if self.board:
            self.board.settings(self.settings)
        until = min(self.epochs, until_epoch or self.epochs)
        end = until * self.pipeline.steps_per_epoch
        batches = iter(self._distribute(self.pipeline.training_batches(until, state.step)))
        self.reporter.start(end, state.step, validates=self.validation is not None)
        while state.step < end and not state.stopping.exhausted:
            row = self._train_epoch(batches)
            if self._is_validated(row["epoch"]) or row["epoch"] == until:
                row |= self._validate()
            self._end_epoch(row)
            self.interruption.check(self._saved_message())
        if self.chief and (state.step == self.total_steps or state.stopping.exhausted):
            self._finish()

    def close(self) -> None:
        """Closes the profiler and the event files."""
        if self.profiler:
            self.profiler.close()
            if not self.profiler.traced:
                self.reporter.say(f"--profile: no profile, because profiling starts after {profiler.FIRST} steps")
        if self.board:
            self.board.close()

    def _train_epoch(self, batches: Iterator[Batch]) -> dict[str, Any]:
        """Trains to the end of the current epoch and returns its metrics."""
        state, steps = self.state, self.pipeline.steps_per_epoch
        end = (state.step // steps + 1) * steps
        last_log = last_save = time.perf_counter()
        logged_step, pending = state.step, list[tf.Tensor]()
        while state.step < end:
            if self.profiler:
                self.profiler.step()
            start = time.perf_counter()
            batch = next(batches)
            state.waited += time.perf_counter() - start
            if state.step == 0 and self.board:
                images = self.strategy.experimental_local_results(batch["image"])[0]
                self.board.samples(images[:AUGMENTED_SAMPLES].numpy())
            pending.append(self.step.train(batch, step=state.step, learning_rate=state.schedule(state.step)))
            state.step += 1
            stop = self.interruption.signal_number is not None
            save = time.perf_counter() - last_save > self.settings.training.checkpoint_seconds

            if stop or save or state.step == end or time.perf_counter() - last_log > SECONDS_BETWEEN_LOGS:
                loss = self._fetch_loss(pending)
                now = time.perf_counter()
                state.seconds += now - last_log
                speed = (state.step - logged_step) * self.batch_size / (now - last_log)
                last_log, logged_step = now, state.step
                self.reporter.advance(state.step, speed, loss)
                if self.board:
                    self.board.training(state.step, loss, state.schedule(state.step - 1), speed)
            if (stop or save) and state.step < end:  # at the end of an epoch, the state is saved after validation
                self._save()
                self.interruption.check(self._saved_message())
                last_log = last_save = time.perf_counter()

        row = {
            "epoch": state.step // steps,
            "step": state.step,
            **{f"train_{name}": mean for name, mean in self.step.task.means(state.sums).items()},
            "learning_rate": state.schedule(state.step - 1),
            "images_per_second": steps * self.batch_size / state.seconds,
            "input_wait": state.waited / state.seconds,
            "seconds": state.seconds,
        }
        state.sums, state.seconds, state.waited = self.step.task.zero_sums(), 0.0, 0.0
        return row

    def _fetch_loss(self, pending: list[tf.Tensor]) -> float:
        """Adds the sums of the pending steps to those of the epoch; returns the mean loss of these steps.

        Raises:
            UserError: if the loss is not finite. The last checkpoint remains.
        """
        if not pending:
            return math.nan
        sums = np.sum([np.asarray(part, np.float64) for part in pending], axis=0)
        pending.clear()
        loss = self.step.task.means(sums)["loss"]
        if not math.isfinite(loss):
            raise self._divergence_error(f"the loss is {loss}")
        self.state.sums = self.state.sums + sums
        return loss

    def _is_validated(self, epoch: int) -> bool:
        """Whether the run validates after `epoch`, independently of where a call ends."""
        return epoch % self.settings.training.validation_epochs == 0 or epoch == self.epochs

    def _validate(self) -> dict[str, float]:
        """Loss and metrics of the validation images, with the averaged weights if there are any."""
        if self.validation is None:
            return {}
        average = self.state.average
        if average is not None:
            average.swap()
        sums = self.step.task.zero_sums()
        for batch in self.validation_batches:
            sums += np.asarray(self.step.evaluate(batch), np.float64)
        if average is not None:
            average.swap()
        means = self.step.task.means(sums)
        if not math.isfinite(means["loss"]):
            raise self._divergence_error(f"the validation loss is {means['loss']}")
        return {f"validation_{name}": mean for name, mean in means.items()}

    def _end_epoch(self, row: dict[str, Any]) -> None:
        state, epoch = self.state, row["epoch"]
        # If validation happened only because this call ends here, it must not change the state of the run.
        if self.validation is not None and self._is_validated(epoch):
            value = self.step.task.watched(row, self.settings.training.monitor)
            epochs = (epoch - 1) % self.settings.training.validation_epochs + 1
            state.schedule.observe(value, epochs=epochs)
            if state.stopping.observe(value, epochs=epochs) and self.chief and self._keeps_best():
                self.workdir.checkpoints.save_best(state.weights(), {"epoch": epoch})
        if self.chief:
            self.workdir.append_row(row)
        if self.board:
            self.board.epoch(row)
        self._save()
        self.reporter.epoch(row, self.epochs)

    def _save(self) -> None:
        if not self.chief:
            return
        arrays = self.state.arrays()
        # The last update can make weights infinite although its loss, computed before the update, is finite.
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise self._divergence_error(f"{name} is not finite")
        self.workdir.checkpoints.save(self.state.step, arrays, self.state.record())

    def _saved_message(self) -> str:
        if self.chief:
            return f"state saved at step {self.state.step:,}"
        return "this worker stopped; the first worker saves the state, and the others wait until this one is restarted"

    def _divergence_error(self, reason: str) -> UserError:
        epoch = (self.state.step - 1) // self.pipeline.steps_per_epoch + 1
        last = self.workdir.checkpoints.latest()
        saved = f". The last good checkpoint is {last}" if last else ""
        return UserError(
            f"training diverged: {reason} at step {self.state.step:,} (epoch {epoch}). Train in a new --workdir with "
            f"a lower optimizer.learning_rate (now {self.settings.optimizer.learning_rate:g}), warm-up "
            f"(schedule.warmup_epochs) or gradient clipping (optimizer.clip_norm); this run would diverge again{saved}"
        )

    def _keeps_best(self) -> bool:
        return self.settings.training.keep == "best" or self.settings.training.early_stopping_epochs is not None

    def _finish(self) -> None:
        """Writes the weights to evaluate: those of the best or the last epoch."""
        if self._keeps_best():
            arrays, record = checkpoint.load(self.workdir.checkpoints.best)
        else:
            arrays, record = self.state.weights(), {"epoch": self.state.step // self.pipeline.steps_per_epoch}
        checkpoint.save(self.workdir.final, arrays, record)

    def _distribute(self, batches: tf.data.Dataset) -> Any:
        """Splits this worker's batches among its devices and prefetches to them."""
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            gpus = tf.config.list_logical_devices("GPU")
            return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name)) if gpus else batches
        local = replicas // distribution.worker_count()
        if local > 1:
            batches = batches.rebatch(self.batch_size // replicas)
        return self.strategy.distribute_datasets_from_function(lambda context: batches)


def _is_done(until_epoch: int, settings: config.Experiment, workdir: Workdir, record: dict[str, Any]) -> bool:
    """Whether the checkpoint with this record has reached the end of `until_epoch`."""
    # A run that was killed after its last epoch still has to write its final weights.
    finished = _has_stopped_early(settings, record) or until_epoch >= settings.training.epochs
    return not finished and workdir.epochs(record["step"]) >= until_epoch


def _has_stopped_early(settings: config.Experiment, record: dict[str, Any]) -> bool:
    stopping = EarlyStopping(settings.training.early_stopping_epochs)
    stopping.restore(record["stopping"])
    return stopping.exhausted
