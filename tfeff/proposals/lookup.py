"""A store's proposals inside a `tf.data` pipeline."""

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfeff.proposals.store import ProposalStore


def lookup(store: ProposalStore, limit: int | None = None) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function for `Dataset.map`: an image's id (scalar string) -> its boxes float32 [n, 4], `yxyx`, best first.

    Args:
        store: read as it is when the function is called; an image that it lacks ends the iteration with its name.
        limit: of n; None gives all there are.
    """

    def read(name: bytes) -> np.ndarray:
        return store[os.fsdecode(name)].first(limit).boxes_yxyx

    def boxes(name: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(read, [name], tf.float32, stateful=False), (None, 4))

    return boxes
