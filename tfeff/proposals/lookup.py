"""Reads proposals from a store inside a `tf.data` pipeline."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfeff.proposals.store import ProposalStore


def lookup(store: ProposalStore, limit: int | None = None) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function for `Dataset.map`: image id (scalar string) -> boxes_yxyx, float32 [n, 4], best first.

    Args:
        store: read when the function is called. A missing image ends the iteration with an error that names it.
        limit: maximum number of boxes per image; None returns all.
    """

    def read(name: bytes) -> np.ndarray:
        return store[os.fsdecode(name)].first(limit).boxes_yxyx

    def boxes(name: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(read, [name], tf.float32, stateful=False), (None, 4))

    return boxes


def indexed_lookup(
    store: ProposalStore, names: Sequence[str], limit: int | None = None
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Like `lookup`, by the index of an image (scalar int64) in `names`."""
    by_name = lookup(store, limit)
    with tf.device("CPU:0"):
        ids = tf.constant([os.fsencode(name) for name in names])
    return lambda index: by_name(ids[index])
