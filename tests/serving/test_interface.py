"""Metadata and region proposals of exported models."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfeff import config, tasks
from tfeff.serving import interface, portable, savedmodel
from tfeff.tasks import ClassificationTask
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID

NAMES = ["a", "b", "c"]
LOADED, SIZE = (24, 20), (16, 12)


def resized(image: np.ndarray, size: np.ndarray | list[int], interpolation: str = "bilinear") -> np.ndarray:
    """Antialiased, in float32, within [0, 255]."""
    height, width = map(int, size)
    kernel = Image.Resampling[interpolation.upper()]
    channels = [Image.fromarray(channel).resize((width, height), kernel) for channel in image]
    return np.stack([np.asarray(channel) for channel in channels]).clip(0, 255)


def fitted(image: np.ndarray, about: dict) -> np.ndarray:
    """Returns an image, uint8 [height, width, channels], at the size of the input, float32."""
    channels = image.transpose(2, 0, 1).astype(np.float32)
    if about["fit"] == "whole":
        return centered(channels, about)
    size, native = np.array(about["image_size"]), np.array(channels.shape[1:])
    ratios = size / native
    if about["fit"] == "stretch":
        loaded = resized(channels, size)
    elif about["fit"] == "crop":
        covering = np.maximum(size, np.round(ratios.max() * native))
        top, left = ((covering - size) // 2).astype(int)
        loaded = resized(channels, covering)[:, top : top + size[0], left : left + size[1]]
    else:
        loaded = resized(channels, np.maximum(1, np.round(ratios.min() * native)))
    loaded, size = np.round(loaded), np.array(about["input"][:2])
    if about["fit"] != "letterbox":
        return resized(loaded, size).transpose(1, 2, 0)
    covered = np.array(loaded.shape[1:])
    inner = np.maximum(1, np.round((size / covered).min() * covered)).astype(int)
    canvas = np.full((len(loaded), *size), 128, np.float32)
    canvas[:, : inner[0], : inner[1]] = resized(loaded, inner)
    return canvas.transpose(1, 2, 0)


def centered(channels: np.ndarray, about: dict) -> np.ndarray:
    """The central square of an image, float32 [channels, height, width], at the size of the input, channels last."""
    native, kernel = np.array(channels.shape[1:]), about["interpolation"]
    if about["image_size"]:
        size = np.array(about["image_size"])
        channels = np.round(resized(channels, np.maximum(size, np.round((size / native).max() * native)), kernel))
    side = int(about["center_crop"] * min(channels.shape[1:]) + 1e-6)
    top, left = ((np.array(channels.shape[1:]) - side + 1) // 2).astype(int)
    square = np.ascontiguousarray(channels[:, top : top + side, left : left + side])
    return resized(square, about["input"][:2], kernel).transpose(1, 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox", "whole", "original"])
def test_images_can_be_fitted_by_the_caller(fit: str, tmp_path) -> None:
    class Fitted(ClassificationTask):
        @property
        def fit(self):
            return fit

    whole = config.ClassificationSettings(center_crop=0.8, interpolation="bicubic")
    task = ClassificationTask(whole) if fit in ("whole", "original") else Fitted()
    loaded = None if fit == "original" else LOADED
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 3, 2, activation="relu")(keras.layers.Rescaling(1 / 64, -2.0)(inputs))
    spread = keras.initializers.RandomNormal(stddev=0.3)
    network = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer=spread)(keras.layers.Flatten()(x)))
    written = savedmodel.export(network, NAMES, tmp_path / "model", image_size=loaded, size=SIZE, channels=3, task=task)
    served = tf.saved_model.load(written).signatures["serving_default"]
    about = json.loads(interface.metadata(task, NAMES, None, channels=3, image_size=loaded, size=SIZE))
    predict = portable.function(network, task, batch_size=1)
    rng, found, expected = np.random.default_rng(0), [], []
    for height, width in ((40, 60), (70, 30), (9, 13), LOADED, SIZE):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        expected.append(served(images=image[np.newaxis])["probabilities"].numpy())
        found.append(predict(tf.constant(fitted(image, about)[np.newaxis]))["probabilities"].numpy())
    assert np.std(expected, axis=0).max() > 0.05  # they vary between images
    np.testing.assert_allclose(found, expected, atol=2e-3)  # a pixel can be rounded differently


@pytest.mark.parametrize("given", [0, 3, 5, 8])
def test_proposals_are_padded_or_truncated_and_scaled(given: int) -> None:
    task = tasks.create(
        config.override(config.Experiment(), ["task.name=fast_rcnn", "task.proposals.max_proposals=5"]).task
    )
    boxes = np.random.default_rng(0).uniform(1, 9, (2, given, 4)).astype(np.float32)
    counts, scale = np.array([given, min(given, 2)], np.int32), np.array([[2.0, 3.0], [0.5, 0.25]], np.float32)
    whole = np.full((2, 2), 99, np.int32)
    found = interface.network_inputs(task, boxes, counts, scale=scale, covered=whole)
    expected, valid = np.zeros((2, 5, 4), np.float32), np.zeros((2, 5), bool)
    for image, count in enumerate(np.minimum(counts, 5)):
        expected[image, :count] = boxes[image, :count] * np.tile(scale[image], 2)
        valid[image, :count] = True
    np.testing.assert_allclose(found[PROPOSED], expected, rtol=1e-6)
    np.testing.assert_array_equal(found[PROPOSED_VALID], valid)
    for name, spec in interface.network_specs(task).items():
        assert spec.is_compatible_with(found[name])
    covered = np.array([[5, 27], [3, 2]], np.int32)
    clipped = interface.network_inputs(task, boxes, counts, scale=scale, covered=covered)[PROPOSED]
    np.testing.assert_allclose(clipped, np.minimum(expected, np.tile(covered, 2)[:, np.newaxis]), rtol=1e-6)
    unscaled = interface.network_inputs(task, boxes, counts, covered=whole)[PROPOSED]
    np.testing.assert_allclose(unscaled[0, : min(given, 5)], boxes[0, :5])
