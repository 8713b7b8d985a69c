"""Training by imitation: the network learns from labels and from the outputs of teachers on the same images."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfeff.config.task_parts import Teacher
from tfeff.data.images import resizing
from tfeff.tasks.task import Batch, ImageTask, Task

LABEL_LOSS, TEACHER_LOSS, TAUGHT = "label_loss", "teacher_loss", "taught_images"
LABELED = "labeled"
"""Key in batches with unlabeled images: bool [b], whether an image has a label."""
STORED = "teacher/"
"""Begins the names of stored targets of teachers in a batch."""


class Distilled(Task):
    """A task whose network also imitates teachers. Without training, it is the task itself.

    Args:
        task: the task that the labels are for.
        section: what is imitated.
        teachers: networks as the task builds them.
    """

    def __init__(self, task: ImageTask, section: Teacher, teachers: Sequence[keras.Model]) -> None:
        self._task, self._section, self._teachers = task, section, teachers
        self._names = {name: LABEL_LOSS if name == "loss" else name for name in task.losses}
        labels = {self._names[name]: count for name, count in task.losses.items()}
        # All other tasks have these in their class.
        self.losses = {**labels, TEACHER_LOSS: TAUGHT}  # type: ignore[misc]
        self.metrics, self.added = task.metrics, task.added  # type: ignore[misc]
        self.scores, self.tuned = task.scores, task.tuned

    @property
    def teachers(self) -> Sequence[keras.Model]:
        """The networks that are imitated."""
        return self._teachers

    @property
    def imitation(self) -> tuple[object, ...]:
        """All that the targets depend on, besides the teachers and the images."""
        return type(self._task).__name__, dataclasses.replace(self._section, runs=(), variants=None)

    def targets(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns what the teachers make of a batch; see `ImageTask.teacher_targets`."""
        outputs = [
            self._task.forward_with_features(teacher, _seen_by(teacher, batch), training=False)
            for teacher in self._teachers
        ]
        return self._task.teacher_targets(outputs, self._section)

    def forward(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """Returns the network's outputs and, in training, the targets of the teachers.

        The teachers run unless the batch has their targets.
        """
        if not training:
            return self._task.forward(network, batch, training=False)
        own = self._task.forward_with_features(network, batch, training=True)
        stored = {key.removeprefix(STORED): value for key, value in batch.items() if key.startswith(STORED)}
        return own, stored or self.targets(batch)

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the task's totals for labeled images and, in training, the difference from the teachers for all."""
        weight = batch["weight"]
        labeled = dict(batch)
        if LABELED in batch:
            labeled["weight"] = weight * tf.cast(batch[LABELED], weight.dtype)
        if not training:
            totals = self._renamed(self._task.totals(labeled, outputs, training=False))
            zero = tf.zeros_like(next(iter(totals.values())))
            return totals | {TEACHER_LOSS: zero, TAUGHT: zero}
        own, targets = outputs
        totals = self._renamed(self._task.totals(labeled, self._task.without_features(own), training=True))
        for name in self._names.values():
            totals[name] *= 1.0 - self._section.weight
        difference = self._task.imitated(own, targets, self._section)
        weight = tf.cast(weight, difference.dtype)
        return totals | {TEACHER_LOSS: tf.reduce_sum(difference * weight), TAUGHT: tf.reduce_sum(weight)}

    def _renamed(self, totals: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {self._names.get(name, name): value for name, value in totals.items()}

    def means(self, sums: Any) -> dict[str, float]:
        """Returns the means; in validation, without the teachers' loss, which is not computed there."""
        means = super().means(sums)
        if not sums[self.names.index(TAUGHT)]:
            del means[TEACHER_LOSS]
        return means

    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """See `ImageTask`."""
        return self._task.decode(outputs)


def _seen_by(teacher: keras.Model, batch: Batch) -> Mapping[str, tf.Tensor]:
    """Returns the batch with images of the teacher's size."""
    size = tuple(teacher.inputs[0].shape[1:3])
    if tuple(batch["image"].shape[1:3]) == size:
        return batch
    with resizing.plain_operators():  # others cannot be compiled by XLA
        return {**batch, "image": resizing.resize(batch["image"], size)}
