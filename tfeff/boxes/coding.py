"""Box coding: encodes boxes relative to anchors or proposals, as regression targets.

A code holds the offset of the center, divided by the size of the anchor, and the logarithm of the ratio of the sizes.
Sources: Girshick et al. 2014, "Rich feature hierarchies" (arXiv:1311.2524), appendix C; Ren et al. 2015, "Faster
R-CNN" (arXiv:1506.01497), section 3.1.2, for anchors. The code of the latter divides by the standard deviations, 0.1
and 0.2, in the second stage.
"""

import math
from typing import Any

import numpy as np

from tfeff.boxes.formats import cyxhw_from_yxyx, yxyx_from_cyxhw

Weights = tuple[float, float, float, float]
"""Factors of (dy, dx, log dh, log dw)."""

FAST_RCNN_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)

LOG_SIZE_LIMIT = math.log(1000 / 16)
"""Maximum of log dh and log dw in `decode`, as in Detectron2: an anchor of 16 pixels becomes a box of at most 1,000.

Without it, an untrained network can cause an overflow."""

MIN_SIDE = 1e-6
"""`encode` increases smaller sides to this length, so that the codes of padding are finite."""


def encode(boxes_yxyx: Any, anchors_yxyx: Any, *, weights: Weights = (1.0, 1.0, 1.0, 1.0), ops: Any = np) -> Any:
    """Encodes boxes relative to anchors.

    Args:
        boxes_yxyx: float [..., 4].
        anchors_yxyx: float [..., 4], broadcastable with the boxes.
        weights: factors of the code. With FAST_RCNN_WEIGHTS, codes relative to proposals have standard deviations of
            about 1.
        ops: module of the arrays, `numpy` or `keras.ops`.

    Returns:
        float [..., 4], weights times (dy, dx, log dh, log dw).

    >>> encode(np.array([2.0, 0.0, 6.0, 8.0]), np.array([0.0, 0.0, 4.0, 4.0])).round(3).tolist()
    [0.5, 0.5, 0.0, 0.693]
    """
    boxes, anchors = cyxhw_from_yxyx(boxes_yxyx, ops=ops), cyxhw_from_yxyx(anchors_yxyx, ops=ops)
    sides = ops.maximum(boxes[..., 2:], MIN_SIDE)
    anchor_sides = ops.maximum(anchors[..., 2:], MIN_SIDE)
    offsets = (boxes[..., :2] - anchors[..., :2]) / anchor_sides
    codes = ops.concatenate([offsets, ops.log(sides / anchor_sides)], axis=-1)
    return codes * ops.array(weights, dtype=codes.dtype)


def decode(codes: Any, anchors_yxyx: Any, *, weights: Weights = (1.0, 1.0, 1.0, 1.0), ops: Any = np) -> Any:
    """Decodes boxes. This is the inverse of `encode`, up to LOG_SIZE_LIMIT.

    Args:
        codes: float [..., 4], weights times (dy, dx, log dh, log dw).
        anchors_yxyx: float [..., 4], broadcastable with the codes.
        weights: the weights of `encode`.
        ops: module of the arrays, `numpy` or `keras.ops`.

    Returns:
        boxes_yxyx, float [..., 4], not clipped to the image (see `formats.clip`).
    """
    codes = codes / ops.array(weights, dtype=codes.dtype)
    anchors = cyxhw_from_yxyx(anchors_yxyx, ops=ops)
    centers = anchors[..., :2] + codes[..., :2] * anchors[..., 2:]
    sides = anchors[..., 2:] * ops.exp(ops.minimum(codes[..., 2:], LOG_SIZE_LIMIT))
    return yxyx_from_cyxhw(ops.concatenate([centers, sides], axis=-1), ops=ops)
