"""The forms in which boxes come and go, and the way to `boxes_yxyx` and back.

yxyx is (top, left, bottom, right), bottom and right exclusive; xywh is COCO's (left, top, width, height); cyxhw is
(centre y, centre x, height, width); relative is yxyx in shares of the image's sides, from 0 to 1.

Every function takes arrays [..., 4] and gives arrays of the same shape. `ops` is what they are arrays of: `numpy`, or
`keras.ops` in a graph, whose functions bear the same names. Floats keep their dtype.
"""

from typing import Any

import numpy as np


def xywh_from_yxyx(boxes_yxyx: Any, *, ops: Any = np) -> Any:
    """COCO's (left, top, width, height)."""
    top, left, bottom, right = _columns(boxes_yxyx)
    return ops.stack([left, top, right - left, bottom - top], axis=-1)


def yxyx_from_xywh(boxes_xywh: Any, *, ops: Any = np) -> Any:
    """(top, left, bottom, right) of COCO's boxes."""
    left, top, width, height = _columns(boxes_xywh)
    return ops.stack([top, left, top + height, left + width], axis=-1)


def cyxhw_from_yxyx(boxes_yxyx: Any, *, ops: Any = np) -> Any:
    """(centre y, centre x, height, width)."""
    top, left, bottom, right = _columns(boxes_yxyx)
    height, width = bottom - top, right - left
    return ops.stack([top + 0.5 * height, left + 0.5 * width, height, width], axis=-1)


def yxyx_from_cyxhw(boxes_cyxhw: Any, *, ops: Any = np) -> Any:
    """(top, left, bottom, right) of boxes given by centre and size."""
    y, x, height, width = _columns(boxes_cyxhw)
    return ops.stack([y - 0.5 * height, x - 0.5 * width, y + 0.5 * height, x + 0.5 * width], axis=-1)


def relative_from_yxyx(boxes_yxyx: Any, size: tuple[int, int], *, ops: Any = np) -> Any:
    """Boxes in shares of the image's sides; `size` is (height, width) in pixels."""
    height, width = size
    top, left, bottom, right = _columns(boxes_yxyx)
    return ops.stack([top / height, left / width, bottom / height, right / width], axis=-1)


def yxyx_from_relative(boxes_rel_yxyx: Any, size: tuple[int, int], *, ops: Any = np) -> Any:
    """Boxes in pixels of an image of `size` (height, width)."""
    height, width = size
    top, left, bottom, right = _columns(boxes_rel_yxyx)
    return ops.stack([top * height, left * width, bottom * height, right * width], axis=-1)


def clip(boxes_yxyx: Any, size: tuple[int, int], *, ops: Any = np) -> Any:
    """What of the boxes lies in an image of `size` (height, width); those wholly outside end up without area.

    >>> clip(np.array([[-2.0, 1.0, 5.0, 9.0], [20.0, 0.0, 30.0, 1.0]]), (10, 8)).tolist()
    [[0.0, 1.0, 5.0, 8.0], [10.0, 0.0, 10.0, 1.0]]
    """
    height, width = size
    top, left, bottom, right = _columns(boxes_yxyx)
    inside = [
        ops.clip(top, 0, height),
        ops.clip(left, 0, width),
        ops.clip(bottom, 0, height),
        ops.clip(right, 0, width),
    ]
    return ops.stack(inside, axis=-1)


def _columns(boxes: Any) -> tuple[Any, Any, Any, Any]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]
