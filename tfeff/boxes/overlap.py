"""Areas, intersections and intersection over union of boxes. N, M: numbers of boxes."""

from typing import Any

import numpy as np


def area(boxes_yxyx: np.ndarray) -> np.ndarray:
    """Returns areas, float64 [N], of boxes [N, 4]; 0 if bottom < top or right < left."""
    boxes = np.asarray(boxes_yxyx, np.float64)
    return np.clip(boxes[:, 2] - boxes[:, 0], 0.0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0.0, None)


def intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the area of the intersection of each pair of boxes [N, 4] and [M, 4]: float64 [N, M]."""
    rows, columns = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    sides = np.minimum(rows[..., 2:], columns[..., 2:]) - np.maximum(rows[..., :2], columns[..., :2])
    return np.clip(sides, 0.0, None).prod(axis=-1)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of each pair, float64 [N, M]; 0 if both areas are 0.

    Args:
        first: boxes_yxyx [N, 4].
        second: boxes_yxyx [M, 4].

    >>> iou(np.array([[0, 0, 2, 2]]), np.array([[0, 1, 2, 3], [5, 5, 6, 6]])).round(3).tolist()
    [[0.333, 0.0]]
    """
    common = intersection(first, second)
    union = area(first)[:, None] + area(second)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def share_inside(first: Any, second: Any, *, ops: Any = np) -> Any:
    """Computes the share of each first box that lies in the second, elementwise, [...]; 0 if the first has no area.

    COCO compares detections with crowds in this way: a box around a group contains boxes of single objects.

    Args:
        first: yxyx, float [..., 4], in pixels or relative.
        second: same unit, broadcastable with the first.
        ops: module of the arrays, `numpy` or `keras.ops`.

    >>> share_inside(np.array([0.0, 0.0, 2.0, 2.0]), np.array([[0.0, 1.0, 9.0, 9.0], [5.0, 5.0, 6.0, 6.0]])).tolist()
    [0.5, 0.0]
    """
    sides = ops.minimum(first[..., 2:], second[..., 2:]) - ops.maximum(first[..., :2], second[..., :2])
    sides, own = ops.maximum(sides, 0.0), ops.maximum(first[..., 2:] - first[..., :2], 0.0)
    common, whole = sides[..., 0] * sides[..., 1], own[..., 0] * own[..., 1]
    return ops.where(whole > 0, common / ops.where(whole > 0, whole, 1.0), 0.0)


def paired_iou(first: Any, second: Any, *, ops: Any = np) -> Any:
    """Computes elementwise intersection over union of two arrays of boxes, [...]; 0 if both areas are 0.

    Args:
        first: yxyx, float [..., 4], in pixels or relative.
        second: same shape and unit.
        ops: module of the arrays, `numpy` or `keras.ops`.

    >>> paired_iou(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[0.0, 1.0, 2.0, 3.0]])).round(3).tolist()
    [0.333]
    """

    def areas(top_left: Any, bottom_right: Any) -> Any:
        sides = ops.maximum(bottom_right - top_left, 0.0)
        return sides[..., 0] * sides[..., 1]

    common = areas(ops.maximum(first[..., :2], second[..., :2]), ops.minimum(first[..., 2:], second[..., 2:]))
    union = areas(first[..., :2], first[..., 2:]) + areas(second[..., :2], second[..., 2:]) - common
    positive = union > 0
    return ops.where(positive, common / ops.where(positive, union, 1.0), 0.0)
