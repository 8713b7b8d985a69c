"""Warped regions: bilinear interpolation reproduces a linear ramp exactly."""

import numpy as np
import pytest
import tensorflow as tf

from tfeff.rcnn.warping import warp


def ramp(height: int, width: int) -> np.ndarray:
    """Returns an image whose value at a pixel's center (y, x) is 3 y + 2 x + 1; half of it in the second channel."""
    y, x = np.mgrid[:height, :width] + 0.5
    plane = 3 * y + 2 * x + 1
    return np.stack([plane, plane / 2], axis=-1).astype(np.float32)


@pytest.mark.parametrize("context", [0, 4])
@pytest.mark.parametrize("side", [16, 33])
def test_a_ramp_stays_a_ramp(side: int, context: int) -> None:
    image = ramp(120, 90)
    boxes = np.array([[30, 30, 62, 54], [40.5, 35.25, 49.75, 61.5]], np.float32)
    warped = warp(tf.constant(image), tf.constant(boxes), side, context).numpy()
    for box, found in zip(boxes, warped, strict=True):
        scale = (box[2:] - box[:2]) / (side - 2 * context)
        y, x = (box[axis] + (np.arange(side) - context + 0.5) * scale[axis] for axis in range(2))
        expected = 3 * y[:, None] + 2 * x + 1
        np.testing.assert_allclose(found[..., 0], expected, rtol=1e-4)
        np.testing.assert_allclose(found[..., 1], expected / 2, rtol=1e-4)


def test_an_image_at_its_own_size_is_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    coarse = np.kron(image, np.ones((2, 2, 1), np.uint8))
    found = warp(tf.constant(coarse), tf.constant([[0.0, 0.0, 48.0, 48.0]]), 24).numpy()[0]
    # Four samples per pixel, at the centers of its four equal quarters.
    np.testing.assert_allclose(found, image, atol=1e-3)


def test_borders_repeat_the_outermost_pixels() -> None:
    image = np.full((40, 50, 3), 10.0, np.float32)
    image[0], image[:, -1] = 200.0, 200.0
    found = warp(tf.constant(image), tf.constant([[0.0, 10.0, 1.0, 40.0], [5.0, 49.0, 35.0, 50.0]]), 12).numpy()
    # Toward the neighboring row and column, which are darker, the samples are mixtures.
    np.testing.assert_allclose(found[0, :6], 200.0, atol=1e-3)
    np.testing.assert_allclose(found[1, :, 6:], 200.0, atol=1e-3)
    assert (found > 100).all()


@pytest.mark.parametrize("factor", [3, 8, 20])
def test_every_pixel_of_a_large_region_contributes(factor: int) -> None:
    side = 16
    image = np.random.default_rng(0).normal(0, 50, (side * factor, side * factor, 1)).astype(np.float32)
    found = warp(tf.constant(image), tf.constant([[0.0, 0.0, side * factor, side * factor]]), side).numpy()[0]
    means = image.reshape(side, factor, side, factor, 1).mean(axis=(1, 3))
    # The tent kernel of a sample is wider than the box of the mean, so less noise is left.
    assert found.std() < 1.2 * means.std()
    assert np.corrcoef(found.ravel(), means.ravel())[0, 1] > 0.75


def test_regions_of_all_sizes_keep_their_order() -> None:
    image = ramp(600, 600)
    boxes = np.array([[10, 10, 590, 590], [50, 50, 60, 60], [20, 30, 220, 230], [0, 0, 600, 600]], np.float32)
    found = warp(tf.constant(image), tf.constant(boxes), 8).numpy()
    middle = 3 * (boxes[:, 0] + boxes[:, 2]) / 2 + 2 * (boxes[:, 1] + boxes[:, 3]) / 2 + 1
    np.testing.assert_allclose(found[..., 0].mean(axis=(1, 2)), middle, rtol=2e-3)


def test_pixels_outside_the_image_have_its_mean_color() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    found = warp(tf.constant(image), tf.constant([[-40.0, -60.0, -20.0, -30.0]]), 8).numpy()[0]
    np.testing.assert_allclose(found, np.broadcast_to(image.mean(axis=(0, 1)), found.shape), rtol=1e-4)


def test_no_regions_and_regions_without_area() -> None:
    image = tf.ones((10, 10, 3)) * 7
    assert warp(image, tf.zeros((0, 4)), 8).shape == (0, 8, 8, 3)
    assert warp(tf.ones((1, 1, 3)), tf.constant([[0.0, 0.0, 1.0, 1.0]]), 8).shape == (1, 8, 8, 3)
    np.testing.assert_allclose(warp(image, tf.constant([[3.0, 3.0, 3.0, 3.0]]), 8).numpy(), 7.0)
