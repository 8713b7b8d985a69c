"""AutoAugment's policy for ImageNet (Cubuk et al. 2019, table 9), and RandAugment (Cubuk et al. 2020).

RandAugment applies a few operations per image, drawn uniformly, all at one strength. The keras-cv and Keras layers of
this name use stateful generators, so their effect on an image depends on earlier calls. Here it depends on the example
alone.
"""

import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.operations import Operation, apply

_MAX_MAGNITUDE = 9.0

AUTO_CONTRAST, COLOR, CONTRAST = Operation.AUTO_CONTRAST, Operation.COLOR, Operation.CONTRAST
EQUALIZE, INVERT, POSTERIZE = Operation.EQUALIZE, Operation.INVERT, Operation.POSTERIZE
ROTATE, SHARPNESS, SHEAR_X, SOLARIZE = Operation.ROTATE, Operation.SHARPNESS, Operation.SHEAR_X, Operation.SOLARIZE

# Two operations per line: (operation, probability, magnitude in 0..9). Some lines repeat, as in the paper's table.
IMAGENET_POLICY = (
    ((POSTERIZE, 0.4, 8), (ROTATE, 0.6, 9)),
    ((SOLARIZE, 0.6, 5), (AUTO_CONTRAST, 0.6, 5)),
    ((EQUALIZE, 0.8, 8), (EQUALIZE, 0.6, 3)),
    ((POSTERIZE, 0.6, 7), (POSTERIZE, 0.6, 6)),
    ((EQUALIZE, 0.4, 7), (SOLARIZE, 0.2, 4)),
    ((EQUALIZE, 0.4, 4), (ROTATE, 0.8, 8)),
    ((SOLARIZE, 0.6, 3), (EQUALIZE, 0.6, 7)),
    ((POSTERIZE, 0.8, 5), (EQUALIZE, 1.0, 2)),
    ((ROTATE, 0.2, 3), (SOLARIZE, 0.6, 8)),
    ((EQUALIZE, 0.6, 8), (POSTERIZE, 0.4, 6)),
    ((ROTATE, 0.8, 8), (COLOR, 0.4, 0)),
    ((ROTATE, 0.4, 9), (EQUALIZE, 0.6, 2)),
    ((EQUALIZE, 0.0, 7), (EQUALIZE, 0.8, 8)),
    ((INVERT, 0.6, 4), (EQUALIZE, 1.0, 8)),
    ((COLOR, 0.6, 4), (CONTRAST, 1.0, 8)),
    ((ROTATE, 0.8, 8), (COLOR, 1.0, 2)),
    ((COLOR, 0.8, 8), (SOLARIZE, 0.8, 7)),
    ((SHARPNESS, 0.4, 7), (INVERT, 0.6, 8)),
    ((SHEAR_X, 0.6, 5), (EQUALIZE, 1.0, 9)),
    ((COLOR, 0.4, 0), (EQUALIZE, 0.6, 3)),
    ((EQUALIZE, 0.4, 7), (SOLARIZE, 0.2, 4)),
    ((SOLARIZE, 0.6, 5), (AUTO_CONTRAST, 0.6, 5)),
    ((INVERT, 0.6, 4), (EQUALIZE, 1.0, 8)),
    ((COLOR, 0.6, 4), (CONTRAST, 1.0, 8)),
    ((EQUALIZE, 0.8, 8), (EQUALIZE, 0.6, 3)),
)


def autoaugment(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Applies a random line of the policy to each image: its two operations, each with its probability.

    As in torchvision, a magnitude of 9 is the end of an operation's range (`operations.apply`) and directions are
    random.

    Args:
        images: float32 [n, height, width, channels] in [0, 255]; rounded first.
        draws: the n examples.

    Returns:
        float32 of the same shape, whole numbers in 0..255.
    """
    images = tf.round(images)
    chance = draws.uniform(Purpose.AUTOAUGMENT, 5)
    line = tf.cast(chance[:, 0] * len(IMAGENET_POLICY), tf.int64)
    for turn in range(2):
        column = [choices[turn] for choices in IMAGENET_POLICY]
        operation = tf.gather(tf.constant([int(choice[0]) for choice in column], tf.int64), line)
        probability = tf.gather(tf.constant([choice[1] for choice in column]), line)
        strength = tf.gather(tf.constant([choice[2] / _MAX_MAGNITUDE for choice in column]), line)
        happens = chance[:, 1 + 2 * turn] < probability
        sign = tf.where(chance[:, 2 + 2 * turn] < 0.5, -1.0, 1.0)
        images = apply(
            images, tf.where(happens, operation, tf.constant(int(Operation.IDENTITY), tf.int64)), strength, sign
        )
    return images


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
    choices = tf.constant([int(operation) for operation in OPERATIONS], tf.int64)
    for layer in range(layers):
        operation = tf.gather(choices, tf.cast(chance[:, 2 * layer] * len(OPERATIONS), tf.int64))
        sign = tf.where(chance[:, 2 * layer + 1] < 0.5, -1.0, 1.0)
        images = apply(images, operation, strength, sign)
    return images
