import colorsys

import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.images import LUMA, jitter, random_erasing
from tfeff.data.augment.policy import Augmentation

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


RNG = np.random.default_rng(0)
# Levels in the middle, which a moderate change does not push over the ends.
PIXELS = RNG.uniform(90, 150, (300, 5, 6, 3)).astype(np.float32)


def jittered(images=PIXELS, **amounts):
    n = len(images)
    draws = Draws(0, tf.constant(0), tf.range(n, dtype=tf.int64), tf.zeros(n, tf.int64))
    return jitter(tf.constant(images), Augmentation(**amounts), draws).numpy()


def test_pixels_that_are_not_covered_neither_count_nor_change():
    draws = Draws(0, tf.constant(0), tf.range(8, dtype=tf.int64), tf.zeros(8, tf.int64))
    settings = Augmentation(brightness=0.2, contrast=0.4, saturation=0.3, hue=0.1)
    canvas, covered = np.full((8, 12, 12, 3), 128, np.float32), np.zeros((8, 12, 12, 1), bool)
    canvas[:, 3:8, 2:8], covered[:, 3:8, 2:8] = PIXELS[:8], True
    changed = jitter(tf.constant(canvas), settings, draws, tf.constant(covered)).numpy()
    alone = jitter(tf.constant(PIXELS[:8]), settings, draws)
    np.testing.assert_allclose(changed[:, 3:8, 2:8], alone, rtol=0, atol=1e-4)
    assert (changed[~covered[..., 0]] == 128).all()
    every = jitter(tf.constant(canvas), settings, draws, tf.ones((8, 12, 12, 1), tf.bool))
    np.testing.assert_array_equal(every, jitter(tf.constant(canvas), settings, draws))


def luma(images):
    return images @ LUMA


def test_brightness_is_one_factor_per_image():
    factor = jittered(brightness=0.3) / PIXELS
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1, :1], factor.shape), rtol=1e-5)
    assert 0.7 <= factor.min() < 0.72
    assert 1.28 < factor.max() <= 1.3
    assert abs(factor[:, 0, 0, 0].mean() - 1) < 0.03


def test_contrast_spreads_about_the_mean_luma():
    changed = jittered(contrast=0.4)
    np.testing.assert_allclose(luma(changed).mean(axis=(1, 2)), luma(PIXELS).mean(axis=(1, 2)), rtol=1e-5)
    factor = changed.std(axis=(1, 2, 3)) / PIXELS.std(axis=(1, 2, 3))
    assert 0.59 < factor.min() < 0.63
    assert 1.37 < factor.max() < 1.41


def test_saturation_and_hue_keep_luma():
    for amounts in ({"saturation": 0.5}, {"hue": 0.1}, {"saturation": 0.5, "hue": 0.1}):
        changed = jittered(**amounts)
        assert np.abs(changed - PIXELS).max() > 1
        np.testing.assert_allclose(luma(changed), luma(PIXELS), rtol=1e-5)


def test_saturation_scales_the_distance_to_gray():
    changed = jittered(saturation=0.5)
    gray = luma(PIXELS)[..., None]
    factor = ((changed - gray) * (PIXELS - gray)).sum(-1) / ((PIXELS - gray) ** 2).sum(-1)
    np.testing.assert_allclose(changed, gray + factor[..., None] * (PIXELS - gray), atol=1e-3)
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1], factor.shape), atol=1e-3)


def test_hue_rotates_up_to_its_fraction_of_the_circle():
    red = np.broadcast_to(np.float32([160, 100, 100]), (300, 2, 2, 3)).copy()
    turned = jittered(red, hue=0.1)[:, 0, 0]
    hue = np.array([colorsys.rgb_to_hsv(*(pixel / 255))[0] for pixel in turned])
    hue = (hue + 0.5) % 1 - 0.5
    assert 0.05 < hue.max() < 0.15
    assert -0.15 < hue.min() < -0.05


def test_gray_images_have_no_color_to_change():
    gray = PIXELS[..., :1]
    np.testing.assert_array_equal(jittered(gray, saturation=0.5, hue=0.2), gray)
    assert np.abs(jittered(gray, brightness=0.5) - gray).max() > 10


def test_levels_stay_in_range():
    extreme = RNG.choice([0.0, 255.0], (100, 4, 4, 3)).astype(np.float32)
    changed = jittered(extreme, brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5)
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert changed.dtype == np.float32
