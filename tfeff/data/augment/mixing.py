"""MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019) over a batch.

Partners are rows of the same global batch, so all random choices are functions of (seed, step). A worker that holds a
part of the batch draws for the whole batch and keeps its own rows.
"""

import tensorflow as tf

from tfeff.data.augment.policy import Augmentation

_PARTNER, _MIXUP, _CUTMIX, _CHOICE, _CENTER = range(5)


def partners(batch_size: int, seed: int, step: tf.Tensor) -> tf.Tensor:
    """Returns the row each row is mixed with, a random permutation: int32 [batch_size]."""
    order = tf.random.stateless_uniform([batch_size], _seed(seed, step, _PARTNER))
    return tf.argsort(order, stable=True)


def proportions(
    batch_size: int, augmentation: Augmentation, seed: int, step: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the share that each row of a global batch keeps.

    Returns:
        mixup: float32 [batch_size], weight of the row in the blend with its partner; 1 if it is not blended.
        cutmix: float32 [batch_size], share of the row's area outside the pasted box; 1 if nothing is pasted.
        center: float32 [batch_size, 2], center of the box relative to (height, width).
    """
    mixup = _beta(batch_size, augmentation.mixup_alpha, _seed(seed, step, _MIXUP))
    cutmix = _beta(batch_size, augmentation.cutmix_alpha, _seed(seed, step, _CUTMIX))
    if augmentation.mixup_alpha and augmentation.cutmix_alpha:
        blended = tf.random.stateless_uniform([batch_size], _seed(seed, step, _CHOICE)) < 0.5
        mixup, cutmix = tf.where(blended, mixup, 1.0), tf.where(blended, 1.0, cutmix)
    center = tf.random.stateless_uniform([batch_size, 2], _seed(seed, step, _CENTER))
    return mixup, cutmix, center


def mix(
    images: tf.Tensor,
    labels: tf.Tensor,
    own: slice,
    partner: tf.Tensor,
    mixup: tf.Tensor,
    cutmix: tf.Tensor,
    center: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each of the rows `own` with its partner, by blending or pasting.

    The sides of a pasted box are sqrt(1 - cutmix) of the image's. The box is clipped at the borders, and the label
    follows the area actually pasted.

    Args:
        images: float32 [m, height, width, channels].
        labels: float32 [m, num_classes].
        own: the b rows to return.
        partner: int32 [b], row of `images` each is mixed with.
        mixup: float32 [b], as from `proportions`.
        cutmix: float32 [b], as from `proportions`.
        center: float32 [b, 2], as from `proportions`.

    Returns:
        float32 images [b, height, width, channels] and labels [b, num_classes].
    """
    height, width = images.shape[1:3]
    other_images, other_labels = tf.gather(images, partner), tf.gather(labels, partner)
    images, labels = images[own], labels[own]
    side = tf.sqrt(1.0 - cutmix)
    rows = _covered(center[:, 0], side, height)
    columns = _covered(center[:, 1], side, width)
    pasted = rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :]
    # The order is irrelevant: a blended row has an empty box, and a pasted row has a blend weight of 1.
    blend = mixup[:, tf.newaxis, tf.newaxis, tf.newaxis]
    mixed = other_images + blend * (images - other_images)
    mixed = tf.where(pasted[..., tf.newaxis], other_images, mixed)
    kept = mixup * (1.0 - tf.reduce_mean(tf.cast(pasted, tf.float32), axis=(1, 2)))
    kept = kept[:, tf.newaxis]
    return mixed, kept * labels + (1.0 - kept) * other_labels


def _covered(center: tf.Tensor, side: tf.Tensor, length: int) -> tf.Tensor:
    """Returns which of `length` pixels an interval covers (center and side relative to it): bool [b, length]."""
    start = tf.round((center - side / 2) * length)[:, tf.newaxis]
    stop = tf.round((center + side / 2) * length)[:, tf.newaxis]
    pixel = tf.range(length, dtype=tf.float32)[tf.newaxis]
    return (start <= pixel) & (pixel < stop)


def _beta(n: int, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """Draws Beta(alpha, alpha) as a ratio of gamma variates: float32 [n]; all 1 for alpha 0."""
    if not alpha:
        return tf.ones([n])
    gamma = tf.random.stateless_gamma([n, 2], seed, alpha)
    total = tf.reduce_sum(gamma, axis=-1)
    # With a tiny alpha both variates can underflow to 0; the distribution is then concentrated at 0 and 1.
    return tf.where(total > 0, gamma[:, 0] / tf.maximum(total, 1e-37), 1.0)


def _seed(seed: int, step: tf.Tensor, purpose: int) -> tf.Tensor:
    return tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64) * 8 + purpose])
