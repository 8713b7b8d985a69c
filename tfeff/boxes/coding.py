"""What a box regressor learns: a box as seen from an anchor (or proposal).

Sources: Girshick et al. 2014, "Rich feature hierarchies" (arXiv:1311.2524), appendix C: the centre's shift in sides of
the anchor, and the logarithm of the sides' ratio. Ren et al. 2015, "Faster R-CNN" (arXiv:1506.01497), section 3.1.2,
for anchors; their code divides by each number's spread, 0.1 and 0.2, at the second stage.
"""

import math
from typing import Any

import numpy as np

from tfeff.boxes.formats import cyxhw_from_yxyx, yxyx_from_cyxhw

Weights = tuple[float, float, float, float]
"""Factors of (dy, dx, log dh, log dw)."""

FAST_RCNN_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)

LOG_SIZE_LIMIT = math.log(1000 / 16)
"""Largest log dh and log dw that are decoded, as in Detectron2: an anchor of 16 pixels grows to 1,000, and no further,
so that an untrained network's wild numbers overflow nothing."""

SMALLEST_SIDE = 1e-6
"""What a side without length counts as in a code, so that rows of padding stay finite."""


def encode(boxes_yxyx: Any, anchors_yxyx: Any, *, weights: Weights = (1.0, 1.0, 1.0, 1.0), ops: Any = np) -> Any:
    """Codes of boxes as seen from anchors.

    Args:
        boxes_yxyx: float [..., 4].
        anchors_yxyx: float [..., 4], of a shape that broadcasts with the boxes'.
        weights: factors of the four numbers; FAST_RCNN_WEIGHTS gives them a spread of about 1 for proposals.
        ops: what the arrays are of, `numpy` or `keras.ops`.

    Returns:
        float [..., 4], (dy, dx, log dh, log dw).

    >>> encode(np.array([2.0, 0.0, 6.0, 8.0]), np.array([0.0, 0.0, 4.0, 4.0])).round(3).tolist()
    [0.5, 0.5, 0.0, 0.693]
    """
    boxes, anchors = cyxhw_from_yxyx(boxes_yxyx, ops=ops), cyxhw_from_yxyx(anchors_yxyx, ops=ops)
    sides = ops.maximum(boxes[..., 2:], SMALLEST_SIDE)
    anchor_sides = ops.maximum(anchors[..., 2:], SMALLEST_SIDE)
    shift = (boxes[..., :2] - anchors[..., :2]) / anchor_sides
    codes = ops.concatenate([shift, ops.log(sides / anchor_sides)], axis=-1)
    return codes * ops.array(weights, dtype=codes.dtype)


def decode(codes: Any, anchors_yxyx: Any, *, weights: Weights = (1.0, 1.0, 1.0, 1.0), ops: Any = np) -> Any:
    """The boxes that codes stand for; arguments as in `encode`, whose inverse this is up to LOG_SIZE_LIMIT.

    Args:
        codes: float [..., 4], (dy, dx, log dh, log dw), times the weights.
        anchors_yxyx: float [..., 4], of a shape that broadcasts with the codes'.
        weights: those of `encode`.
        ops: what the arrays are of, `numpy` or `keras.ops`.

    Returns:
        boxes_yxyx, float [..., 4]; they may reach beyond the image (`formats.clip`).
    """
    codes = codes / ops.array(weights, dtype=codes.dtype)
    anchors = cyxhw_from_yxyx(anchors_yxyx, ops=ops)
    centres = anchors[..., :2] + codes[..., :2] * anchors[..., 2:]
    sides = anchors[..., 2:] * ops.exp(ops.minimum(codes[..., 2:], LOG_SIZE_LIMIT))
    return yxyx_from_cyxhw(ops.concatenate([centres, sides], axis=-1), ops=ops)
