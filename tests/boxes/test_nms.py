import numpy as np
import pytest
import tensorflow as tf

from tfeff.boxes import iou, nms, nms_per_class


def case(seed, n=300, side=100.0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, side, (n, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 40, (n, 2))], axis=1).astype(np.float32)
    boxes[: n // 10] = boxes[n // 10 : 2 * (n // 10)]  # some twice
    boxes[-1, 2:] = boxes[-1, :2]  # one without area
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
def test_suppression_agrees_with_tensorflow_and_brute_force(threshold):
    for seed in range(4):
        boxes, scores, labels = case(seed)
        kept = nms(boxes, scores, threshold)
        assert kept.tolist() == brute_force(boxes, scores, threshold)
        if threshold:  # TensorFlow takes boxes that only touch for overlapping ones
            expected = tf.image.non_max_suppression(boxes, scores, len(boxes), iou_threshold=threshold)
            assert kept.tolist() == expected.numpy().tolist()
        assert nms(boxes, scores, threshold, limit=5).tolist() == kept[:5].tolist()
        assert nms_per_class(boxes, scores, labels, threshold).tolist() == brute_force(boxes, scores, threshold, labels)
        assert nms_per_class(boxes, scores, labels, threshold, limit=7).tolist() == (
            nms_per_class(boxes, scores, labels, threshold)[:7].tolist()
        )


def test_nothing_suppresses_nothing():
    none = np.zeros((0, 4), np.float32)
    assert nms(none, [], 0.5).shape == (0,)
    assert nms_per_class(none, [], [], 0.5).shape == (0,)
    assert nms(none, [], 0.5).dtype == np.int64


def test_an_overlap_of_exactly_the_threshold_is_kept():
    assert nms([[0, 0, 2, 2], [0, 0, 2, 1]], [1.0, 0.5], 0.5).tolist() == [0, 1]
