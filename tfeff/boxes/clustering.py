"""Anchor sizes from the boxes of a dataset: k-means with the distance 1 - IoU.

Redmon and Farhadi, "YOLO9000" (arXiv:1612.08242), section 2: with Euclidean distance, large boxes would decide.
"""

import numpy as np
import numpy.typing as npt


def shape_iou(first_hw: npt.ArrayLike, second_hw: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """IoU of each pair of boxes with the same center: float64 [n, m] for (height, width) [n, 2] and [m, 2].

    >>> shape_iou([[2, 2]], [[2, 1], [4, 4]]).tolist()
    [[0.5, 0.25]]
    """
    first, second = np.asarray(first_hw, np.float64)[:, None], np.asarray(second_hw, np.float64)[None]
    common = np.minimum(first, second).prod(axis=-1)
    return common / (first.prod(axis=-1) + second.prod(axis=-1) - common)


def anchor_sizes(sizes_hw: npt.ArrayLike, count: int, *, iterations: int = 300) -> npt.NDArray[np.float64]:
    """Anchor sizes that overlap the boxes well.

    Deterministic: clusters start at quantiles of the area. A cluster that loses all boxes keeps its size.

    Args:
        sizes_hw: height and width of each box, above 0, in any unit; [n, 2].
        count: number of anchors.
        iterations: at most; usually the clusters settle much earlier.

    Returns:
        float64 [count, 2], height and width, by area.

    Raises:
        ValueError: there are no boxes.
    """
    sizes = np.asarray(sizes_hw, np.float64)
    if not len(sizes):
        raise ValueError("no boxes to cluster")
    ordered = sizes[np.argsort(sizes.prod(axis=1), kind="stable")]
    anchors = ordered[((np.arange(count) + 0.5) / count * len(ordered)).astype(int)]
    nearest = np.full(len(sizes), -1)
    for _ in range(iterations):
        before, nearest = nearest, shape_iou(sizes, anchors).argmax(axis=1)
        if np.array_equal(before, nearest):
            break
        anchors = np.stack(
            [sizes[nearest == k].mean(axis=0) if np.any(nearest == k) else anchors[k] for k in range(count)]
        )
    return anchors[np.argsort(anchors.prod(axis=1), kind="stable")]
