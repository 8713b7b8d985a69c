"""Batches of regions for the training loop, read from cached features."""

import numpy as np
import tensorflow as tf

from tfeff.boxes.coding import FAST_RCNN_WEIGHTS
from tfeff.data.input.epochs import rows_of_epochs
from tfeff.rcnn.examples import Examples
from tfeff.rcnn.sampling import Sampler

_PREFETCHED_BATCHES = 2


class RegionBatches:
    """Training and validation batches for the task `RegionHead`, a function of the sampler's seed and the epoch.

    In each batch, the positives come first.

    Args:
        examples: the regions.
        sampler: draws batches from them; its epoch 0 is for validation, training starts at 1.
        classes: C.
        most: maximum number of validation batches.
    """

    def __init__(self, examples: Examples, sampler: Sampler, classes: int, *, most: int) -> None:
        self._examples, self._sampler, self._classes, self._most = examples, sampler, classes, most

    @property
    def batch_size(self) -> int:
        """Regions of a batch."""
        return self._sampler.positives + (self._sampler.negatives if len(self._sampler.negative) else 0)

    @property
    def steps_per_epoch(self) -> int:
        """Training batches per epoch."""
        return self._sampler.batches

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """All batches from `start_step` to the end of the last of `epochs`."""
        steps = self.steps_per_epoch
        return self._batches(
            rows_of_epochs(lambda epoch: self.rows(epoch + 1), (self.batch_size,), steps, epochs, start_step)
        )

    def evaluation_batches(self) -> tf.data.Dataset:
        """The same batches every time."""
        with tf.device("CPU:0"):
            rows = tf.constant(self.rows(0)[: self._most])
        return self._batches(tf.data.Dataset.from_tensor_slices(rows))

    def rows(self, epoch: int) -> np.ndarray:
        """Rows of the regions of each batch, int64 [batches, batch_size]; epoch 0 is for validation."""
        return np.stack(list(self._sampler.epoch(epoch))).astype(np.int64)

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The batch of these rows."""
        targets = self._examples.targets.take(rows)
        positive = np.arange(len(rows)) < self._sampler.positives
        return {
            "features": self._examples.features[rows],
            "label": np.where(positive, targets.label, self._classes).astype(np.int32),
            "code": targets.code * np.array(FAST_RCNN_WEIGHTS, np.float32),
            "positive": positive.astype(np.float32),
        }

    def _batches(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        features = self._examples.features
        specs = {
            "features": (features.dtype.type, (features.shape[1],)),
            "label": (np.int32, ()),
            "code": (np.float32, (4,)),
            "positive": (np.float32, ()),
        }

        def read(rows: np.ndarray) -> list[np.ndarray]:
            found = self.read(rows)
            return [found[name] for name in specs]

        def batch(rows: tf.Tensor) -> dict[str, tf.Tensor]:
            values = tf.numpy_function(read, [rows], [dtype for dtype, _ in specs.values()], stateful=False)
            return {
                name: tf.ensure_shape(value, (self.batch_size, *shape))
                for value, (name, (_, shape)) in zip(values, specs.items(), strict=True)
            }

        options = tf.data.Options()
        options.deterministic = True
        options.autotune.enabled = False
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        # No Python branch depends on a tensor, and converting the code with AutoGraph would take seconds.
        batches = rows.map(tf.autograph.experimental.do_not_convert(batch))
        return batches.prefetch(_PREFETCHED_BATCHES).with_options(options)
