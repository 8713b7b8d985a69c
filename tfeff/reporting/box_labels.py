"""Where the labels of boxes go: beside their box, inside the picture, and off each other where they can."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float64]

ALONG = (0.0, 1.0, 0.5, 0.25, 0.75)
"""Where along a side of its box a label may stand: at its start, its end, between."""


def label_places(boxes_yxyx: npt.ArrayLike, sizes: Sequence[tuple[int, int]], picture: tuple[int, int]) -> Pixels:
    """Places for a label each, touching its box from above, below, inside or aside, whichever is free.

    The first boxes choose first. Where nothing is free a label goes where it covers least of the others.

    Args:
        boxes_yxyx: float [n, 4], pixels of the picture.
        sizes: (height, width) of each label; larger than the picture it begins at the picture's corner.
        picture: (height, width).

    Returns:
        float64 [n, 4], yxyx, inside the picture.
    """
    placed = np.zeros((0, 4))
    for box, size in zip(np.asarray(boxes_yxyx, np.float64).reshape(-1, 4), sizes, strict=True):
        candidates = _candidates(box, np.array(size, np.float64), np.array(picture, np.float64))
        covered = _common(candidates, placed).sum(axis=1)
        placed = np.vstack([placed, candidates[covered.argmin()]])  # the first of the best
    return placed


def _candidates(box: Pixels, size: Pixels, picture: Pixels) -> Pixels:
    """float64 [candidates, 4], the best first, all inside the picture."""
    height, width = size
    top, left, bottom, right = np.clip(box, 0.0, [*picture, *picture])
    across = [left + share * (right - left - width) for share in ALONG]
    down = [top + share * (bottom - top - height) for share in ALONG]
    corners = [(y, x) for y in (top - height, bottom, top, bottom - height) for x in across]
    corners += [(y, x) for x in (right, left - width) for y in down]
    # A row further out, for crowds.
    corners += [(y, x) for y in (top - 2 * height, bottom + height) for x in across]
    start = np.clip(np.array(corners), 0.0, np.maximum(picture - size, 0.0))
    return np.concatenate([start, np.minimum(start + size, picture)], axis=1)


def _common(first: Pixels, second: Pixels) -> Pixels:
    """float64 [first, second], areas that boxes share."""
    sides = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    return np.clip(sides, 0.0, None).prod(axis=-1)
