import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.boxes import area, iou, paired_iou


def test_overlap_equals_counting_pixels():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 20, (60, 2, 2)), axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1]], axis=1)  # some without area
    masks = np.zeros((60, 20, 20), bool)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    common = (masks[:, None] & masks[None]).sum((2, 3))
    union = (masks[:, None] | masks[None]).sum((2, 3))
    expected = np.divide(common, union, out=np.zeros(union.shape), where=union > 0)
    assert iou(boxes, boxes) == pytest.approx(expected, abs=1e-15)
    assert area(boxes) == pytest.approx(masks.sum((1, 2)))


def test_no_boxes_have_a_shape_too():
    none = np.zeros((0, 4), np.float32)
    assert iou(none, np.zeros((3, 4))).shape == (0, 3)
    assert iou(np.zeros((3, 4)), none).shape == (3, 0)
    assert area(none).shape == (0,)


@pytest.mark.parametrize("ops", [np, keras.ops])
def test_overlap_of_pairs_is_the_diagonal_of_all_pairs(ops):
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 1, (2, 200, 2, 2)).astype(np.float32)
    corners[:, 40:] = np.sort(corners[:, 40:], axis=2)  # the others have their bottom above their top, or the like
    first, second = corners.reshape(2, 200, 4)
    second[:50] = first[:50]
    expected = np.diag(iou(first, second))
    assert 50 < np.count_nonzero(expected) < 190
    assert np.asarray(paired_iou(first, second, ops=ops)) == pytest.approx(expected, abs=1e-6)


def test_a_box_without_area_gives_no_gradient_that_is_not_a_number():
    box = tf.constant([[0.5, 0.5, 0.5, 0.5]])
    with tf.GradientTape() as tape:
        tape.watch(box)
        overlap = paired_iou(box, box, ops=keras.ops)
    assert np.isfinite(tape.gradient(overlap, box)).all()
