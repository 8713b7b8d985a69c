"""Test-time augmentation, compared with averaging by hand."""

import keras
import numpy as np
import pytest

from tfeff import models
from tfeff.errors import UserError


def probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.softmax(model(images, training=False)))


def shifted(images: np.ndarray, shift: int) -> np.ndarray:
    """Shift by `shift` pixels down and right (negative: up and left), with reflection padding."""
    side, margin = images.shape[1], abs(shift)
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    start = margin - shift
    return padded[:, start : start + side, start : start + side]


def network(channels: int = 3) -> keras.Model:
    return models.build("resnet", width=4, stage_blocks=(1, 1, 1, 1), resolution=15, num_classes=5, channels=channels)


@pytest.mark.parametrize(
    ("channels", "mirrored", "shift"), [(1, False, 0), (3, True, 0), (3, False, 1), (1, True, 1), (3, True, 3)]
)
def test_probabilities_are_the_weighted_mean_over_views(channels: int, mirrored: bool, shift: int) -> None:
    model = network(channels)
    images = np.random.default_rng(0).uniform(0, 255, (6, 15, 15, channels)).astype(np.float32)
    averaged = models.averaged(model, mirrored=mirrored, shift=shift)
    assert averaged.size == (15, 15)
    assert averaged.count_params() == model.count_params()

    expected = np.zeros((6, 5))
    for view, weight in ((images, 0.5), (shifted(images, shift), 0.25), (shifted(images, -shift), 0.25)):
        sides = [view, view[:, :, ::-1]] if mirrored else [view]
        expected += weight * np.mean([probabilities(model, side) for side in sides], axis=0)
    result = probabilities(averaged, images)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    if mirrored or shift:
        assert np.abs(result - probabilities(model, images)).max() > 1e-3
    if mirrored and not shift:
        np.testing.assert_allclose(probabilities(averaged, images[:, :, ::-1]), result, atol=1e-6)


def test_a_shift_as_large_as_the_image_is_an_error() -> None:
    model = network()
    with pytest.raises(UserError, match="shift 15: must be between 0 and 14 for images of 15x15 pixels"):
        models.averaged(model, shift=15)
