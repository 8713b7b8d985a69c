"""Non-maximum suppression: of boxes that tell of one object, the one with the highest score."""

import numpy as np
import numpy.typing as npt

from tfeff.boxes.overlap import area


def nms(
    boxes_yxyx: npt.ArrayLike, scores: npt.ArrayLike, threshold: float, *, limit: int | None = None
) -> npt.NDArray[np.int64]:
    """Greedy suppression: the best box stays, those that overlap it by more than the threshold go, and so on.

    Args:
        boxes_yxyx: float [n, 4].
        scores: float [n], finite; of equal ones the lower index comes first.
        threshold: intersection over union; exactly so much is not too much.
        limit: at most so many boxes are kept; None keeps all.

    Returns:
        int64 [kept], indices, best first.

    >>> nms([[0, 0, 4, 4], [0, 1, 4, 5], [9, 9, 12, 12]], [0.5, 0.9, 0.1], threshold=0.5).tolist()
    [1, 2]
    """
    score = np.asarray(scores)
    rest = np.argsort(-score, kind="stable")
    boxes = np.asarray(boxes_yxyx, np.float64).reshape(-1, 4)[rest]
    areas = area(boxes)
    top, left, bottom, right = np.ascontiguousarray(boxes.T)
    kept: list[int] = []
    while len(rest) and (limit is None or len(kept) < limit):
        kept.append(int(rest[0]))
        height = np.minimum(bottom[1:], bottom[0]) - np.maximum(top[1:], top[0])
        width = np.minimum(right[1:], right[0]) - np.maximum(left[1:], left[0])
        common = np.maximum(height, 0.0) * np.maximum(width, 0.0)
        union = areas[1:] + areas[0] - common
        overlap = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
        stays = np.append(False, overlap <= threshold)
        rest, areas = rest[stays], areas[stays]
        top, left, bottom, right = top[stays], left[stays], bottom[stays], right[stays]
    return np.array(kept, np.int64)


def nms_per_class(
    boxes_yxyx: npt.ArrayLike,
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    threshold: float,
    *,
    limit: int | None = None,
) -> npt.NDArray[np.int64]:
    """Suppression among boxes of the same class alone; `limit` holds for all classes together.

    Args:
        boxes_yxyx: float [n, 4].
        scores: float [n], finite; of equal ones the lower index comes first.
        labels: int [n].
        threshold: intersection over union, as in `nms`.
        limit: at most so many boxes are kept; None keeps all.

    Returns:
        int64 [kept], indices, best first.
    """
    boxes, score, label = np.asarray(boxes_yxyx).reshape(-1, 4), np.asarray(scores), np.asarray(labels)
    kept = [np.zeros(0, np.int64)]
    for number in np.unique(label):
        own = np.flatnonzero(label == number)
        kept.append(own[nms(boxes[own], score[own], threshold, limit=limit)])
    together = np.sort(np.concatenate(kept))
    return together[np.argsort(-score[together], kind="stable")][:limit]
