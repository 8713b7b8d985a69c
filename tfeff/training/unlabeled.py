"""Training batches of images with and without labels."""

import copy

import tensorflow as tf

from tfeff.data.input.batches import Batches, prefetched
from tfeff.errors import UserError
from tfeff.training.distillation import LABELED
from tfeff.training.plan import Plan
from tfeff.training.stored_teachers import TaughtBatches


def require_batch(plan: Plan, images: int) -> None:
    """Checks that there are enough images without labels.

    Raises:
        UserError: they do not fill the part of a batch that they are in.
    """
    count = plan.unlabeled_batch_size
    if images < count:
        raise UserError(
            f"config: data.unlabeled_per_label: {images:,} images in data.unlabeled do not fill a batch of {count}; "
            f"use at most {images / plan.training.batch_size:.3g}"
        )


class PlainFrom:
    """Training batches that are plain from a step on, wherever that is in one of their own epochs.

    Args:
        batches: the batches.
        step: from here on, only what is left of the augmentation in the last `task.plain_epochs` applies.
    """

    def __init__(self, batches: Batches, step: int) -> None:
        self._varied, self._plain, self._step = _plain_from(batches, None), _plain_from(batches, 0), step

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return self._varied.steps_per_epoch

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """See `Batches.training_batches`."""
        if start_step >= self._step:
            return self._plain.training_batches(epochs, start_step)
        varied = self._varied.training_batches(epochs, start_step)
        if self._step >= epochs * self.steps_per_epoch:
            return varied
        return varied.take(self._step - start_step).concatenate(self._plain.training_batches(epochs, self._step))


def _plain_from(batches: Batches, epoch: int | None) -> Batches:
    """Returns batches with another `Transform.plain_from`."""
    changed = copy.copy(batches)
    changed.transform = copy.copy(batches.transform)
    changed.transform.plain_from = epoch
    return changed


class WithUnlabeled:
    """Batches of labeled and unlabeled images. An epoch is one pass over the labeled ones.

    An element holds the tensors of both and `labeled`, bool [b]. Each of its equal parts has as many labeled images as
    the others, followed by unlabeled ones.

    Args:
        labeled: determines the steps.
        unlabeled: batches of the same task, without labels. They keep their own order and repeat as often as needed.
        parts: number of equal parts, `training.accumulation_steps`; it divides both batch sizes.
    """

    def __init__(
        self, labeled: Batches | TaughtBatches, unlabeled: Batches | PlainFrom | TaughtBatches, *, parts: int = 1
    ) -> None:
        self._labeled, self._unlabeled, self._parts = labeled, unlabeled, parts

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return self._labeled.steps_per_epoch

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """See `Batches.training_batches`."""
        last = epochs * self.steps_per_epoch
        others = self._unlabeled.training_batches(-(-last // self._unlabeled.steps_per_epoch), start_step)
        both = tf.data.Dataset.zip((self._labeled.training_batches(epochs, start_step), others))
        return prefetched(both.map(self._joined, num_parallel_calls=1))

    @tf.autograph.experimental.do_not_convert
    def _joined(self, labeled: dict[str, tf.Tensor], unlabeled: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        labeled = labeled | {LABELED: tf.fill(labeled["weight"].shape, True)}
        unlabeled = unlabeled | {LABELED: tf.fill(unlabeled["weight"].shape, False)}
        return {key: self._interleaved(value, unlabeled[key]) for key, value in labeled.items()}

    def _interleaved(self, labeled: tf.Tensor, unlabeled: tf.Tensor) -> tf.Tensor:
        """Returns the rows of both, part by part."""
        rows = [tf.reshape(each, (self._parts, -1, *each.shape[1:])) for each in (labeled, unlabeled)]
        count = labeled.shape[0] + unlabeled.shape[0]
        return tf.reshape(tf.concat(rows, axis=1), (count, *labeled.shape[1:]))
