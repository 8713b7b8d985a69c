"""What a run writes for TensorBoard."""

import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2, summary

from tfeff import config

LEADING = (
    "model.name",
    "model.resolution",
    "model.width_coefficient",
    "model.depth_coefficient",
    "optimizer.learning_rate",
    "training.batch_size",
    "training.epochs",
)
"""Settings by which runs are compared first; TensorBoard shows five columns until told otherwise."""
METRICS = {
    "test/accuracy": "test accuracy",
    "validation/accuracy": "validation accuracy",
    "train/accuracy": "train accuracy",
    "validation/loss": "validation loss",
    "throughput/images_per_second": "images/s",
}
"""Columns of the table of runs, by the chart that gives their last value."""
SAMPLE_SIDE = 96
"""Least side of a sample on the sheet, in screen pixels."""


class Board:
    """The event files of a run.

    Args:
        directory: where they lie.
        step: at which training starts or goes on: what older files have beyond it is shown no more. None: nothing is
            trained, and all of it stays.
    """

    def __init__(self, directory: Path, step: int | None = None):
        if step is not None:
            _begin(directory, step)
        self._writer = tf.summary.create_file_writer(str(directory))

    def settings(self, experiment: config.Experiment) -> None:
        """The config, as HParams that runs are compared by."""
        values = {key: _plain(value) for key, value in config.flatten(experiment).items()}
        table = summary.experiment_pb(
            # TensorBoard puts the columns that differ from run to run first; of a single run it cannot know which.
            [api_pb2.HParamInfo(name=key, differs=key in LEADING) for key in values],
            [hparams.Metric(tag, display_name=name).as_proto() for tag, name in METRICS.items()],
        )
        with self._writer.as_default(step=0):
            tf.summary.experimental.write_raw_pb(table.SerializeToString(), step=0)
            hparams.hparams(values)

    def samples(self, images: np.ndarray) -> None:
        """A sheet of augmented images as the network sees them, float32 [n, h, w, c] in [0, 255]."""
        with self._writer.as_default(step=0):
            tf.summary.image("train/augmented_samples", sheet(images)[None])

    def training(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        """The course of an epoch."""
        with self._writer.as_default(step=step):
            tf.summary.scalar("train/loss_by_step", loss)
            tf.summary.scalar("train/learning_rate", learning_rate)
            tf.summary.scalar("throughput/images_per_second", images_per_second)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Charts of any names."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch's metrics; `train_loss` becomes the chart `train/loss`, beside `validation/loss`."""
        with self._writer.as_default(step=row["step"]):
            for key, value in row.items():
                group, _, name = key.partition("_")
                if group in ("train", "validation"):
                    tf.summary.scalar(f"{group}/{name}", value)
            tf.summary.scalar("throughput/input_wait", row["input_wait"])
        self._writer.flush()

    def result(self, step: int, measures: dict[str, float], figures: dict[str, np.ndarray]) -> None:
        """The final measures, and pictures uint8 [h, w, 3 or 4] by name; the run counts as complete."""
        with self._writer.as_default(step=step):
            for name, value in measures.items():
                tf.summary.scalar(name, value)
            for name, picture in figures.items():
                tf.summary.image(name, picture[None])
            end = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
            tf.summary.experimental.write_raw_pb(end.SerializeToString(), step=0)

    def close(self) -> None:
        """Writes what is still held back."""
        self._writer.close()


def _begin(directory: Path, step: int) -> None:
    """Says that a process trains on from `step`: at all but the first, TensorBoard drops what it has of later steps.

    The writer of tf.summary knows no such event, so it has a file of its own. Files are read in the order of their
    names, which this one's puts between the older files and the one that this process writes.
    """
    now = time.time()
    path = directory / f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.-1.start"
    directory.mkdir(parents=True, exist_ok=True)
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(event_pb2.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        file.write(event_pb2.Event(wall_time=now, step=step + 1, session_log=start).SerializeToString())


def sheet(images: np.ndarray) -> np.ndarray:
    """Images side by side on one picture, small ones enlarged pixel by pixel.

    Args:
        images: float32 [n, h, w, c] in [0, 255].

    Returns:
        uint8 [rows · (h · k + 1), columns · (w · k + 1), c], enlarged k times; about square, white lines between.

    >>> sheet(np.zeros((5, 32, 48, 3), np.float32)).shape  # 2 rows of 3, enlarged three times
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
