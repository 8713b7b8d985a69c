"""What the worker processes do: each function runs whole in one process and returns plain values."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, training
from tfeff.data.images.statistics import channel_statistics
from tfeff.training import build
from tfeff.training.assembly import AssemblyCache
from tfeff.training.interruption import Interruption
from tfeff.training.precision import select_policy
from tfeff.training.progress import Reporter
from tfeff.training.tensorboard import Board

TIMED_STEPS = 12
WARM_UP_ROUNDS, LATENCY_ROUNDS = 3, 30


def train(experiment: config.Experiment, directory: str, until_epoch: int, board: str) -> dict[str, Any]:
    """Trains one trial to an epoch, from its last checkpoint if it has one.

    Args:
        experiment: the trial.
        directory: its workdir.
        until_epoch: where to stop for now.
        board: directory of the event files that a training writes which reaches its last epoch.

    Returns:
        `rows`, a mapping an epoch; `seconds`; `peak_bytes`, the most that TensorFlow's allocator held on the device
        beyond what it held before, or None where it does not say.
    """
    began = time.perf_counter()
    images = stores(experiment)
    before = _reset_peak()
    workdir = training.train(
        experiment,
        directory,
        until_epoch=until_epoch,
        stores=images,
        assemblies=_assemblies(),
        reporter=Reporter(quiet=True),
        tensorboard=False,
    )
    peak = _device_memory("peak")
    rows = workdir.rows()
    if rows and workdir.final.is_file():
        events = Board(Path(board))
        events.settings(experiment)
        for row in rows:
            events.epoch(row)
        events.result(rows[-1]["step"], {}, {})
        events.close()
    return {
        "rows": rows,
        "seconds": time.perf_counter() - began,
        "peak_bytes": None if before is None or peak is None else peak - before,
    }


def statistics_of(experiment: config.Experiment) -> tuple[list[float], list[float]]:
    """Per-channel mean and deviation of all training images."""
    mean, std = channel_statistics(stores(experiment).train)
    return list(map(float, mean)), list(map(float, std))


def range_test(experiment: config.Experiment) -> float:
    """The learning rate that suits a network."""
    images = stores(experiment)
    keras.backend.clear_session()
    return training.range_test(experiment, images)


def precision(experiment: config.Experiment) -> str:
    """What `precision=auto` comes to here."""
    images = build.dataset(experiment, stores(experiment))
    keras.backend.clear_session()
    return select_policy(experiment, images.record(), Reporter(quiet=True), Interruption())


def calibrate(experiment: config.Experiment) -> dict[str, float]:
    """What a training costs here.

    Returns:
        `start`: seconds until the first step is done, image reading aside; `image`: seconds an image after that.
    """
    images = build.dataset(experiment, stores(experiment))
    keras.backend.clear_session()
    policy = experiment.training.precision
    keras.mixed_precision.set_dtype_policy("float32" if policy == "auto" else policy)
    began = time.perf_counter()
    model = build.model(experiment, images.record())
    strategy = tf.distribute.get_strategy()
    step = build.step(experiment, model, strategy, build.optimizer(experiment, model, 1))
    pipeline = build.training_pipeline(experiment, images.train, model.resolution, (0, 1))
    batches = iter(pipeline.training_batches(epochs=TIMED_STEPS + 1))
    step.train(next(batches), step=0, learning_rate=0.0).numpy()
    start = time.perf_counter() - began
    began = time.perf_counter()
    for done in range(1, TIMED_STEPS):
        step.train(next(batches), step=done, learning_rate=0.0)
    step.train(next(batches), step=TIMED_STEPS, learning_rate=0.0).numpy()
    return {"start": start, "image": (time.perf_counter() - began) / TIMED_STEPS / pipeline.batch_size}


def latency(section: config.Model, start: config.Model, num_classes: int, channels: int) -> tuple[float, float]:
    """Seconds that the prediction of one image takes, in a compiled graph on the cores of this process.

    The network and the baseline are timed in turn, so that what else the machine does slows both.

    Returns:
        Median seconds of the network `section`, and the median of its ratios to `start`; both in float32, as exported.
    """
    keras.backend.clear_session()
    keras.mixed_precision.set_dtype_policy("float32")
    predictions = [_prediction(network, num_classes, channels) for network in (section, start)]
    rounds = []
    for done in range(WARM_UP_ROUNDS + LATENCY_ROUNDS):
        seconds = []
        for prediction in predictions:
            began = time.perf_counter()
            prediction()
            seconds.append(time.perf_counter() - began)
        if done >= WARM_UP_ROUNDS:
            rounds.append(seconds)
    return statistics.median(own for own, _ in rounds), statistics.median(own / other for own, other in rounds)


def _prediction(section: config.Model, num_classes: int, channels: int) -> Callable[[], object]:
    """Predicts one image with a network, to the end."""
    settings = config.Experiment(model=section, data=config.Data(channels=channels))
    model = build.model(settings, {"mean": [], "std": [], "class_names": [str(index) for index in range(num_classes)]})
    forward = tf.function(lambda images: model(images, training=False), jit_compile=False)
    shape = (1, model.resolution, model.resolution, channels)
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, shape), tf.float32)
    return lambda: np.asarray(forward(image))


@functools.cache
def _assemblies() -> AssemblyCache:
    return AssemblyCache()


@functools.lru_cache(maxsize=1)
def _stores(experiment: config.Experiment) -> build.Stores:
    return build.stores(experiment, lambda name, done, total: None)


def stores(experiment: config.Experiment) -> build.Stores:
    """The images of an experiment, read once a process whatever the fold and the network."""
    whole = dataclasses.replace(
        experiment.data,
        folds=None,
        fold=0,
        fold_examples=None,
        train_examples=None,
        validation_fraction=0.0,
        mean=None,
        std=None,
        test_split=None,
        plain_epochs=0,
        seed=build.data_seed(experiment),
    )
    return _stores(config.Experiment(data=whole, model=config.Model(name=experiment.model.name)))


def _reset_peak() -> int | None:
    """Starts the record of the device's peak memory anew; bytes that it holds now."""
    try:
        tf.config.experimental.reset_memory_stats(_device())
    except ValueError:
        return None
    return _device_memory("current")


def _device_memory(key: str) -> int | None:
    """What TensorFlow's allocator says: bytes held now (`current`) or at most (`peak`); not all allocators count."""
    try:
        return int(tf.config.experimental.get_memory_info(_device())[key])
    except ValueError:
        return None


def _device() -> str:
    return "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
