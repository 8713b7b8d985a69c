"""Predictions over several views against the plain ones."""

import keras
import numpy as np
import pytest

from tfeff import models
from tfeff.errors import UserError


def probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.softmax(model(images, training=False)))


def moved(images: np.ndarray, shift: int) -> np.ndarray:
    """Down and right by `shift` pixels, up and left for a negative one."""
    side, more = images.shape[1], abs(shift)
    padded = np.pad(images, ((0, 0), (more, more), (more, more), (0, 0)), mode="reflect")
    start = more - shift
    return padded[:, start : start + side, start : start + side]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_the_weighted_mean_of_the_views(channels: int, mirrored: bool, shift: int) -> None:
    model = models.build("resnet", width=4, resolution=15, num_classes=5, channels=channels)
    images = np.random.default_rng(0).uniform(0, 255, (6, 15, 15, channels)).astype(np.float32)
    whole = models.averaged(model, mirrored=mirrored, shift=shift)
    assert whole.resolution == 15
    assert whole.count_params() == model.count_params()

    wanted = np.zeros((6, 5))
    for view, weight in ((images, 0.5), (moved(images, shift), 0.25), (moved(images, -shift), 0.25)):
        sides = [view, view[:, :, ::-1]] if mirrored else [view]
        wanted += weight * np.mean([probabilities(model, side) for side in sides], axis=0)
    found = probabilities(whole, images)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    if mirrored or shift:
        assert np.abs(found - probabilities(model, images)).max() > 1e-3
    if mirrored and not shift:
        np.testing.assert_allclose(probabilities(whole, images[:, :, ::-1]), found, atol=1e-6)


def test_a_shift_as_large_as_the_image_is_refused() -> None:
    model = models.build("resnet", width=4, resolution=15, num_classes=5)
    with pytest.raises(UserError, match="15 pixels of images of 15x15; it should be 0 to 14"):
        models.averaged(model, shift=15)
