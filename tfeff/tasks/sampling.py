"""Random samples of anchors and regions with a limited share of positives (arXiv:1504.08083, section 2.3)."""

import tensorflow as tf

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

    def of_image(key: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform((count,), tf.stack([key[0], key[1] + stream]))

    return tf.map_fn(of_image, keys, fn_output_signature=tf.TensorSpec((count,), tf.float32))


def sample(kind: tf.Tensor, random: tf.Tensor, *, count: int, positive_share: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws positives up to their share, then negatives; if there are not enough of both, the sample is smaller.

    Args:
        kind: int32 [b, n], POSITIVE, NEGATIVE or IGNORED.
        random: float32 [b, n], in [0, 1).
        count: s, size of the sample.
        positive_share: largest share of positives.

    Returns:
        int32 [b, s], indices of the drawn candidates, positives first; bool [b, s], False for padding, which repeats
        other candidates.
    """
    size = min(count, kind.shape[1])
    positives, negatives = kind == POSITIVE, kind == NEGATIVE
    most = min(int(count * positive_share), kind.shape[1])
    best, chosen = tf.math.top_k(tf.where(positives, random, -1.0), most)
    taken = tf.cast(best >= 0, tf.int32)
    drawn = tf.reduce_sum(taken, axis=1, keepdims=True)
    best, others = tf.math.top_k(tf.where(negatives, random, -1.0), size)
    wanted = (best >= 0) & (tf.range(size) < count - drawn)
    indices = tf.concat([chosen, others], axis=1)
    valid = tf.concat([taken > 0, wanted], axis=1)
    # Valid ones to the front, in order.
    order = tf.argsort(tf.cast(valid, tf.int32), axis=1, direction="DESCENDING", stable=True)[:, :count]
    return tf.gather(indices, order, batch_dims=1), tf.gather(valid, order, batch_dims=1)
