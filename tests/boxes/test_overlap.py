"""Overlap of boxes, compared with pixel counts, Keras and KerasCV."""

import keras
import keras_cv
import numpy as np
import pytest
import tensorflow as tf

from tfeff.boxes import area, iou, paired_iou, share_inside


def test_iou_and_area_equal_pixel_counts():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 20, (60, 2, 2)), axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1]], axis=1)  # some with area 0
    masks = np.zeros((60, 20, 20), bool)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    common = (masks[:, None] & masks[None]).sum((2, 3))
    union = (masks[:, None] | masks[None]).sum((2, 3))
    expected = np.divide(common, union, out=np.zeros(union.shape), where=union > 0)
    assert iou(boxes, boxes) == pytest.approx(expected, abs=1e-15)
    assert area(boxes) == pytest.approx(masks.sum((1, 2)))
    own = masks.sum((1, 2))[:, None]
    expected = np.divide(common, own, out=np.zeros(common.shape), where=own > 0)
    assert share_inside(boxes[:, None], boxes[None]) == pytest.approx(expected, abs=1e-15)


def test_empty_arrays():
    empty = np.zeros((0, 4), np.float32)
    assert iou(empty, np.zeros((3, 4))).shape == (0, 3)
    assert iou(np.zeros((3, 4)), empty).shape == (3, 0)
    assert area(empty).shape == (0,)


def random_boxes(seed, count=50):
    corners = np.sort(np.random.default_rng(seed).uniform(0, 100, (count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype(np.float32)


@pytest.mark.parametrize("compute_iou", [keras.utils.bounding_boxes.compute_iou, keras_cv.bounding_box.compute_iou])
def test_iou_equals_that_of_keras_and_keras_cv(compute_iou):
    first, second = random_boxes(2), random_boxes(3, count=20)
    expected = np.asarray(compute_iou(first, second, bounding_box_format="yxyx"))
    assert 0 < np.count_nonzero(expected) < expected.size
    np.testing.assert_allclose(iou(first, second), expected, atol=1e-5)


@pytest.mark.parametrize("compute_ciou", [keras.utils.bounding_boxes.compute_ciou, keras_cv.bounding_box.compute_ciou])
def test_ciou_of_concentric_boxes_with_equal_aspect_ratio_is_their_iou(compute_ciou):
    boxes = random_boxes(4)
    margins = 0.2 * (boxes[:, 2:] - boxes[:, :2])
    smaller = boxes + np.concatenate([margins, -margins], axis=1)
    expected = np.asarray(compute_ciou(boxes, smaller, bounding_box_format="yxyx"))
    np.testing.assert_allclose(paired_iou(boxes, smaller), expected, atol=1e-4)
    np.testing.assert_allclose(expected, 0.36, atol=1e-4)


@pytest.mark.parametrize("ops", [np, keras.ops])
def test_paired_iou_is_the_diagonal_of_iou(ops):
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 1, (2, 200, 2, 2)).astype(np.float32)
    corners[:, 40:] = np.sort(corners[:, 40:], axis=2)  # the others have bottom < top or right < left
    first, second = corners.reshape(2, 200, 4)
    second[:50] = first[:50]
    expected = np.diag(iou(first, second))
    assert 50 < np.count_nonzero(expected) < 190
    assert np.asarray(paired_iou(first, second, ops=ops)) == pytest.approx(expected, abs=1e-6)


def test_gradients_of_boxes_with_area_zero_are_finite():
    box = tf.constant([[0.5, 0.5, 0.5, 0.5]])
    with tf.GradientTape() as tape:
        tape.watch(box)
        overlap = paired_iou(box, box, ops=keras.ops)
    assert np.isfinite(tape.gradient(overlap, box)).all()
