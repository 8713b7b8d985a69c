"""Training batches of images with and without labels."""

import tensorflow as tf

from tfeff.data.input.batches import Batches
from tfeff.training.distillation import LABELED
from tfeff.training.stored_teachers import TaughtBatches


class WithUnlabeled:
    """Batches of labeled and unlabeled images. An epoch is one pass over the labeled ones.

    An element holds the tensors of both and `labeled`, bool [b]. Each of its equal parts has as many labeled images as
    the others, followed by unlabeled ones.

    Args:
        labeled: determines the steps.
        unlabeled: batches of the same task, without labels. They keep their own order and repeat as often as needed.
        parts: number of equal parts, `training.accumulation_steps`; it divides both batch sizes.
    """

    def __init__(self, labeled: Batches | TaughtBatches, unlabeled: Batches | TaughtBatches, *, parts: int = 1) -> None:
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
        return both.map(self._joined, num_parallel_calls=1).prefetch(2)

    def _joined(self, labeled: dict[str, tf.Tensor], unlabeled: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        labeled = labeled | {LABELED: tf.fill(labeled["weight"].shape, True)}
        unlabeled = unlabeled | {LABELED: tf.fill(unlabeled["weight"].shape, False)}
        return {key: self._interleaved(value, unlabeled[key]) for key, value in labeled.items()}

    def _interleaved(self, labeled: tf.Tensor, unlabeled: tf.Tensor) -> tf.Tensor:
        """Returns the rows of both, part by part."""
        rows = [tf.reshape(each, (self._parts, -1, *each.shape[1:])) for each in (labeled, unlabeled)]
        count = labeled.shape[0] + unlabeled.shape[0]
        return tf.reshape(tf.concat(rows, axis=1), (count, *labeled.shape[1:]))
