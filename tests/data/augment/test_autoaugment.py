import re

import numpy as np
import tensorflow as tf

from tfeff.data.augment.autoaugment import IMAGENET_POLICY, OPERATIONS, autoaugment, randaugment
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.operations import Operation

Y, X = np.mgrid[:16, :16]
PICTURE = np.stack([100 + 60 * np.sin(Y / 4), 100 + 60 * np.cos(X / 3), 5 * (X + Y) + 20], axis=-1).round()
IMAGES = tf.constant(np.repeat(PICTURE[None], 400, axis=0), tf.float32)


def draws(n=400, epoch=0):
    return Draws(0, tf.constant(epoch), tf.range(n, dtype=tf.int64), tf.zeros(n, tf.int64))


def test_the_paper_has_14_operations():
    assert len(OPERATIONS) == 14
    assert Operation.INVERT not in OPERATIONS


def test_images_vary_individually_and_in_each_epoch():
    first = randaugment(IMAGES, 2, 9, draws()).numpy()
    assert first.dtype == np.float32
    assert len(np.unique(first.reshape(400, -1), axis=0)) > 100
    np.testing.assert_array_equal(randaugment(IMAGES[:7], 2, 9, draws(7)), first[:7])
    assert (randaugment(IMAGES, 2, 9, draws(epoch=1)).numpy() != first).any(axis=(1, 2, 3)).mean() > 0.9


def test_layers_and_magnitude_both_strengthen():
    def change(layers, magnitude):
        return float(tf.reduce_mean(tf.abs(randaugment(IMAGES, layers, magnitude, draws()) - IMAGES)))

    assert change(1, 2) < change(1, 5) < change(1, 10)
    assert change(1, 5) < change(2, 5) < change(4, 5)


def test_identity_is_drawn_as_often_as_any_other():
    unchanged = (randaugment(IMAGES, 1, 10, draws()).numpy() == IMAGES.numpy()).all(axis=(1, 2, 3))
    # Solarising from level 0 and the others all change this picture; 400 / 14 = 29 +- 5.
    assert 14 <= unchanged.sum() <= 45


# Table 9: 25 sub-policies, two operations each, with probability in percent and magnitude ("-" where it has none).
TABLE_9 = """
posterize 40 8, rotate 60 9;        solarize 60 5, auto_contrast 60 -;  equalize 80 -, equalize 60 -
posterize 60 7, posterize 60 6;     equalize 40 -, solarize 20 4;       equalize 40 -, rotate 80 8
solarize 60 3, equalize 60 -;       posterize 80 5, equalize 100 -;     rotate 20 3, solarize 60 8
equalize 60 -, posterize 40 6;      rotate 80 8, color 40 0;            rotate 40 9, equalize 60 -
equalize 0 -, equalize 80 -;        invert 60 -, equalize 100 -;        color 60 4, contrast 100 8
rotate 80 8, color 100 2;           color 80 8, solarize 80 7;          sharpness 40 7, invert 60 -
shear_x 60 5, equalize 100 -;       color 40 0, equalize 60 -;          equalize 40 -, solarize 20 4
solarize 60 5, auto_contrast 60 -;  invert 60 -, equalize 100 -;        color 60 4, contrast 100 8
equalize 80 -, equalize 60 -
"""


def test_the_policy_is_the_papers_table():
    without_magnitude = (Operation.AUTO_CONTRAST, Operation.EQUALIZE, Operation.INVERT)
    ours = [
        f"{operation.name.lower()} {round(100 * probability)} {'-' if operation in without_magnitude else magnitude}"
        for line in IMAGENET_POLICY
        for operation, probability, magnitude in line
    ]
    assert ours == [entry.strip() for entry in re.split("[,;\n]", TABLE_9) if entry.strip()]
    assert all(len(line) == 2 for line in IMAGENET_POLICY)


def test_the_policy_is_applied_as_often_as_its_probabilities_say():
    varied = autoaugment(IMAGES, draws()).numpy()
    assert varied.dtype == np.float32
    unchanged = (varied == IMAGES.numpy()).all(axis=(1, 2, 3)).mean()
    still = [
        (1 - first[1] * (first[2] > 0 or first[0] in (6, 7, 8))) * (1 - second[1] * (second[2] > 0))
        for first, second in IMAGENET_POLICY
    ]
    assert abs(unchanged - np.mean(still)) < 0.07
    np.testing.assert_array_equal(autoaugment(IMAGES[:7], draws(7)), varied[:7])
