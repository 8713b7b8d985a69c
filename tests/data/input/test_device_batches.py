"""Batches that are finished on the device are those made on the host."""

import numpy as np
import pytest
import tensorflow as tf

from tests.data.input.test_batches import EVERYTHING, MIXED, MODERATE, assert_same, cache, elements, pipeline
from tests.thoroughness import thorough
from tfeff.data.augment.policy import Augmentation
from tfeff.data.input.device_batches import DeviceBatches
from tfeff.errors import UserError

__all__ = ["cache"]


CASES = {
    "everything": (EVERYTHING, (8, 8), 1e-3),
    "mixed": (MIXED, (8, 8), 1e-3),
    "crops": (Augmentation(crop_area=0.3), (6, 7), 0.1),
    "smaller": (Augmentation(crop_padding=1), (5, 6), 0.1),
    "larger": (Augmentation(crop_padding=1), (12, 16), 0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "interpolation"),
    [
        *((name, "bilinear") for name in CASES),
        *((name, "bicubic") for name in ("crops", "smaller")),  # images of the cache have 8 x 8 pixels
        thorough("larger", "bicubic"),
    ],
)
def test_batches_finished_on_the_device(cache, name, interpolation):
    augmentation, size, tolerance = CASES[name]
    made = pipeline(cache, augmentation=augmentation, size=size, plain_from=1)
    made.transform.interpolation = interpolation
    device = DeviceBatches(made)
    finish = tf.function(device.finish)
    loaded = elements(device.training_batches(2, 4))
    for given, expected in zip(loaded, elements(made.training_batches(2, 4)), strict=True):
        assert given["image"].dtype == np.uint8
        assert {len(values) for values in given.values()} == {16}
        batch = {key: values.numpy() for key, values in finish(given).items()}
        assert batch.keys() == expected.keys()
        np.testing.assert_allclose(batch.pop("image"), expected["image"], rtol=0, atol=tolerance)
        assert_same([batch], [{key: expected[key] for key in batch}])


def test_workers_and_devices_finish_their_parts(cache):
    for augmentation, options, halves in ((MIXED, {"shard": (1, 2)}, False), (MODERATE, {}, True)):
        made = pipeline(cache, augmentation=augmentation, size=(8, 8), **options)
        device = DeviceBatches(made)
        given, expected = (next(iter(each.training_batches(1).as_numpy_iterator())) for each in (device, made))
        parts = [slice(0, 8), slice(8, 16)] if halves else [slice(None)]
        found = [device.finish({key: tf.constant(values[part]) for key, values in given.items()}) for part in parts]
        for key, values in expected.items():
            np.testing.assert_allclose(np.concatenate([each[key] for each in found]), values, atol=1e-3, err_msg=key)


def test_images_that_are_prepared_one_by_one_are_not_finished_on_the_device(cache):
    made = pipeline(cache)
    made.transform.per_example = True
    with pytest.raises(UserError, match=r"data\.augment_on_device=true: only images with one label"):
        DeviceBatches(made)
