"""Functions that run in worker processes: each call is self-contained and returns plain values."""

import dataclasses
import functools
import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, selection, training
from tfeff.data.input.statistics import channel_statistics
from tfeff.errors import DivergedError, NoRoomError
from tfeff.execution.local import on_all_cores, shared_directory
from tfeff.models.network import in_policy
from tfeff.training.assembly import AssemblyCache
from tfeff.training.interruption import Interruption
from tfeff.training.latency import latencies
from tfeff.training.plan import Plan
from tfeff.training.precision import select_policy
from tfeff.training.progress import Reporter
from tfeff.training.stored import FeatureCache
from tfeff.training.tensorboard import Board
from tfeff.trials.results import TrialObjective
from tfeff.trials.trial import Trial, result_row

TIMED_STEPS = 12
_LOG = logging.getLogger(__name__)


def train(trial: Trial, directory: str, until_epoch: int, events: str) -> dict[str, Any]:
    """Trains one trial up to an epoch, resuming from its last checkpoint; after the last epoch, writes events files.

    Returns:
        `rows`, one mapping per epoch; `seconds`, with the epochs of earlier attempts; `peak_bytes`, the peak device
        memory of TensorFlow's allocator minus what it held before, or None if the allocator does not report it.
    """
    started, before_rows = time.perf_counter(), training.Workdir(directory).rows()
    images = split_caches(trial)
    before = _reset_peak()

    def trained() -> training.Workdir:
        return training.train(
            trial.experiment,
            directory,
            until_epoch=until_epoch,
            caches=images,
            assemblies=_assemblies(),
            features=_features(),
            reporter=Reporter(quiet=True),
            tensorboard=False,
        )

    workdir = trained()
    if not workdir.has_all_rows():  # damaged after an interruption; the best epoch could be among those that are lost
        shutil.rmtree(directory)
        workdir = trained()
    peak = _device_memory("peak")
    rows = workdir.rows()
    if rows and workdir.final.is_file():
        board = Board(Path(events))
        board.settings(config.flatten(trial.experiment), Plan.opened(workdir).task)
        for row in rows:
            board.epoch(row)
        board.result(rows[-1]["step"], {}, {})
        board.close()
    return {
        "rows": rows,
        "seconds": time.perf_counter() - started + resumed_seconds(before_rows, rows),
        "peak_bytes": None if before is None or peak is None else peak - before,
    }


def resumed_seconds(before: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> float:
    """Returns the seconds of the epochs that a resumed training did not repeat.

    Args:
        before: the rows of metrics when it resumed, also of epochs after its checkpoint, which it repeats.
        rows: those at its end.
    """
    return sum(float(row["seconds"]) for row in rows if row in before)


def training_statistics(trial: Trial) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Computes per-channel mean and standard deviation of all training images."""
    mean, std = channel_statistics(split_caches(trial).train)
    return tuple(map(float, mean)), tuple(map(float, std))


def range_test(trial: Trial) -> float:
    """Returns the learning rate suggested by a learning-rate range test."""
    images = split_caches(trial)
    keras.backend.clear_session()
    return training.range_test(Plan.of(trial.experiment), images).rate


def held_out(trial: Trial, objective: TrialObjective, macs: int, directory: str) -> tuple[float | None, str | None]:
    """Returns the objective after a training; see `config.Trials.learning_rate`.

    Args:
        trial: the training, with the learning rate to try.
        directory: workdir of the training; an interrupted call resumes from it.

    Returns:
        The objective, or None and an error if the training diverged.
    """
    try:
        rows = train(trial, directory, trial.experiment.training.epochs, str(Path(directory) / "tensorboard"))["rows"]
    except DivergedError as error:
        return None, str(error)
    found = objective.value(result_row(trial.experiment.training, rows), macs)
    return (found, None) if math.isfinite(found) else (None, f"{objective.metric} is {found}")


def fastest_precision(trial: Trial) -> str:
    """Returns the precision that `precision=auto` selects on this machine."""
    plan = Plan.of(trial.experiment)
    images = selection.choose(plan.images, split_caches(trial))
    keras.backend.clear_session()
    return select_policy(plan.learned(plan.measured(images)[0]), Reporter(quiet=True), Interruption())


def calibrate(trial: Trial) -> dict[str, float]:
    """Times a training run on this machine.

    Returns:
        `start`: seconds until the first step is done, excluding image reading; `image`: seconds per image after that.
    """
    plan = Plan.of(trial.experiment)
    images = selection.choose(plan.images, split_caches(trial))
    keras.backend.clear_session()
    plan = plan.learned(plan.measured(images)[0])
    started = time.perf_counter()
    with in_policy("float32" if plan.precision == "auto" else plan.precision):
        model = plan.build_network()
        step = plan.build_step(model, plan.build_optimizer(model))
    pipeline = plan.training_pipeline(images.train, model.size)
    batches = iter(pipeline.training_batches(epochs=TIMED_STEPS + 1))
    first = next(batches)
    for number in [0] if step.resolutions is None else step.resolutions.first_steps():  # each is compiled
        step.train(first, step=number, learning_rate=0.0).numpy()
    start = time.perf_counter() - started
    started = time.perf_counter()
    for done in range(1, TIMED_STEPS):
        step.train(next(batches), step=done, learning_rate=0.0)
    step.train(next(batches), step=TIMED_STEPS, learning_rate=0.0).numpy()
    return {"start": start, "image": (time.perf_counter() - started) / TIMED_STEPS / pipeline.batch_size}


def latency(trial: Trial, reference: Trial, num_classes: int) -> tuple[float, float]:
    """Times the prediction of one image, in a compiled graph on the cores of this process.

    The two networks are timed alternately, so that other load on the machine slows both.

    Returns:
        Median seconds of the network of `trial`, and the median ratio to `reference`; both in float32, as exported.
    """
    keras.backend.clear_session()
    record = {"mean": [], "std": [], "class_names": [str(index) for index in range(num_classes)]}
    with in_policy("float32"):
        networks = [Plan.of(each.experiment).learned(record).build_network() for each in (trial, reference)]
    seconds = latencies(*networks)
    return float(np.median(seconds[:, 0])), float(np.median(seconds[:, 0] / seconds[:, 1]))


@functools.cache
def _assemblies() -> AssemblyCache:
    return AssemblyCache()


@functools.cache
def _features() -> FeatureCache:
    return FeatureCache(size=1 << 30)


@functools.lru_cache(maxsize=2)  # learning rates may be chosen without the split that trials are validated on
def _split_caches(trial: Trial) -> selection.SplitCaches:
    return _read(trial)


def split_caches(trial: Trial) -> selection.SplitCaches:
    """Returns the images of a trial, read once per process, independent of fold and network."""
    experiment = trial.experiment
    whole = dataclasses.replace(
        experiment.data,
        folds=2,  # trials validate on folds, never on the source's own validation split unless the config names it
        fold=0,
        fold_examples=None if experiment.data.validation_split is None else 1,
        train_examples=None,
        test_split=None,
        on_defect="report",  # `open_images` has checked what is lost, also with the names of other splits
        max_lost=1.0,
        seed=selection.request(experiment).seed,
    )
    task = experiment.task.for_reading()
    model = config.architecture(experiment.model.name, resolution=task.published_resolution)
    return _split_caches(Trial(config.Experiment(task=task, data=whole, model=model)))


def _read(trial: Trial) -> selection.SplitCaches:
    """Reads the images of a trial.

    Those to be kept in memory are mapped from a file if several processes of this machine need them: one of them
    decodes, and the memory holds them once. Without a cache, they share the list of corrupt images.
    """
    experiment, shared = trial.experiment, shared_directory()

    def read(data: config.Data) -> selection.SplitCaches:
        wanted = selection.request(dataclasses.replace(experiment, data=data), shared)
        return selection.read(wanted, lambda name, done, total: None)

    data = experiment.data
    if shared is None or data.cache != "memory" or experiment.task.CUTS_REGIONS:
        return read(data)
    try:
        with on_all_cores():
            return read(dataclasses.replace(data, cache="disk", cache_directory=str(shared)))
    except NoRoomError:
        _LOG.warning("%s: no room for the decoded images; each process decodes them into its memory", shared.parent)
        return read(data)


def _reset_peak() -> int | None:
    """Resets the device's peak memory; returns the bytes in use."""
    try:
        tf.config.experimental.reset_memory_stats(_device())
    except ValueError:
        return None
    return _device_memory("current")


def _device_memory(key: str) -> int | None:
    """Returns bytes of TensorFlow's allocator, `current` or `peak`; None if the allocator does not report them."""
    try:
        return int(tf.config.experimental.get_memory_info(_device())[key])
    except ValueError:
        return None


def _device() -> str:
    return "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
