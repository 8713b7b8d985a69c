"""MixUp and copy-paste: an image with the objects of another one."""

import math

import tensorflow as tf

from tfeff.data.augment.annotated_image import AnnotatedImage, faded, joined, visible_part
from tfeff.data.augment.counter_rng import Draws, Purpose

_CHOICE, _PARTNER = 0, 1
_BLEND = slice(2, 4)
_MIXUP_NUMBERS = 4
_OBJECTS = 62
"""Random numbers for the choice of objects; of more objects, those of one number are pasted together."""


def chosen(purpose: Purpose, probability: float, draws: Draws) -> tf.Tensor:
    """Returns whether the one example of `draws` is mixed: bool scalar."""
    return draws.uniform(purpose, 2)[0, _CHOICE] < probability


def partner(purpose: Purpose, count: int, draws: Draws) -> tf.Tensor:
    """Returns the image that an example is mixed with: int64 scalar, an index among `count` images."""
    return draws.others(draws.uniform(purpose, 2)[0, _PARTNER], count)


def mixup(image: AnnotatedImage, other: AnnotatedImage, min_share: float, draws: Draws) -> AnnotatedImage:
    """Blends two images; the result has the objects of both (Zhang et al. 2019, "Bag of Freebies for Training Object
    Detection Neural Networks", arXiv:1902.04103, section 3.1).

    The share of an image is drawn from Beta(1.5, 1.5), the paper's best. The paper weights the loss of an object by the
    share of its image. Here, objects have the weight 1, or 0 (they become difficult) if `visible` times this share is
    below `min_share`, as those have of which a crop leaves too little.

    Args:
        image: height and width known.
        other: another image of the same size.
        min_share: see above.
        draws: one example.
    """
    chance = tf.cast(draws.uniform(Purpose.BOX_MIXUP, _MIXUP_NUMBERS)[0, _BLEND], tf.float64)
    # Beta(3/2, 3/2) is the distribution of a coordinate of a point that is uniform in a disk.
    share = tf.cast(0.5 + 0.5 * tf.sqrt(chance[0]) * tf.cos(2 * math.pi * chance[1]), tf.float32)
    pixels = other.image + share * (image.image - other.image)
    parts = [faded(image, share, min_share), faded(other, 1.0 - share, min_share)]
    return joined(pixels, image.covered | other.covered, parts)


def copy_paste(image: AnnotatedImage, other: AnnotatedImage, min_share: float, draws: Draws) -> AnnotatedImage:
    """Pastes objects of another image, each with probability 1/2, at their places (Ghiasi et al. 2021, "Simple
    Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", arXiv:2012.07177, section 3).

    The paper cuts objects out by their masks. Datasets here have boxes, so whole boxes are pasted. Boxes shrink to
    what remains visible of their objects; other objects inside of a pasted box come with it.

    Args:
        image: height and width known.
        other: another image of the same size.
        min_share: objects with a lower visible share become difficult.
        draws: one example.
    """
    height, width = image.image.shape[:2]
    chance = draws.uniform(Purpose.COPY_PASTE, 2 + _OBJECTS)[0, 2:]
    number = tf.range(tf.shape(other.labels)[0])
    pasted = (tf.gather(chance, number % _OBJECTS) < 0.5) & ~(other.difficult | other.crowd)
    boxes = tf.boolean_mask(other.boxes_yxyx, pasted)
    rows, columns = (_covered(boxes[:, axis], boxes[:, axis + 2], side) for axis, side in enumerate((height, width)))
    mask = tf.matmul(tf.cast(rows, tf.float32), tf.cast(columns, tf.float32), transpose_a=True) > 0
    pixels = tf.where(mask[..., tf.newaxis], other.image, image.image)
    covered = tf.where(mask[..., tf.newaxis], other.covered, image.covered)
    return joined(pixels, covered, [visible_part(image, ~mask, min_share), visible_part(other, mask, min_share)])


def _covered(first: tf.Tensor, end: tf.Tensor, side: int) -> tf.Tensor:
    """Returns which of `side` pixels each interval touches: bool [n, side]."""
    pixel = tf.range(side, dtype=tf.float32)
    return (pixel + 1.0 > first[:, tf.newaxis]) & (pixel < end[:, tf.newaxis])
