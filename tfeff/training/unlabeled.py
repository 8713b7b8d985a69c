"""Training batches of images with and without labels."""

import tensorflow as tf

from tfeff.data.input.batches import Batches
from tfeff.errors import UserError
from tfeff.training.distillation import LABELED
from tfeff.training.stored_teachers import TaughtBatches


class WithUnlabeled:
    """Batches of labeled images, each followed by unlabeled images. An epoch is one pass over the labeled ones.

    An element holds the tensors of both and `labeled`, bool [b].

    Args:
        labeled: determines the steps.
        unlabeled: batches of the same task, without labels. They keep their own order and repeat as often as needed.

    Raises:
        UserError: there are fewer images without labels than a batch takes.
    """

    def __init__(self, labeled: Batches | TaughtBatches, unlabeled: Batches | TaughtBatches) -> None:
        self._labeled, self._unlabeled = labeled, unlabeled
        if len(unlabeled.images) < unlabeled.batch_size:
            raise UserError(
                f"config: data.unlabeled_per_label: {len(unlabeled.images):,} images in data.unlabeled do not fill a "
                f"batch of {unlabeled.batch_size}; use at most {len(unlabeled.images) / labeled.batch_size:.3g}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return self._labeled.steps_per_epoch

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """See `Batches.training_batches`."""
        last = epochs * self.steps_per_epoch
        others = self._unlabeled.training_batches(-(-last // self._unlabeled.steps_per_epoch), start_step)
        both = tf.data.Dataset.zip((self._labeled.training_batches(epochs, start_step), others))
        return both.map(_joined, num_parallel_calls=1).prefetch(2)


def _joined(labeled: dict[str, tf.Tensor], unlabeled: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    joined = {key: tf.concat([value, unlabeled[key]], axis=0) for key, value in labeled.items()}
    counts = (each["weight"].shape[0] for each in (labeled, unlabeled))
    return joined | {
        LABELED: tf.constant([flag for flag, n in zip((True, False), counts, strict=True) for _ in range(n)])
    }
