"""Non-maximum suppression: removes boxes that overlap a box with a higher score.

Box voting: detections take over the average of all boxes of their object (Gidaris and Komodakis, "Object detection via
a multi-region & semantic segmentation-aware CNN model", 2015, section 4.3).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff.boxes.overlap import area, paired_iou


def nms(
    boxes_yxyx: npt.ArrayLike, scores: npt.ArrayLike, threshold: float, *, limit: int | None = None
) -> npt.NDArray[np.int64]:
    """Suppresses boxes that overlap a better one too much (greedy non-maximum suppression).

    Repeatedly keeps the box with the highest score and removes the boxes that overlap it by more than the threshold.

    Args:
        boxes_yxyx: float [n, 4].
        scores: float [n], finite. Of equal scores, the lower index comes first.
        threshold: intersection over union; a box with exactly this overlap is kept.
        limit: maximum number of boxes to keep; None keeps all.

    Returns:
        int64 [kept], indices by descending score.

    >>> nms([[0, 0, 4, 4], [0, 1, 4, 5], [9, 9, 12, 12]], [0.5, 0.9, 0.1], threshold=0.5).tolist()
    [1, 2]
    """
    score = np.asarray(scores)
    remaining = np.argsort(-score, kind="stable")
    boxes = np.asarray(boxes_yxyx, np.float64).reshape(-1, 4)[remaining]
    areas = area(boxes)
    top, left, bottom, right = np.ascontiguousarray(boxes.T)
    kept: list[int] = []
    while len(remaining) and (limit is None or len(kept) < limit):
        kept.append(int(remaining[0]))
        height = np.minimum(bottom[1:], bottom[0]) - np.maximum(top[1:], top[0])
        width = np.minimum(right[1:], right[0]) - np.maximum(left[1:], left[0])
        common = np.maximum(height, 0.0) * np.maximum(width, 0.0)
        union = areas[1:] + areas[0] - common
        overlap = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
        keep = np.append(False, overlap <= threshold)
        remaining, areas = remaining[keep], areas[keep]
        top, left, bottom, right = top[keep], left[keep], bottom[keep], right[keep]
    return np.array(kept, np.int64)


def nms_per_class(
    boxes_yxyx: npt.ArrayLike,
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    threshold: float,
    *,
    limit: int | None = None,
) -> npt.NDArray[np.int64]:
    """Applies `nms` within each class, by `labels` int [n].

    `limit` applies to all classes combined.
    """
    boxes, score, label = np.asarray(boxes_yxyx).reshape(-1, 4), np.asarray(scores), np.asarray(labels)
    kept = [np.zeros(0, np.int64)]
    for value in np.unique(label):
        indices = np.flatnonzero(label == value)
        kept.append(indices[nms(boxes[indices], score[indices], threshold, limit=limit)])
    all_kept = np.sort(np.concatenate(kept))
    return all_kept[np.argsort(-score[all_kept], kind="stable")][:limit]


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
