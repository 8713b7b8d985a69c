"""Mirrored predictions against two plain ones."""

import keras
import numpy as np
import pytest

from tfeff import models


@pytest.mark.parametrize("channels", [1, 3])
def test_the_mean_of_two_predictions(channels: int) -> None:
    keras.utils.set_random_seed(0)
    model = models.build("resnet", width=4, resolution=15, num_classes=5, channels=channels)
    images = np.random.default_rng(0).uniform(0, 255, (6, 15, 15, channels)).astype(np.float32)
    both = models.mirrored(model)
    assert both.resolution == 15
    found = keras.ops.convert_to_numpy(keras.ops.softmax(both(images, training=False)))
    plain = [
        keras.ops.convert_to_numpy(keras.ops.softmax(model(view, training=False)))
        for view in (images, images[:, :, ::-1])
    ]
    np.testing.assert_allclose(found, np.mean(plain, axis=0), atol=1e-6)
    assert np.abs(plain[0] - plain[1]).max() > 1e-3
    again = keras.ops.convert_to_numpy(keras.ops.softmax(both(images[:, :, ::-1], training=False)))
    np.testing.assert_allclose(again, found, atol=1e-6)
    assert both.count_params() == model.count_params()
