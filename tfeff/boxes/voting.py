"""Box voting: detections take over the average of all boxes of their object.

Source: Gidaris and Komodakis, "Object detection via a multi-region & semantic segmentation-aware CNN model", 2015,
section 4.3.
"""

from typing import Any

import numpy as np

from tfeff.boxes.overlap import paired_iou


def voted(
    kept_yxyx: Any, kept_labels: Any, boxes_yxyx: Any, labels: Any, scores: Any, overlap: float, *, ops: Any = np
) -> Any:
    """Returns the kept boxes, each replaced by the average of the candidates of its class that overlap it.

    Args:
        kept_yxyx: [n, 4], the result of non-maximum suppression.
        kept_labels: integer [n].
        boxes_yxyx: [m, 4], the candidates, among them the kept boxes.
        labels: integer [m].
        scores: [m], the weights.
        overlap: minimum IoU with the kept box.
        ops: module of the arrays, `numpy` or `keras.ops`.

    >>> one, both = np.array([[0.0, 0.0, 8.0, 8.0]]), np.array([[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 12.0]])
    >>> voted(one, np.array([1]), both, np.array([1, 1]), np.array([0.75, 0.25]), overlap=0.5).tolist()
    [[0.0, 0.0, 8.0, 9.0]]
    """
    near = paired_iou(kept_yxyx[:, None], boxes_yxyx[None], ops=ops) >= overlap
    weights = ops.where(near & (kept_labels[:, None] == labels[None]), scores[None], 0.0)
    total = ops.sum(weights, axis=1, keepdims=True)
    average = ops.matmul(weights, boxes_yxyx) / ops.where(total > 0, total, 1.0)
    return ops.where(total > 0, average, kept_yxyx)  # a box without area overlaps nothing
