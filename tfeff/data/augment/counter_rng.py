"""Stateless random numbers: each is a function of a key and a counter (Salmon et al. 2011, Philox-4x32-10).

The numbers of a stateful generator depend on the order of calls, and so on threads. Here the seed is the key and
(example, epoch, purpose, repeat) the counter, so an image's numbers do not depend on when or where they are computed.
"""

import functools
from dataclasses import dataclass
from enum import IntEnum

import tensorflow as tf

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
WORDS = 4
"""Numbers per counter."""


class Purpose(IntEnum):
    """Purpose of a random number; separate streams, so that enabling one augmentation does not change another."""

    PLACEMENT = 0
    WARP = 1
    COLOR = 2
    ERASING = 3
    AUTOAUGMENT = 4
    RANDAUGMENT = 5
    DIGIT = 6
    PIECE = 7
    BACKGROUND = 8
    NOISE = 9
    BOX_SCALE = 10
    BOX_FLIP = 11
    BOX_ROTATION = 12
    MOSAIC = 13
    SAMPLING = 14
    CROP = 15
    GIVEN = 16
    BOX_MIXUP = 17
    COPY_PASTE = 18
    BOX_AUTOAUGMENT = 19


@dataclass(frozen=True, eq=False)
class Draws:
    """The examples of a batch, as keys of their random numbers.

    Attributes:
        seed: the seed, at least 0.
        epoch: scalar integer tensor.
        index: int64 [n], index of each example in its dataset.
        repeat: int64 [n], distinguishes repeated draws of one example.
    """

    seed: int
    epoch: tf.Tensor
    index: tf.Tensor
    repeat: tf.Tensor

    def uniform(self, purpose: Purpose, count: int) -> tf.Tensor:
        """Returns float32 [n, count], uniform in [0, 1)."""
        blocks = -(-count // WORDS)
        n = tf.shape(self.index)[0]
        shape = tf.stack([n, blocks])
        words = (
            self.index[:, tf.newaxis],
            tf.cast(self.epoch, tf.int64)[tf.newaxis, tf.newaxis],
            int(purpose) * 256 + tf.range(blocks, dtype=tf.int64)[tf.newaxis],
            self.repeat[:, tf.newaxis],
        )
        counter = tf.stack([tf.broadcast_to(word, shape) for word in words], axis=-1)
        return tf.reshape(uniform(self.seed, counter), (-1, blocks * WORDS))[:, :count]

    def others(self, chance: tf.Tensor, count: int) -> tf.Tensor:
        """Returns other examples than the first: int64, indices among `count`; the example itself if there is no other.

        Args:
            chance: float32 in [0, 1), of any shape, which is that of the result.
        """
        step = 1 + tf.cast(tf.floor(tf.cast(chance, tf.float64) * max(1, count - 1)), tf.int64)
        return (self.index[0] + step) % count


def philox(key: int, counter: tf.Tensor) -> tf.Tensor:
    """Computes Philox-4x32-10.

    Args:
        key: 64 bits.
        counter: integers in [0, 2^32), [..., 4].

    Returns:
        uint64 [..., 4] of values in [0, 2^32).
    """
    words = tf.cast(counter, tf.uint64)
    even, odd = words[..., 0::2], words[..., 1::2]
    multipliers = tf.constant(_MULTIPLIERS, tf.uint64)
    mask, half = tf.constant(_MASK, tf.uint64), tf.constant(32, tf.uint64)
    keys = [key & _MASK, (key >> 32) & _MASK]
    for _ in range(_ROUNDS):
        product = even * multipliers
        high, low = tf.bitwise.right_shift(product, half), tf.bitwise.bitwise_and(product, mask)
        even = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(high[..., ::-1], odd), tf.constant(keys, tf.uint64))
        odd = low[..., ::-1]
        keys = [(k + step) & _MASK for k, step in zip(keys, _KEY_STEPS, strict=True)]
    return tf.reshape(tf.stack([even, odd], axis=-1), tf.shape(counter))


def uniform(key: int, counter: tf.Tensor) -> tf.Tensor:
    """Returns numbers in [0, 1) that depend on nothing else: float32 [n, m, 4].

    Args:
        key: 64 bits.
        counter: int64 in [0, 2^32), [n, m, 4].
    """
    words = _philox_graph(key)(counter)
    # A float32 holds 24 bits exactly.
    return tf.cast(tf.bitwise.right_shift(words, tf.constant(8, tf.uint64)), tf.float32) * 2.0**-24


@functools.cache
def _philox_graph(key: int) -> tf.types.experimental.GenericFunction:
    """Computes `philox` as a graph: callers add one node to theirs instead of hundreds, which take longer to build."""
    signature = [tf.TensorSpec((None, None, WORDS), tf.int64)]
    return tf.function(functools.partial(philox, key), input_signature=signature, autograph=False, jit_compile=False)
