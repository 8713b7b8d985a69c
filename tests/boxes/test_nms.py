"""Non-maximum suppression, compared with TensorFlow and brute force."""

import numpy as np
import pytest
import tensorflow as tf

from tfeff.boxes import iou, nms, nms_per_class


def case(seed, n=300, side=100.0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, side, (n, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 40, (n, 2))], axis=1).astype(np.float32)
    boxes[: n // 10] = boxes[n // 10 : 2 * (n // 10)]  # duplicates
    boxes[-1, 2:] = boxes[-1, :2]  # a box with area 0
    scores = rng.integers(0, n // 3, n).astype(np.float32) / n  # with ties
    return boxes, scores, rng.integers(0, 4, n)


def brute_force(boxes, scores, threshold, labels=None):
    kept = []
    overlaps = iou(boxes, boxes)
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if all(overlaps[i, j] <= threshold for j in kept if labels is None or labels[i] == labels[j]):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_kept_boxes_equal_those_of_tensorflow_and_brute_force(threshold):
    for seed in range(4):
        boxes, scores, labels = case(seed)
        kept = nms(boxes, scores, threshold)
        assert kept.tolist() == brute_force(boxes, scores, threshold)
        if threshold:  # at threshold 0, TensorFlow also removes boxes that only touch
            expected = tf.image.non_max_suppression(boxes, scores, len(boxes), iou_threshold=threshold)
            assert kept.tolist() == expected.numpy().tolist()
        assert nms(boxes, scores, threshold, limit=5).tolist() == kept[:5].tolist()
        assert nms_per_class(boxes, scores, labels, threshold).tolist() == brute_force(boxes, scores, threshold, labels)
        assert nms_per_class(boxes, scores, labels, threshold, limit=7).tolist() == (
            nms_per_class(boxes, scores, labels, threshold)[:7].tolist()
        )


def test_empty_arrays():
    empty = np.zeros((0, 4), np.float32)
    assert nms(empty, [], 0.5).shape == (0,)
    assert nms_per_class(empty, [], [], 0.5).shape == (0,)
    assert nms(empty, [], 0.5).dtype == np.int64


def test_an_overlap_equal_to_the_threshold_is_kept():
    assert nms([[0, 0, 2, 2], [0, 0, 2, 1]], [1.0, 0.5], 0.5).tolist() == [0, 1]
