"""What a run writes for TensorBoard."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tfeff import config


class Board:
    """The event files of a run.

    Args:
        directory: where they lie.
    """

    def __init__(self, directory: Path):
        self._writer = tf.summary.create_file_writer(str(directory))

    def settings(self, experiment: config.Experiment) -> None:
        """The config, as HParams that runs are compared by."""
        with self._writer.as_default(step=0):
            hparams.hparams({key: _plain(value) for key, value in config.flatten(experiment).items()})

    def samples(self, images: np.ndarray) -> None:
        """Augmented images as the network sees them, float32 [n, h, w, c] in [0, 255]."""
        with self._writer.as_default(step=0):
            tf.summary.image("augmented", np.clip(images / 255, 0, 1), max_outputs=len(images))

    def training(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        """The course of an epoch."""
        with self._writer.as_default(step=step):
            tf.summary.scalar("train/loss_by_step", loss)
            tf.summary.scalar("train/learning_rate", learning_rate)
            tf.summary.scalar("speed/images_per_second", images_per_second)

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch's metrics; `train_loss` becomes the chart `train/loss`, beside `validation/loss`."""
        with self._writer.as_default(step=row["step"]):
            for key, value in row.items():
                group, _, name = key.partition("_")
                if group in ("train", "validation"):
                    tf.summary.scalar(f"{group}/{name}", value)
            tf.summary.scalar("speed/input_wait", row["input_wait"])
        self._writer.flush()

    def result(self, step: int, measures: dict[str, float], figures: dict[str, np.ndarray]) -> None:
        """The final measures, and pictures uint8 [h, w, 3 or 4] by name."""
        with self._writer.as_default(step=step):
            for name, value in measures.items():
                tf.summary.scalar(name, value)
            for name, picture in figures.items():
                tf.summary.image(name, picture[None])

    def close(self) -> None:
        """Writes what is still held back."""
        self._writer.close()


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
