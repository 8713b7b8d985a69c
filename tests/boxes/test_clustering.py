import numpy as np
import pytest

from tfeff.boxes import iou
from tfeff.boxes.clustering import anchor_sizes, shape_iou


def test_shape_iou_is_the_iou_of_centered_boxes() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(1, 50, (20, 2)), rng.uniform(1, 50, (30, 2))
    centered = [np.concatenate([-sizes / 2, sizes / 2], axis=1) for sizes in (first, second)]
    np.testing.assert_allclose(shape_iou(first, second), iou(*centered))


def test_separate_groups_become_the_anchors() -> None:
    rng = np.random.default_rng(1)
    groups = np.array([[10.0, 10], [20, 60], [90, 30]])
    sizes = np.concatenate([group * rng.uniform(0.95, 1.05, (40, 2)) for group in groups])
    anchors = anchor_sizes(rng.permutation(sizes), 3)
    np.testing.assert_allclose(anchors, groups, rtol=0.03)


def test_the_result_is_a_fixed_point_and_beats_quantiles() -> None:
    rng = np.random.default_rng(2)
    sizes = np.exp(rng.normal(3, 0.7, (500, 2)))
    anchors = anchor_sizes(sizes, 9)
    nearest = shape_iou(sizes, anchors).argmax(axis=1)
    means = np.stack([sizes[nearest == k].mean(axis=0) for k in range(9)])
    np.testing.assert_allclose(anchors, means)
    start = sizes[np.argsort(sizes.prod(axis=1))][((np.arange(9) + 0.5) / 9 * 500).astype(int)]
    assert shape_iou(sizes, anchors).max(axis=1).mean() > shape_iou(sizes, start).max(axis=1).mean() + 0.01


def test_few_boxes() -> None:
    assert anchor_sizes([[4.0, 2.0]], 3).tolist() == [[4, 2]] * 3
    with pytest.raises(ValueError, match="no boxes"):
        anchor_sizes(np.zeros((0, 2)), 3)
