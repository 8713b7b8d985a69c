"""TensorBoard event files of a run."""

import math
import os
import socket
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2, summary

from tfeff.tasks.task import Batch, Task
from tfeff.training.loop import Hook, Loop, Row

LEADING = (
    "model.name",
    "model.resolution",
    "model.width_coefficient",
    "model.depth_coefficient",
    "optimizer.learning_rate",
    "training.batch_size",
    "training.epochs",
)
"""Settings shown first in the HParams table; by default, TensorBoard shows five columns."""
AUGMENTED_SAMPLES = 16
"""Number of augmented training images shown."""
MOST_VALUES = 250_000
"""Values of a histogram."""
SAMPLE_SIDE = 96
"""Minimum side of a sample image, in pixels."""


class Board:
    """The event files of a run.

    Args:
        directory: their directory.
        step: step at which training starts or resumes; TensorBoard then hides later steps of older files. None: append
            without training.
    """

    def __init__(self, directory: Path, step: int | None = None):
        if step is not None:
            _begin(directory, step)
        self._writer = tf.summary.create_file_writer(str(directory))

    def settings(self, config: Mapping[str, Any], task: Task) -> None:
        """Writes the config, values by dotted key, as HParams, for comparing runs, and as a table.

        Args:
            config: the values.
            task: its metrics are columns of the HParams table.
        """
        values = {key: _plain(value) for key, value in config.items()}
        table = summary.experiment_pb(
            # TensorBoard shows columns that differ between runs first, but cannot know them when there is one run.
            [api_pb2.HParamInfo(name=key, differs=key in LEADING) for key in values],
            [hparams.Metric(tag, display_name=name).as_proto() for tag, name in compared(task).items()],
        )
        with self._writer.as_default(step=0):
            tf.summary.experimental.write_raw_pb(table.SerializeToString(), step=0)
            hparams.hparams(values)
            rows = "".join(f"| {key} | `{value}` |\n" for key, value in values.items())
            tf.summary.text("config", f"| key | value |\n|---|---|\n{rows}")

    def graph(self, network: keras.Model) -> None:
        """Writes the graph of a network."""
        inputs = [tf.TensorSpec(each.shape, each.dtype) for each in network.inputs]
        traced = tf.function(partial(network, training=False), autograph=False)
        with self._writer.as_default(step=0):
            tf.summary.graph(traced.get_concrete_function(inputs if len(inputs) > 1 else inputs[0]).graph)

    def histograms(self, step: int, values: Mapping[str, tf.Tensor]) -> None:
        """Writes histograms by tag, each of at most `MOST_VALUES`, evenly spaced: one takes 240 bytes of memory."""
        with self._writer.as_default(step=step), tf.device("CPU"):
            for name, value in values.items():
                flat = tf.reshape(value, [-1])
                tf.summary.histogram(name, flat[:: -(-flat.shape[0] // MOST_VALUES)])

    def samples(self, images: np.ndarray) -> None:
        """Writes a grid of augmented images, float32 [n, h, w, c] in [0, 255]."""
        with self._writer.as_default(step=0):
            tf.summary.image("train/augmented_samples", sheet(images)[None])

    def training(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        """Writes training progress within an epoch."""
        with self._writer.as_default(step=step):
            tf.summary.scalar("train/loss_by_step", loss)
            tf.summary.scalar("train/learning_rate", learning_rate)
            tf.summary.scalar("throughput/images_per_second", images_per_second)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars by tag."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def epoch(self, row: dict[str, Any]) -> None:
        """Writes the metrics of an epoch; `train_loss` becomes `train/loss`."""
        with self._writer.as_default(step=row["step"]):
            for key, value in row.items():
                group, _, name = key.partition("_")
                if group in ("train", "validation"):
                    tf.summary.scalar(f"{group}/{name}", value)
            tf.summary.scalar("throughput/input_wait", row["input_wait"])
        self._writer.flush()

    def result(self, step: int, metrics: dict[str, float], figures: dict[str, np.ndarray]) -> None:
        """Writes the final metrics and figures, uint8 [h, w, 3 or 4] by tag, and marks the run as complete."""
        with self._writer.as_default(step=step):
            for name, value in metrics.items():
                tf.summary.scalar(name, value)
            for name, pixels in figures.items():
                tf.summary.image(name, pixels[None])
            end = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
            tf.summary.experimental.write_raw_pb(end.SerializeToString(), step=0)

    def images(self, images: Mapping[str, np.ndarray]) -> None:
        """Writes images without a step, uint8 [h, w, 3 or 4] by tag."""
        with self._writer.as_default(step=0):
            for name, pixels in images.items():
                tf.summary.image(name, pixels[None])

    def texts(self, texts: Mapping[str, str]) -> None:
        """Writes Markdown by tag."""
        with self._writer.as_default(step=0):
            for name, text in texts.items():
                tf.summary.text(name, text)

    def close(self) -> None:
        """Flushes and closes the files."""
        self._writer.close()


class Events(Hook):
    """Hook that writes the config, augmented samples, progress and metrics of a run as event files.

    Args:
        directory: their directory.
        step: step at which training starts or resumes.
        config: values by dotted key.
        histograms: epochs between histograms of weights and gradients; the graph of the network is written, too. 0:
            neither.
    """

    def __init__(self, directory: Path, step: int, config: Mapping[str, Any], histograms: int = 0) -> None:
        self._board, self._config, self._histograms = Board(directory, step), config, histograms

    def start(self, loop: Loop) -> None:
        """Writes the config, and the graph."""
        self._board.settings(self._config, loop.step.task)
        if self._histograms and loop.state.step == 0:
            self._board.graph(loop.step.model)

    def step(self, loop: Loop, batch: Batch) -> None:
        """Writes samples of the first batch, and histograms at the start of an epoch."""
        if loop.state.step == 0 and loop.step.reads_images:
            images = loop.step.strategy.experimental_local_results(batch["image"])[0]
            self._board.samples(images[:AUGMENTED_SAMPLES].numpy())
        epoch, first = divmod(loop.state.step, loop.pipeline.steps_per_epoch)
        if self._histograms and first == 0 and epoch % self._histograms == 0:
            gradients = {f"gradients/{name}": each for name, each in loop.step.gradients(batch).items()}
            self._board.histograms(loop.state.step, weights(loop) | gradients)

    def finish(self, loop: Loop) -> None:
        """Writes histograms of the last weights."""
        if self._histograms:
            self._board.histograms(loop.state.step, weights(loop))

    def log(self, loop: Loop, loss: float, images_per_second: float) -> None:
        """Writes progress."""
        step = loop.state.step
        self._board.training(step, loss, loop.state.schedule(step - 1), images_per_second)

    def epoch(self, loop: Loop, row: Row) -> None:
        """Writes metrics."""
        self._board.epoch(row)

    def close(self, loop: Loop) -> None:
        """Closes the files."""
        self._board.close()


def weights(loop: Loop) -> dict[str, tf.Tensor]:
    """Returns the trainable variables of the network, by tag."""
    return {f"weights/{variable.path}": variable.value for variable in loop.step.model.trainable_variables}


def compared(task: Task) -> dict[str, str]:
    """Returns the metrics of a task in the HParams table: tag of the scalar -> column title."""
    validated = [f"validation/{name}" for name in (*task.metrics, *task.scores, "loss")]
    tested = [f"test/{name}" for name in (*task.metrics, *task.scores) if name not in task.tuned]
    tags = (*tested, *validated, *(f"train/{name}" for name in task.metrics), "throughput/images_per_second")
    return {tag: tag.replace("/", " ").replace("_", " ").removeprefix("throughput ") for tag in tags}


def _begin(directory: Path, step: int) -> None:
    """Marks a (re)start at `step`: TensorBoard then drops later steps of older files.

    tf.summary cannot write such an event, so it gets a file of its own. TensorBoard reads files in the order of their
    names; this name sorts between the older files and the file of this process.
    """
    now = time.time()
    path = directory / f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.-1.start"
    directory.mkdir(parents=True, exist_ok=True)
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(event_pb2.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        file.write(event_pb2.Event(wall_time=now, step=step + 1, session_log=start).SerializeToString())


def sheet(images: np.ndarray) -> np.ndarray:
    """Arranges images in a grid; small images are enlarged by pixel repetition.

    Args:
        images: float32 [n, h, w, c] in [0, 255].

    Returns:
        uint8 [rows · (h · k + 1), columns · (w · k + 1), c], enlarged k times; roughly square, with white lines between
        images.

    >>> sheet(np.zeros((5, 32, 48, 3), np.float32)).shape  # 2 rows of 3 images, enlarged 3 times
    (194, 435, 3)
    """
    n, height, width, channels = images.shape
    enlargement = math.ceil(SAMPLE_SIDE / min(height, width))
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    pixels = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    pixels = pixels.repeat(enlargement, axis=1).repeat(enlargement, axis=2)
    pixels = np.pad(pixels, ((0, rows * columns - n), (0, 1), (0, 1), (0, 0)), constant_values=255)
    grid = pixels.reshape(rows, columns, height * enlargement + 1, width * enlargement + 1, channels)
    return grid.swapaxes(1, 2).reshape(rows * grid.shape[2], columns * grid.shape[3], channels)


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
