"""The rows that the batches of several epochs read."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf


def rows_of_epochs(
    rows: Callable[[int], npt.NDArray[np.int64]], shape: Sequence[int], steps: int, epochs: int, start_step: int
) -> tf.data.Dataset:
    """The rows of each batch, int64 [*shape], from `start_step` to the end of the last of `epochs`.

    Args:
        rows: epoch, from 0 -> rows of its batches, int64 [steps, *shape]; called when the epoch begins.
        shape: of the rows of a batch, such as (batch size,).
        steps: batches per epoch.
        epochs: counted from the beginning of the training, not from `start_step`.
        start_step: batches to skip, at no cost.
    """
    first_epoch, first_step = divmod(start_step, steps)

    def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        start = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
        drawn = tf.numpy_function(lambda epoch: rows(int(epoch)), [epoch], tf.int64, stateful=False)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(drawn, (None, *shape))[start:])

    return tf.data.Dataset.range(first_epoch, max(epochs, first_epoch)).flat_map(of_epoch)
