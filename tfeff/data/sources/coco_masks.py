"""Bounding boxes of COCO's segmentations: polygons, and masks as run lengths, compressed or not."""

import re
from typing import Any

import numpy as np

_COMPRESSED = re.compile(r"[0-o]*[0-O]")
"""Complete numbers of six bits per character, the highest of which says that another one follows."""
_LONGEST = 1 << 15
"""Maximum side of a mask."""


def segmentation_box(segmentation: Any) -> tuple[float, float, float, float] | None:
    """Returns the box (top, left, bottom, right), in pixels, of `segmentation` of an annotation; None if it has none.

    Args:
        segmentation: polygons [[x, y, x, y, ...], ...], one polygon, or run lengths {"size": [height, width],
            "counts": list or text}.
    """
    if isinstance(segmentation, dict):
        return _mask_box(segmentation.get("size"), segmentation.get("counts"))
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    try:
        corners = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
    except (TypeError, ValueError, OverflowError):
        return None
    points = np.concatenate(corners)
    if not len(points):
        return None
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return top, left, bottom, right


def _mask_box(size: Any, counts: Any) -> tuple[float, float, float, float] | None:
    """Returns the box of a mask. What pycocotools would read beyond its end or divide by is refused here."""
    from pycocotools import mask

    try:
        height, width = (int(side) for side in size)
        if not (0 < height <= _LONGEST and 0 < width <= _LONGEST):
            return None
        if isinstance(counts, list):
            runs = [int(count) for count in counts]
            if min(runs, default=-1) < 0 or sum(runs) != height * width:
                return None
            encoded = mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
        elif isinstance(counts, str) and _COMPRESSED.fullmatch(counts):
            encoded = {"size": [height, width], "counts": counts.encode()}
        else:
            return None
    except (TypeError, ValueError, OverflowError):
        return None
    left, top, box_width, box_height = mask.toBbox(encoded).tolist()
    return (top, left, top + box_height, left + box_width) if box_width > 0 and box_height > 0 else None
