"""How much boxes have in common. N, M: boxes."""

import numpy as np


def area(boxes_yxyx: np.ndarray) -> np.ndarray:
    """Areas, float64 [N], of boxes [N, 4]; 0 where bottom or right lies before top or left."""
    boxes = np.asarray(boxes_yxyx, np.float64)
    return np.clip(boxes[:, 2] - boxes[:, 0], 0.0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0.0, None)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair, float64 [N, M]; 0 where both are without area.

    Args:
        first: boxes_yxyx [N, 4].
        second: boxes_yxyx [M, 4].

    >>> iou(np.array([[0, 0, 2, 2]]), np.array([[0, 1, 2, 3], [5, 5, 6, 6]])).round(3).tolist()
    [[0.333, 0.0]]
    """
    one, other = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    common = np.clip(sides, 0.0, None).prod(axis=-1)
    union = area(first)[:, None] + area(second)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)
