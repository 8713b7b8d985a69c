"""Places box labels next to their boxes, inside the image and, if possible, without overlap."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float64]

ALONG = (0.0, 1.0, 0.5, 0.25, 0.75)
"""Positions of a label along a side of its box, relative to the free length, in order of preference."""


def place_labels(boxes_yxyx: npt.ArrayLike, sizes: Sequence[tuple[int, int]], image_size: tuple[int, int]) -> Pixels:
    """Chooses a position for each label: above, below, inside or beside its box.

    Labels are placed one after the other. If no position is free, a label goes where it covers the least of the labels
    placed before.

    Args:
        boxes_yxyx: float [n, 4], in pixels of the image.
        sizes: (height, width) of each label; labels larger than the image start at its corner.
        image_size: (height, width).

    Returns:
        float64 [n, 4], yxyx, inside the image.
    """
    placed = np.zeros((0, 4))
    for box, size in zip(np.asarray(boxes_yxyx, np.float64).reshape(-1, 4), sizes, strict=True):
        candidates = _candidates(box, np.array(size, np.float64), np.array(image_size, np.float64))
        covered = _intersections(candidates, placed).sum(axis=1)
        placed = np.vstack([placed, candidates[covered.argmin()]])  # the first one with the least overlap
    return placed


def _candidates(box: Pixels, size: Pixels, image_size: Pixels) -> Pixels:
    """float64 [candidates, 4], all inside the image, in order of preference."""
    height, width = size
    top, left, bottom, right = np.clip(box, 0.0, [*image_size, *image_size])
    across = [left + share * (right - left - width) for share in ALONG]
    down = [top + share * (bottom - top - height) for share in ALONG]
    corners = [(y, x) for y in (top - height, bottom, top, bottom - height) for x in across]
    corners += [(y, x) for x in (right, left - width) for y in down]
    # Positions further away, for crowded images.
    corners += [(y, x) for y in (top - 2 * height, bottom + height) for x in across]
    start = np.clip(np.array(corners), 0.0, np.maximum(image_size - size, 0.0))
    return np.concatenate([start, np.minimum(start + size, image_size)], axis=1)


def _intersections(first: Pixels, second: Pixels) -> Pixels:
    """float64 [first, second], areas of intersection."""
    sides = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    return np.clip(sides, 0.0, None).prod(axis=-1)
