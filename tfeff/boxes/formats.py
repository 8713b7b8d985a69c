"""Box formats, their conversion, and clipping.

yxyx is (top, left, bottom, right), bottom and right exclusive. xywh is COCO's (left, top, width, height). cyxhw is
(center y, center x, height, width). Relative boxes are yxyx divided by the image size, from 0 to 1.

All functions map arrays [..., 4] to arrays of the same shape and floating-point dtype. `ops` is the module of the
arrays: `numpy`, or `keras.ops` in a graph.
"""

from typing import Any

import numpy as np


def xywh_from_yxyx(boxes_yxyx: Any, *, ops: Any = np) -> Any:
    """Converts (top, left, bottom, right) to COCO's (left, top, width, height)."""
    top, left, bottom, right = _columns(boxes_yxyx)
    return ops.stack([left, top, right - left, bottom - top], axis=-1)


def cyxhw_from_yxyx(boxes_yxyx: Any, *, ops: Any = np) -> Any:
    """Converts (top, left, bottom, right) to (center y, center x, height, width)."""
    top, left, bottom, right = _columns(boxes_yxyx)
    height, width = bottom - top, right - left
    return ops.stack([top + 0.5 * height, left + 0.5 * width, height, width], axis=-1)


def yxyx_from_cyxhw(boxes_cyxhw: Any, *, ops: Any = np) -> Any:
    """Converts (center y, center x, height, width) to (top, left, bottom, right)."""
    y, x, height, width = _columns(boxes_cyxhw)
    return ops.stack([y - 0.5 * height, x - 0.5 * width, y + 0.5 * height, x + 0.5 * width], axis=-1)


def relative_from_yxyx(boxes_yxyx: Any, size: tuple[int, int], *, ops: Any = np) -> Any:
    """Converts pixels to relative coordinates. `size` is the (height, width) of the image in pixels."""
    height, width = size
    top, left, bottom, right = _columns(boxes_yxyx)
    return ops.stack([top / height, left / width, bottom / height, right / width], axis=-1)


def yxyx_from_relative(boxes_rel_yxyx: Any, size: tuple[int, int], *, ops: Any = np) -> Any:
    """Converts relative coordinates to pixels. `size` is the (height, width) of the image in pixels."""
    height, width = size
    top, left, bottom, right = _columns(boxes_rel_yxyx)
    return ops.stack([top * height, left * width, bottom * height, right * width], axis=-1)


def clip(boxes_yxyx: Any, size: tuple[int, int], *, ops: Any = np) -> Any:
    """Clips boxes to an image of `size` (height, width) in pixels. Boxes outside the image get area 0.

    >>> clip(np.array([[-2.0, 1.0, 5.0, 9.0], [20.0, 0.0, 30.0, 1.0]]), (10, 8)).tolist()
    [[0.0, 1.0, 5.0, 8.0], [10.0, 0.0, 10.0, 1.0]]
    """
    height, width = size
    top, left, bottom, right = _columns(boxes_yxyx)
    clipped = [
        ops.clip(top, 0, height),
        ops.clip(left, 0, width),
        ops.clip(bottom, 0, height),
        ops.clip(right, 0, width),
    ]
    return ops.stack(clipped, axis=-1)


def _columns(boxes: Any) -> tuple[Any, Any, Any, Any]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]
