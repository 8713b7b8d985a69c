"""The training loop: one for one device, several devices and several workers.

It reads from top to bottom: claim the workdir, open the images, build the network, go on from the last checkpoint if
there is one, then update, measure and save until the last epoch.
"""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.data.pipeline import Pipeline
from tfeff.errors import Interrupted, UserError, WorkerLostError
from tfeff.training import build, checkpoint, distribution, precision
from tfeff.training.averaging import Average
from tfeff.training.interruption import Interruption
from tfeff.training.progress import Reporter
from tfeff.training.state import State
from tfeff.training.step import Batch, Step
from tfeff.training.stopping import EarlyStopping
from tfeff.training.tensorboard import Board
from tfeff.training.workdir import Workdir

SECONDS_BETWEEN_READINGS = 1.0
"""How often the loss is fetched from the device, checked and shown; between readings steps follow each other freely."""
AUGMENTED_SAMPLES = 16
PROFILED_STEPS = range(10, 20)


def train(settings: config.Experiment, directory: str | Path, *, profile: bool = False) -> Workdir:
    """Trains the network of an experiment to its last epoch, from the last checkpoint if there is one.

    Args:
        settings: the experiment.
        directory: the workdir; see `tfeff.training.workdir` for what it will hold.
        profile: trace some steps for TensorBoard's profiler.

    Returns:
        The workdir, with the weights to evaluate in `checkpoints/final.npz`.

    Raises:
        UserError: for bad images or settings, a workdir of another experiment, a loss that is not finite.
        Interrupted: after Ctrl-C or SIGTERM, once the state is saved.
        WorkerLostError: when another worker of a distributed run is gone.
    """
    workdir = Workdir(directory)
    strategy = distribution.strategy(settings.training.strategy)
    chief = distribution.is_chief()
    reporter = Reporter(quiet=not chief)
    if chief:
        workdir.claim(settings)
    if workdir.final.is_file():
        reporter.say(f"{workdir.path}: this run has finished; nothing is left to train")
        return workdir
    keras.utils.set_random_seed(settings.seed)
    if settings.training.deterministic:
        tf.config.experimental.enable_op_determinism()

    with Interruption() as interruption, reporter.bars():

        def reading(name: str, done: int, total: int) -> None:
            interruption.check("no step was taken yet")
            reporter.reading(name, done, total)

        build.check(settings, strategy.num_replicas_in_sync)
        dataset = build.dataset(settings, reading)
        if dataset.skipped:
            reporter.say(f"left out {len(dataset.skipped)} corrupt images, the first {dataset.skipped[0]}")
        if chief:
            workdir.write_dataset(dataset.record())
        saved = workdir.checkpoints.load_latest(reporter.say)
        policy = saved[2]["precision"] if saved else _precision(settings, dataset)
        keras.mixed_precision.set_dtype_policy(policy)

        with strategy.scope():
            model = build.model(settings, dataset.record())
            optimizer = build.optimizer(settings, model, strategy.num_replicas_in_sync)
            decay = settings.training.ema_decay
            average = Average(model, decay) if decay is not None else None
        resolution = model.resolution
        worker = distribution.worker_index(), distribution.worker_count()
        pipeline = build.training_pipeline(settings, dataset.train, resolution, worker)
        held_out = dataset.validation
        validation = build.evaluation_pipeline(settings, held_out, resolution, worker) if held_out is not None else None
        state = State(
            model=model,
            optimizer=optimizer,
            average=average,
            schedule=build.schedule(settings, pipeline.steps_per_epoch),
            stopping=EarlyStopping(settings.training.early_stopping_epochs),
            precision=policy,
        )
        if saved is not None:
            path, arrays, record = saved
            state.restore(arrays, record)
            reporter.say(f"going on from step {state.step:,} ({path})")
        reporter.say(
            f"{settings.model.name} at {resolution}x{resolution}: {model.count_params():,} parameters, {policy}, "
            f"{len(dataset.train):,} training images, {pipeline.steps_per_epoch:,} steps an epoch"
        )
        run = _Run(settings, workdir, strategy, reporter, interruption, state, pipeline, validation, chief, profile)
        try:
            run.go()
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            if distribution.worker_count() == 1:
                raise
            raise WorkerLostError("another worker is gone") from error
    return workdir


class _Run:
    """The epochs of one run, with what they share."""

    def __init__(
        self,
        settings: config.Experiment,
        workdir: Workdir,
        strategy: tf.distribute.Strategy,
        reporter: Reporter,
        interruption: Interruption,
        state: State,
        pipeline: Pipeline,
        validation: Pipeline | None,
        chief: bool,
        profile: bool,
    ):
        self.settings, self.workdir, self.strategy, self.reporter = settings, workdir, strategy, reporter
        self.interruption, self.state, self.chief, self.profile = interruption, state, chief, profile
        self.pipeline, self.validation = pipeline, validation
        training = settings.training
        self.step = Step(
            state.model,
            state.optimizer,
            strategy,
            batch_size=training.batch_size,
            label_smoothing=training.label_smoothing,
            accumulation_steps=training.accumulation_steps,
            average=state.average,
            xla=training.xla,
        )
        self.total_steps = training.epochs * pipeline.steps_per_epoch
        self.board = Board(workdir.tensorboard) if chief else None

    def go(self) -> None:
        """Trains to the end, epoch by epoch."""
        state = self.state
        if self.chief:
            self.workdir.rewind(state.step)
        if self.board:
            self.board.settings(self.settings)
        batches = self._batches()
        self.reporter.start(self.total_steps, state.step)
        while state.step < self.total_steps and not state.stopping.exhausted:
            row = self._epoch(batches)
            row |= self._validate()
            self._end_epoch(row)
            self.interruption.check(f"state saved at step {state.step:,}")
        if self.chief:
            self._finish()
        if self.board:
            self.board.close()

    def _epoch(self, batches: Iterator[Batch]) -> dict[str, Any]:
        """Trains to the end of the present epoch; its metrics."""
        state, steps = self.state, self.pipeline.steps_per_epoch
        end = (state.step // steps + 1) * steps
        began = last_reading = last_saved = time.perf_counter()
        first, at_reading, waited, unread = state.step, state.step, 0.0, []
        while state.step < end:
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            if state.step == 0 and self.board and self.strategy.num_replicas_in_sync == 1:
                self.board.samples(batch["image"][:AUGMENTED_SAMPLES].numpy())
            if self.profile:
                self._profile()
            unread.append(self.step.train(batch, step=state.step, learning_rate=state.schedule(state.step)))
            state.step += 1

            now = time.perf_counter()
            if now - last_reading > SECONDS_BETWEEN_READINGS or state.step == end or self.interruption.signal_number:
                loss = self._read(unread)
                speed = (state.step - at_reading) * self.settings.training.batch_size / (now - last_reading)
                last_reading, at_reading = now, state.step
                self.reporter.advance(state.step, speed, loss)
                if self.board:
                    self.board.training(state.step, loss, state.schedule(state.step - 1), speed)
            if self.interruption.signal_number:
                self._save()
                raise Interrupted(self.interruption.signal_number, f"state saved at step {state.step:,}")
            if now - last_saved > self.settings.training.checkpoint_seconds and state.step < end:
                self._read(unread)
                self._save()
                last_saved = now

        seconds = time.perf_counter() - began
        loss, right, images = state.sums
        state.sums = np.zeros(3)
        return {
            "epoch": state.step // steps,
            "step": state.step,
            "train_loss": loss / images,
            "train_accuracy": right / images,
            "learning_rate": state.schedule(state.step - 1),
            "images_per_second": (state.step - first) * self.settings.training.batch_size / seconds,
            "input_wait": waited / seconds,
            "seconds": seconds,
        }

    def _read(self, unread: list[tf.Tensor]) -> float:
        """Adds what the device has summed to the epoch's sums; the mean loss since the last reading.

        Raises:
            UserError: when it is not finite. The last checkpoint, written before, stays.
        """
        if not unread:
            return math.nan
        sums = np.sum([np.asarray(part, np.float64) for part in unread], axis=0)
        unread.clear()
        loss = float(sums[0] / sums[2])
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        self.state.sums = self.state.sums + sums
        return loss

    def _validate(self) -> dict[str, float]:
        """Loss and accuracy of the validation images, with the averaged weights where there are such."""
        if self.validation is None:
            return {}
        average = self.state.average
        if average is not None:
            average.swap()
        sums = np.zeros(3)
        for batch in self._distributed(self.validation.evaluation_batches()):
            sums += np.asarray(self.step.measure(batch), np.float64)
        if average is not None:
            average.swap()
        return {"validation_loss": sums[0] / sums[2], "validation_accuracy": sums[1] / sums[2]}

    def _end_epoch(self, row: dict[str, Any]) -> None:
        state = self.state
        if self.validation is not None:
            state.schedule.observe(row["validation_loss"])
            if state.stopping.observe(row["validation_loss"]) and self.chief:
                self.workdir.checkpoints.save_best(state.weights(), {"epoch": row["epoch"]})
        if self.chief:
            self.workdir.append_row(row)
        self._save()
        if self.board:
            self.board.epoch(row)
        self.reporter.epoch(row, self.settings.training.epochs)

    def _save(self) -> None:
        if self.chief:
            arrays = self.state.arrays()
            # The last update can spoil the weights while its loss, taken before it, is still finite.
            for name, array in arrays.items():
                if not np.isfinite(array).all():
                    raise self._diverged(f"{name} holds numbers that are not finite")
            self.workdir.checkpoints.save(self.state.step, arrays, self.state.record())

    def _diverged(self, what: str) -> UserError:
        epoch = (self.state.step - 1) // self.pipeline.steps_per_epoch + 1
        good = self.workdir.checkpoints.latest()
        kept = f"; the last good checkpoint is {good}" if good else ""
        return UserError(
            f"training diverged: {what} at step {self.state.step:,} (epoch {epoch}). Start again in a new --workdir "
            f"with a lower optimizer.learning_rate ({self.settings.optimizer.learning_rate:g} now), a warm-up "
            f"(schedule.warmup_epochs) or clipping (optimizer.clip_norm); the same command would end here again{kept}"
        )

    def _finish(self) -> None:
        """Writes the weights that the config keeps."""
        training = self.settings.training
        keep_best = training.keep == "best" or training.early_stopping_epochs is not None
        if keep_best and self.workdir.checkpoints.best.is_file():
            checkpoint.save(self.workdir.final, *checkpoint.load(self.workdir.checkpoints.best))
        else:
            checkpoint.save(self.workdir.final, self.state.weights(), {"step": self.state.step})

    def _batches(self) -> Iterator[Batch]:
        epochs = self.settings.training.epochs
        return iter(self._distributed(self.pipeline.training_batches(epochs, self.state.step)))

    def _distributed(self, batches: tf.data.Dataset) -> Any:
        """`batches` (this worker's share of each) cut among this worker's devices."""
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return batches
        local = replicas // distribution.worker_count()
        if local > 1:
            batches = batches.rebatch(self.settings.training.batch_size // replicas)
        return self.strategy.distribute_datasets_from_function(lambda context: batches)

    def _profile(self) -> None:
        if self.state.step == PROFILED_STEPS.start:
            tf.profiler.experimental.start(str(self.workdir.tensorboard))
        if self.state.step == PROFILED_STEPS.stop:
            tf.profiler.experimental.stop()


def _precision(settings: config.Experiment, dataset: build.Dataset) -> str:
    """The dtype policy of a run that starts afresh."""

    def make_step() -> Any:
        model = build.model(settings, dataset.record())
        optimizer = build.optimizer(settings, model, 1)
        batch_size = settings.training.batch_size
        step = Step(model, optimizer, tf.distribute.get_strategy(), batch_size=batch_size)
        shape = (batch_size, model.resolution, model.resolution, settings.data.channels)
        batch = {
            "image": tf.random.uniform(shape, 0, 255),
            "label": tf.one_hot(tf.zeros(batch_size, tf.int32), len(dataset.class_names)),
            "weight": tf.ones(batch_size),
        }
        return lambda: step.train(batch, step=0, learning_rate=0.0).numpy()

    training = settings.training
    return precision.choose(training.precision, deterministic=training.deterministic, make_step=make_step)
