import numpy as np
import pytest

from tfeff.boxes import area, iou


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
