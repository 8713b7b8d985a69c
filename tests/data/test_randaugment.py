import numpy as np
import tensorflow as tf

from tfeff.data import randaugment
from tfeff.data.autoaugment import IMAGENET_POLICY, autoaugment
from tfeff.data.counter_rng import Draws
from tfeff.data.operations import Operation

Y, X = np.mgrid[:16, :16]
PICTURE = np.stack([100 + 60 * np.sin(Y / 4), 100 + 60 * np.cos(X / 3), 5 * (X + Y) + 20], axis=-1).round()
IMAGES = tf.constant(np.repeat(PICTURE[None], 400, axis=0), tf.float32)


def draws(n=400, epoch=0):
    return Draws(0, tf.constant(epoch), tf.range(n, dtype=tf.int64), tf.zeros(n, tf.int64))


def test_the_paper_has_14_operations():
    assert len(randaugment.OPERATIONS) == 14
    assert Operation.INVERT not in randaugment.OPERATIONS


def test_images_are_varied_each_in_its_way_and_anew_in_each_epoch():
    first = randaugment.randaugment(IMAGES, 2, 9, draws()).numpy()
    assert first.dtype == np.float32
    assert len(np.unique(first.reshape(400, -1), axis=0)) > 100
    np.testing.assert_array_equal(randaugment.randaugment(IMAGES[:7], 2, 9, draws(7)), first[:7])
    assert (randaugment.randaugment(IMAGES, 2, 9, draws(epoch=1)).numpy() != first).any(axis=(1, 2, 3)).mean() > 0.9


def test_layers_and_magnitude_both_strengthen():
    def change(layers, magnitude):
        return float(tf.reduce_mean(tf.abs(randaugment.randaugment(IMAGES, layers, magnitude, draws()) - IMAGES)))

    assert change(1, 2) < change(1, 5) < change(1, 10)
    assert change(1, 5) < change(2, 5) < change(4, 5)


def test_identity_is_drawn_as_often_as_any_other():
    unchanged = (randaugment.randaugment(IMAGES, 1, 10, draws()).numpy() == IMAGES.numpy()).all(axis=(1, 2, 3))
    # Solarising from level 0 and the others all change this picture; 400 / 14 = 29 +- 5.
    assert 14 <= unchanged.sum() <= 45


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
