"""Functions that run in worker processes: each call is self-contained and returns plain values."""

import dataclasses
import functools
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, training
from tfeff.data.input.statistics import channel_statistics
from tfeff.errors import DivergedError
from tfeff.training import build, selection
from tfeff.training.assembly import AssemblyCache
from tfeff.training.features import FeatureCache
from tfeff.training.interruption import Interruption
from tfeff.training.latency import latencies
from tfeff.training.precision import select_policy
from tfeff.training.progress import Reporter
from tfeff.training.tensorboard import Board
from tfeff.trials.objective import Objective
from tfeff.trials.trial import result_row

TIMED_STEPS = 12


def train(experiment: config.Experiment, directory: str, until_epoch: int, events: str) -> dict[str, Any]:
    """Trains one trial up to an epoch, resuming from its last checkpoint.

    Args:
        experiment: the trial.
        directory: its workdir.
        until_epoch: epoch to stop at.
        events: directory of the TensorBoard event files, written once the last epoch is reached.

    Returns:
        `rows`, one mapping per epoch; `seconds`; `peak_bytes`, the peak device memory of TensorFlow's allocator minus
        what it held before, or None if the allocator does not report it.
    """
    started = time.perf_counter()
    images = split_caches(experiment)
    before = _reset_peak()
    workdir = training.train(
        experiment,
        directory,
        until_epoch=until_epoch,
        caches=images,
        assemblies=_assemblies(),
        features=_features(),
        reporter=Reporter(quiet=True),
        tensorboard=False,
    )
    peak = _device_memory("peak")
    rows = workdir.rows()
    if rows and workdir.final.is_file():
        board = Board(Path(events))
        board.settings(config.flatten(experiment))
        for row in rows:
            board.epoch(row)
        board.result(rows[-1]["step"], {}, {})
        board.close()
    return {
        "rows": rows,
        "seconds": time.perf_counter() - started,
        "peak_bytes": None if before is None or peak is None else peak - before,
    }


def training_statistics(experiment: config.Experiment) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation of all training images."""
    mean, std = channel_statistics(split_caches(experiment).train)
    return list(map(float, mean)), list(map(float, std))


def range_test(experiment: config.Experiment) -> float:
    """The learning rate suggested by a learning-rate range test."""
    images = split_caches(experiment)
    keras.backend.clear_session()
    return training.range_test(experiment, images, _features()).rate


def held_out(
    experiment: config.Experiment, objective: Objective, macs: int, directory: str
) -> tuple[float | None, str | None]:
    """The objective after a training; see `config.Trials.learning_rate`.

    Args:
        experiment: the training, with the learning rate to try.
        objective: maps metrics to the value that is compared.
        macs: multiply-adds of the network.
        directory: workdir of the training; an interrupted call resumes from it.

    Returns:
        The objective, or None and an error if the training diverged.
    """
    try:
        rows = train(experiment, directory, experiment.training.epochs, str(Path(directory) / "tensorboard"))["rows"]
    except DivergedError as error:
        return None, str(error)
    found = objective.value(result_row(experiment.training, rows), macs)
    return (found, None) if math.isfinite(found) else (None, f"{objective.metric} is {found}")


def fastest_precision(experiment: config.Experiment) -> str:
    """The precision that `precision=auto` selects on this machine."""
    images = selection.choose(experiment, split_caches(experiment))
    keras.backend.clear_session()
    return select_policy(experiment, images.record(), Reporter(quiet=True), Interruption())


def calibrate(experiment: config.Experiment) -> dict[str, float]:
    """Times a training run on this machine.

    Returns:
        `start`: seconds until the first step is done, excluding image reading; `image`: seconds per image after that.
    """
    images = selection.choose(experiment, split_caches(experiment))
    keras.backend.clear_session()
    policy = experiment.training.precision
    keras.mixed_precision.set_dtype_policy("float32" if policy == "auto" else policy)
    started = time.perf_counter()
    model = build.model(experiment, images.record())
    strategy = tf.distribute.get_strategy()
    step = build.step(experiment, model, strategy, build.optimizer(experiment, model, 1))
    pipeline = build.training_pipeline(experiment, images.train, model.size, (0, 1))
    batches = iter(pipeline.training_batches(epochs=TIMED_STEPS + 1))
    step.train(next(batches), step=0, learning_rate=0.0).numpy()
    start = time.perf_counter() - started
    started = time.perf_counter()
    for done in range(1, TIMED_STEPS):
        step.train(next(batches), step=done, learning_rate=0.0)
    step.train(next(batches), step=TIMED_STEPS, learning_rate=0.0).numpy()
    return {"start": start, "image": (time.perf_counter() - started) / TIMED_STEPS / pipeline.batch_size}


def latency(settings: config.Experiment, reference: config.Experiment, num_classes: int) -> tuple[float, float]:
    """Times the prediction of one image, in a compiled graph on the cores of this process.

    The two networks are timed alternately, so that other load on the machine slows both.

    Returns:
        Median seconds of the network of `settings`, and the median ratio to `reference`; both in float32, as exported.
    """
    keras.backend.clear_session()
    keras.mixed_precision.set_dtype_policy("float32")
    record = {"mean": [], "std": [], "class_names": [str(index) for index in range(num_classes)]}
    seconds = latencies(*(build.model(each, record) for each in (settings, reference)))
    return float(np.median(seconds[:, 0])), float(np.median(seconds[:, 0] / seconds[:, 1]))


@functools.cache
def _assemblies() -> AssemblyCache:
    return AssemblyCache()


@functools.cache
def _features() -> FeatureCache:
    return FeatureCache(size=1 << 30)


@functools.lru_cache(maxsize=2)  # learning rates may be chosen without the split that trials are validated on
def _split_caches(experiment: config.Experiment) -> selection.SplitCaches:
    return selection.read(experiment, lambda name, done, total: None)


def split_caches(experiment: config.Experiment) -> selection.SplitCaches:
    """The images of an experiment, read once per process, independent of fold and network."""
    whole = dataclasses.replace(
        experiment.data,
        folds=2,  # trials validate on folds, never on the source's own validation split unless the config names it
        fold=0,
        fold_examples=None if experiment.data.validation_split is None else 1,
        train_examples=None,
        mean=None,
        std=None,
        test_split=None,
        seed=selection.data_seed(experiment),
    )
    task, model = experiment.task.for_reading(), config.Model(name=experiment.model.name)
    return _split_caches(config.Experiment(task=task, data=whole, model=model))


def _reset_peak() -> int | None:
    """Resets the device's peak memory; returns the bytes in use."""
    try:
        tf.config.experimental.reset_memory_stats(_device())
    except ValueError:
        return None
    return _device_memory("current")


def _device_memory(key: str) -> int | None:
    """Bytes of TensorFlow's allocator, `current` or `peak`; None if the allocator does not report them."""
    try:
        return int(tf.config.experimental.get_memory_info(_device())[key])
    except ValueError:
        return None


def _device() -> str:
    return "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
