"""Boxes follow what happens to their images; no image loses its object."""

import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import thorough
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.single_object import augment

SIDE = 64


def squares(count):
    """White rectangles on gray, uint8 [count, 64, 64, 1], and their boxes in shares."""
    rng = np.random.default_rng(0)
    images, boxes = np.full((count, SIDE, SIDE, 1), 60, np.uint8), []
    for image in images:
        top, left = rng.integers(4, 30, 2)
        bottom, right = top + rng.integers(12, 30), left + rng.integers(12, 30)
        image[top:bottom, left:right] = 255
        boxes.append((top, left, bottom, right))
    return images, np.array(boxes, np.float32) / SIDE


def varied(images, boxes, augmentation, epoch=1, index=None):
    index = np.arange(len(images)) if index is None else index
    draws = Draws(5, tf.constant(epoch), tf.constant(index, tf.int64), tf.zeros(len(index), tf.int64))
    out = augment(tf.constant(images), tf.constant(boxes), (SIDE, SIDE), augmentation, draws)
    return [tensor.numpy() for tensor in out]


def around(image):
    rows, columns = (np.flatnonzero((image[..., 0] > 190).any(axis=axis)) for axis in (1, 0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


@pytest.mark.parametrize(
    "augmentation",
    [
        BoxAugmentation(),
        thorough(BoxAugmentation(horizontal_flip=True, vertical_flip=True)),
        BoxAugmentation(scale=0.3, aspect=0.3),
        BoxAugmentation(horizontal_flip=True, scale=0.2, rotation=2, brightness=0.05),
    ],
)
def test_the_box_surrounds_the_rectangle(augmentation):
    images, boxes = squares(24)
    out, moved = varied(images, boxes, augmentation)
    assert out.shape == (24, SIDE, SIDE, 1)
    for image, box in zip(out, moved, strict=True):
        np.testing.assert_allclose(box * SIDE, around(image), atol=2.6 if augmentation.rotation else 1.1)
    if augmentation.any:
        assert (np.abs(moved - boxes).max(axis=1) > 0.02).any()


def test_an_image_that_would_lose_its_object_stays_unaugmented():
    images = np.full((40, SIDE, SIDE, 1), 60, np.uint8)
    images[:, :4, :4] = 255
    boxes = np.tile(np.array([[0, 0, 4, 4]], np.float32) / SIDE, (40, 1))
    out, moved = varied(images, boxes, BoxAugmentation(scale=0.9, min_share=1.0))
    same = (out == images).all(axis=(1, 2, 3))
    assert 3 < same.sum() < 37
    np.testing.assert_array_equal(moved[same], boxes[same])
    for image, box in zip(out[~same], moved[~same], strict=True):
        np.testing.assert_allclose(box * SIDE, around(image), atol=1.6)


def test_augmentation_does_not_depend_on_the_batch():
    images, boxes = squares(6)
    strong = BoxAugmentation(horizontal_flip=True, scale=0.3, rotation=5, contrast=0.3)
    out, moved = varied(images, boxes, strong)
    alone = varied(images[4:5], boxes[4:5], strong, index=np.array([4]))
    np.testing.assert_array_equal(alone[0][0], out[4])
    np.testing.assert_array_equal(alone[1][0], moved[4])
    assert not np.array_equal(varied(images, boxes, strong, epoch=2)[1], moved)
