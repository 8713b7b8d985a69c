import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.erasing import random_erasing

IMAGES = np.full((2000, 32, 40, 3), 1000.0, np.float32)  # A level that no paint has.


def erased(probability):
    draws = Draws(0, tf.constant(0), tf.range(2000, dtype=tf.int64), tf.zeros(2000, tf.int64))
    return random_erasing(tf.constant(IMAGES), probability, draws).numpy()


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_one_rectangle_of_one_color_is_painted_with_its_probability(probability):
    images = erased(probability)
    painted = images[..., 0] != 1000
    touched = painted.any(axis=(1, 2))
    assert abs(touched.mean() - probability) <= (0 if probability in (0, 1) else 0.04)
    for image, mask in zip(images[touched][:200], painted[touched][:200], strict=True):
        np.testing.assert_array_equal(mask, np.outer(mask.any(axis=1), mask.any(axis=0)))
        assert (image[mask] == image[mask][0]).all()
        assert image[mask].min() >= 0
        assert image[mask].max() <= 255


def test_area_and_place_are_spread_as_the_paper_says():
    painted = erased(1.0)[..., 0] != 1000
    area = painted.mean(axis=(1, 2))
    assert 0.01 < area.min() < 0.04
    assert 0.36 < area.max() < 0.42
    assert abs(area.mean() - 0.21) < 0.02
    height, width = painted.any(axis=2).sum(axis=1), painted.any(axis=1).sum(axis=1)
    small = area < 0.2  # Of larger ones the sides are cut to the image's.
    aspect = np.log(height[small] / width[small])
    assert abs(aspect.mean()) < 0.1
    assert np.abs(aspect).max() < np.log(1 / 0.3) + 0.25
    assert painted.any(axis=0).all()
