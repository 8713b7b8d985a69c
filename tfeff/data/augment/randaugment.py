"""RandAugment (Cubuk et al. 2020): a few operations per image, drawn uniformly, all at one strength.

The keras-cv and Keras layers of this name use stateful generators, so their effect on an image depends on earlier
calls. Here it depends on the example alone.
"""

import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.operations import Operation, apply

MAX_MAGNITUDE = 10.0
OPERATIONS = tuple(operation for operation in Operation if operation != Operation.INVERT)
"""The 14 of the paper's section 3."""


def randaugment(images: tf.Tensor, layers: int, magnitude: float, draws: Draws) -> tf.Tensor:
    """Applies `layers` random operations to each image, one after the other.

    The ranges are torchvision's (see `operations.apply`): every operation gets stronger with the magnitude, and
    enhancements take a random direction. Only the scale of M differs: here, as in the paper, ranges end at 10; in
    torchvision they end at 30, so its default of 9 corresponds to 3. In the paper's own code (TPU EfficientNet)
    enhancement factors run from 0.1 to 1.9 with M, posterizing and solarizing weaken with it, translation reaches 100
    pixels, and the operations include inversion, Cutout and SolarizeAdd.

    Args:
        images: float32 [n, height, width, channels] in [0, 255]; rounded first.
        layers: the paper's N.
        magnitude: the paper's M, in [0, 10].
        draws: the n examples.

    Returns:
        float32 of the same shape, whole numbers in 0..255.
    """
    images = tf.round(images)
    chance = draws.uniform(Purpose.RANDAUGMENT, 2 * layers)
    strength = tf.fill(tf.shape(chance)[:1], magnitude / MAX_MAGNITUDE)
    choices = tf.constant([int(operation) for operation in OPERATIONS])
    for layer in range(layers):
        operation = tf.gather(choices, tf.cast(chance[:, 2 * layer] * len(OPERATIONS), tf.int32))
        sign = tf.where(chance[:, 2 * layer + 1] < 0.5, -1.0, 1.0)
        images = apply(images, operation, strength, sign)
    return images
