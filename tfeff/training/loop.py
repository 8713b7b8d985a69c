"""The training loop: one for one device, several devices and several workers.

It reads from top to bottom: claim the workdir, open the images, build the network, go on from the last checkpoint if
there is one, then update, measure and save until the last epoch.
"""

import math
import time
from collections.abc import Iterator
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
from tfeff.training import build, checkpoint, distribution, precision, profiler, selection
from tfeff.training.assembly import Workshop, assemble
from tfeff.training.interruption import Interruption
from tfeff.training.progress import Reporter
from tfeff.training.state import State
from tfeff.training.step import Step
from tfeff.training.stopping import EarlyStopping
from tfeff.training.task import Batch
from tfeff.training.tensorboard import Board
from tfeff.training.workdir import Workdir

SECONDS_BETWEEN_READINGS = 1.0
"""How often the loss is fetched from the device, checked and shown; between readings steps follow each other freely."""
AUGMENTED_SAMPLES = 16


def train(
    settings: config.Experiment,
    directory: str | Path,
    *,
    until_epoch: int | None = None,
    source: Source | None = None,
    caches: selection.SplitCaches | None = None,
    workshop: Workshop | None = None,
    reporter: Reporter | None = None,
    tensorboard: bool = True,
    profile: bool = False,
) -> Workdir:
    """Trains the network of an experiment to its last epoch, from the last checkpoint if there is one.

    Args:
        settings: the experiment.
        directory: the workdir; see `tfeff.training.workdir` for what it will hold.
        until_epoch: end this call after so many epochs, the last of them validated. A later call goes on as if there
            had been no end: schedules, early stopping and the choice of the best epoch are those of the whole run.
        source: `selection.open_source` of the experiment, if it is open already.
        caches: the experiment's decoded images (`selection.read`), if there are any; several runs may share them.
        workshop: that assembles networks for several runs of this process; default, for this run alone.
        reporter: says how it goes; default one on the console, silent in other workers than the first.
        tensorboard: write event files.
        profile: trace some steps for TensorBoard's profiler.

    Returns:
        The workdir, with the weights to evaluate in `checkpoints/final.npz` once the run is over; it is when the last
        epoch is done or early stopping ends it.

    Raises:
        UserError: for bad images or settings, a workdir of another experiment, training that diverges.
        ValueError: for images that were read under other settings, or an `until_epoch` below 1.
        Interrupted: after Ctrl-C or SIGTERM, once the state is saved.
        WorkerLostError: when another worker of a distributed run is gone.
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
        if workdir.final.is_file():
            reporter.say(f"{workdir.path}: this run has finished; nothing is left to train")
            return workdir

        def reading(name: str, done: int, total: int) -> None:
            interruption.check("nothing is lost")
            reporter.reading(name, done, total)

        saved = workdir.checkpoints.load_latest(reporter.say)
        if saved is not None and until_epoch is not None and _reached(until_epoch, settings, workdir, saved[2]):
            reporter.say(f"{workdir.path}: epoch {until_epoch} is done")
            return workdir
        build.check(settings, strategy.num_replicas_in_sync, afresh=saved is None)
        if caches is None:
            source = source or selection.open_source(settings)
            selection.check(settings, source)
            caches = selection.read(settings, reading, source=source)
        dataset = selection.choose(settings, caches)
        for note in dataset.notes:
            reporter.say(note)
        if dataset.skipped:
            reporter.say(f"left out {len(dataset.skipped)} corrupt images, the first {dataset.skipped[0]}")
        if saved is None:
            record = dataset.record()
            policy = precision.measured(settings, record, reporter, interruption)
        else:
            record = workdir.dataset()
            policy = saved[2]["precision"]
            if record["fingerprint"] != dataset.fingerprint:
                raise UserError(
                    f"the images of {settings.data.source} have changed since this run began; put them back, or give "
                    "another --workdir"
                )
        keras.mixed_precision.set_dtype_policy(policy)

        assembly = (workshop.assemble if workshop else assemble)(settings, record, strategy)
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
            stopping=EarlyStopping(settings.training.early_stopping_epochs),
            precision=policy,
            sums=assembly.step.task.no_sums(),
        )
        if saved is not None:
            path, arrays, kept = saved
            state.restore(arrays, kept)
            reporter.say(f"going on from step {state.step:,} ({path})")
        reporter.say(
            f"{settings.model.name} at {model.resolution}x{model.resolution}: {model.count_params():,} parameters, "
            f"{policy}, {len(dataset.train):,} training images, {pipeline.steps_per_epoch:,} steps an epoch"
        )
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
            run.go(until_epoch)
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            if distribution.worker_count() == 1:
                raise
            raise WorkerLostError("another worker is gone") from error
        finally:
            run.close()
    return workdir


METRICS = (
    *("epoch", "step", "train_loss", "train_accuracy", "learning_rate", "images_per_second", "input_wait", "seconds"),
    *("validation_loss", "validation_accuracy"),
)
"""The columns of a classifier's metrics.jsonl; the last two in the epochs that are validated. Other tasks have more."""


@dataclass(kw_only=True)
class _Run:
    """The epochs of one run, with what they share; only the chief, the first worker, writes files."""

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
            self.validation_batches = self._distributed(self.validation.evaluation_batches())

    def go(self, until_epoch: int | None) -> None:
        """Trains to the end, or the end of an epoch before it, epoch by epoch."""
        state = self.state
        if self.chief:
            self.workdir.rewind(state.step)
        if self.board:
            self.board.settings(self.settings)
        until = min(self.epochs, until_epoch or self.epochs)
        end = until * self.pipeline.steps_per_epoch
        batches = iter(self._distributed(self.pipeline.training_batches(until, state.step)))
        self.reporter.start(end, state.step, validates=self.validation is not None)
        while state.step < end and not state.stopping.exhausted:
            row = self._epoch(batches)
            if self._is_validated(row["epoch"]) or row["epoch"] == until:
                row |= self._validate()
            self._end_epoch(row)
            self.interruption.check(self._kept())
        if self.chief and (state.step == self.total_steps or state.stopping.exhausted):
            self._finish()

    def close(self) -> None:
        """Writes what the event files still lack."""
        if self.profiler:
            self.profiler.close()
            if not self.profiler.traced:
                self.reporter.say(f"--profile: no trace, which begins after {profiler.FIRST} steps of a process")
        if self.board:
            self.board.close()

    def _epoch(self, batches: Iterator[Batch]) -> dict[str, Any]:
        """Trains to the end of the present epoch; its metrics."""
        state, steps = self.state, self.pipeline.steps_per_epoch
        end = (state.step // steps + 1) * steps
        last_reading = last_saved = time.perf_counter()
        at_reading, unread = state.step, list[tf.Tensor]()
        while state.step < end:
            if self.profiler:
                self.profiler.step()
            asked = time.perf_counter()
            batch = next(batches)
            state.waited += time.perf_counter() - asked
            if state.step == 0 and self.board:
                images = self.strategy.experimental_local_results(batch["image"])[0]
                self.board.samples(images[:AUGMENTED_SAMPLES].numpy())
            unread.append(self.step.train(batch, step=state.step, learning_rate=state.schedule(state.step)))
            state.step += 1
            stop = self.interruption.signal_number is not None
            save = time.perf_counter() - last_saved > self.settings.training.checkpoint_seconds

            if stop or save or state.step == end or time.perf_counter() - last_reading > SECONDS_BETWEEN_READINGS:
                loss = self._read(unread)
                now = time.perf_counter()
                state.seconds += now - last_reading
                speed = (state.step - at_reading) * self.batch_size / (now - last_reading)
                last_reading, at_reading = now, state.step
                self.reporter.advance(state.step, speed, loss)
                if self.board:
                    self.board.training(state.step, loss, state.schedule(state.step - 1), speed)
            if (stop or save) and state.step < end:  # at the end there is more to do before the state is whole
                self._save()
                self.interruption.check(self._kept())
                last_reading = last_saved = time.perf_counter()

        row = {
            "epoch": state.step // steps,
            "step": state.step,
            **{f"train_{name}": mean for name, mean in self.step.task.means(state.sums).items()},
            "learning_rate": state.schedule(state.step - 1),
            "images_per_second": steps * self.batch_size / state.seconds,
            "input_wait": state.waited / state.seconds,
            "seconds": state.seconds,
        }
        state.sums, state.seconds, state.waited = self.step.task.no_sums(), 0.0, 0.0
        return row

    def _read(self, unread: list[tf.Tensor]) -> float:
        """Adds what the device has summed to the epoch's sums; the mean loss since the last reading.

        Raises:
            UserError: when it is not finite. The last checkpoint, written before, stays.
        """
        if not unread:
            return math.nan
        sums = np.sum([np.asarray(part, np.float64) for part in unread], axis=0)
        unread.clear()
        loss = self.step.task.means(sums)["loss"]
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        self.state.sums = self.state.sums + sums
        return loss

    def _is_validated(self, epoch: int) -> bool:
        """Whether the run measures the validation images after `epoch`, wherever a call of it may end."""
        return epoch % self.settings.training.validation_epochs == 0 or epoch == self.epochs

    def _validate(self) -> dict[str, float]:
        """Loss and measures of the validation images, with the averaged weights where there are such."""
        if self.validation is None:
            return {}
        average = self.state.average
        if average is not None:
            average.swap()
        sums = self.step.task.no_sums()
        for batch in self.validation_batches:
            sums += np.asarray(self.step.measure(batch), np.float64)
        if average is not None:
            average.swap()
        means = self.step.task.means(sums)
        if not math.isfinite(means["loss"]):
            raise self._diverged(f"the validation loss is {means['loss']}")
        return {f"validation_{name}": mean for name, mean in means.items()}

    def _end_epoch(self, row: dict[str, Any]) -> None:
        state, epoch = self.state, row["epoch"]
        # What a call measures at an end of its own changes nothing: the run would else depend on where it was cut.
        if self.validation is not None and self._is_validated(epoch):
            loss, passed = row["validation_loss"], (epoch - 1) % self.settings.training.validation_epochs + 1
            state.schedule.observe(loss, epochs=passed)
            if state.stopping.observe(loss, epochs=passed) and self.chief and self._keeps_best():
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
        # The last update can spoil the weights while its loss, taken before it, is still finite.
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise self._diverged(f"{name} holds numbers that are not finite")
        self.workdir.checkpoints.save(self.state.step, arrays, self.state.record())

    def _kept(self) -> str:
        if self.chief:
            return f"state saved at step {self.state.step:,}"
        return "this worker has stopped; the first one keeps the state, and the others wait for its return"

    def _diverged(self, what: str) -> UserError:
        epoch = (self.state.step - 1) // self.pipeline.steps_per_epoch + 1
        good = self.workdir.checkpoints.latest()
        kept = f"; the last good checkpoint is {good}" if good else ""
        return UserError(
            f"training diverged: {what} at step {self.state.step:,} (epoch {epoch}). Start again in a new --workdir "
            f"with a lower optimizer.learning_rate ({self.settings.optimizer.learning_rate:g} now), a warm-up "
            f"(schedule.warmup_epochs) or clipping (optimizer.clip_norm); the same command would end here again{kept}"
        )

    def _keeps_best(self) -> bool:
        return self.settings.training.keep == "best" or self.settings.training.early_stopping_epochs is not None

    def _finish(self) -> None:
        """Writes the weights that the config keeps."""
        if self._keeps_best():
            arrays, record = checkpoint.load(self.workdir.checkpoints.best)
        else:
            arrays, record = self.state.weights(), {"epoch": self.state.step // self.pipeline.steps_per_epoch}
        checkpoint.save(self.workdir.final, arrays, record)

    def _distributed(self, batches: tf.data.Dataset) -> Any:
        """`batches` (this worker's share of each) cut among this worker's devices, and on their way there."""
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            gpus = tf.config.list_logical_devices("GPU")
            return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name)) if gpus else batches
        local = replicas // distribution.worker_count()
        if local > 1:
            batches = batches.rebatch(self.batch_size // replicas)
        return self.strategy.distribute_datasets_from_function(lambda context: batches)


def _reached(until_epoch: int, settings: config.Experiment, workdir: Workdir, kept: dict[str, Any]) -> bool:
    """Whether the state of record `kept` leaves nothing to do up to the end of `until_epoch`."""
    stopping = EarlyStopping(settings.training.early_stopping_epochs)
    stopping.restore(kept["stopping"])
    # A run that is over, but was killed before its end, still has its final weights to write.
    over = stopping.exhausted or until_epoch >= settings.training.epochs
    return not over and workdir.epochs(kept["step"]) >= until_epoch
