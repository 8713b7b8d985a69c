"""Random samples of anchors and regions with a limited share of positives (arXiv:1504.08083, section 2.3)."""

import tensorflow as tf

from tfeff.data.augment.counter_rng import WORDS, uniform
from tfeff.tasks.matching import NEGATIVE, POSITIVE


def noise(keys: tf.Tensor, stream: int, count: int) -> tf.Tensor:
    """Returns a number in [0, 1) for each candidate of each image, which depends on the image's key alone.

    Args:
        keys: int32 [b, 2], of each image and epoch.
        stream: distinguishes several draws.
        count: n, candidates per image.

    Returns:
        float32 [b, n].
    """
    blocks, images = -(-count // WORDS), tf.shape(keys)[0]
    words = [tf.cast(tf.bitcast(keys, tf.uint32), tf.int64)[:, tf.newaxis], tf.constant(stream, tf.int64, (1, 1, 1))]
    fixed = [tf.broadcast_to(each, (images, blocks, each.shape[2])) for each in words]
    block = tf.broadcast_to(tf.range(blocks, dtype=tf.int64)[:, tf.newaxis], (images, blocks, 1))
    return tf.reshape(uniform(0, tf.concat([*fixed, block], axis=-1)), (-1, blocks * WORDS))[:, :count]


def sample(kind: tf.Tensor, random: tf.Tensor, *, count: int, positive_share: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws positives up to their share, then negatives; if there are not enough of both, the sample is smaller.

    Args:
        kind: int64 [b, n], POSITIVE, NEGATIVE or IGNORED.
        random: float32 [b, n], in [0, 1).
        count: s, size of the sample.
        positive_share: largest share of positives.

    Returns:
        int64 [b, s], indices of the drawn candidates, positives first; bool [b, s], False for padding, which repeats
        other candidates.
    """
    size = min(count, kind.shape[1])
    positives, negatives = kind == POSITIVE, kind == NEGATIVE
    most = min(int(count * positive_share), kind.shape[1])
    best, chosen = tf.math.top_k(tf.where(positives, random, -1.0), most)
    taken = best >= 0
    drawn = tf.reduce_sum(tf.cast(taken, tf.int64), axis=1, keepdims=True)
    best, others = tf.math.top_k(tf.where(negatives, random, -1.0), size)
    wanted = (best >= 0) & (tf.range(size, dtype=tf.int64) < count - drawn)
    indices = tf.concat([tf.cast(chosen, tf.int64), tf.cast(others, tf.int64)], axis=1)
    valid = tf.concat([taken, wanted], axis=1)
    # Valid ones to the front, in order.
    _, order = tf.math.top_k(tf.cast(valid, tf.float32), min(count, most + size))
    return tf.gather(indices, order, batch_dims=1), tf.gather(valid, order, batch_dims=1)
