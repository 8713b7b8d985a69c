"""Keypoints in YOLO labels of which no `kpt_shape` tells: `class cx cy w h x1 y1 ...`, or `x1 y1 v1 ...` with a flag.

Such a line could also be a polygon, so keypoints are assumed only if nearly all lines have the same number of values,
and their first four are a box inside the image. With flags, every third further value is 0, 1 or 2 (not labeled,
hidden, visible), as in COCO. Without flags, two tests must pass. Nearly all points are inside their boxes. In many
lines, the sides of the box, taken as a point, are far from the other points, unlike the second corner of a polygon.

Trackers add the number of the track: `class cx cy w h id`, or `class cx cy w h confidence id`, which could be a
triangle, or `class x1 y1 x2 y2 ... confidence id`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tfeff.data.sources import text

_FLAGS = (0, 1, 2)
"""Flags of a keypoint: not labeled, hidden, visible."""
_TRACKED = 3
"""Lines with the tracks 0 or 1 that must be seen; a triangle or two could end on the border of the image."""
_ENOUGH = 10
"""Labeled points, if they have flags; else lines."""
_INSIDE = {3: 0.8, 2: 0.95}
"""Values of a point -> share of the labeled points that must be inside their boxes: faces are often cut by a box."""
_SLACK = 0.1
"""By which share of its side a point may be outside its box: boxes are often drawn around what keypoints mark."""
_EPSILON = 1e-3
_NEARLY = 0.95
"""Share of the lines that must be as expected; some may be damaged."""
_CORNERS = 0.8
"""Share of the lines in which the sides could be a corner: nearly 1 for polygons, and for poses that fill the image."""


def tracked(lines: Iterable[Sequence[float]]) -> bool:
    """Returns whether lines end with the number of a track.

    It is a whole number, which coordinates and confidences rarely are.

    Args:
        lines: the values of each line after its class.
    """
    long = [values for values in lines if len(values) > 4 and all(map(math.isfinite, values))]
    with_confidence = [values for values in long if len(values) % 2 == 0]
    ends = with_confidence or [values for values in long if len(values) == 5]
    if not ends or sum(map(_ends_with_track, ends)) < _NEARLY * len(ends):
        return False
    numbers = [values[-1] for values in ends]
    if any(len(values) > 6 for values in ends):
        return max(numbers) > max(_FLAGS)  # polygons can end at the border of the image, keypoints with a flag
    return max(numbers) > 1 or (bool(with_confidence) and len(ends) >= _TRACKED)


def _ends_with_track(values: Sequence[float]) -> bool:
    *place, number = values
    inside = all(-_EPSILON <= value <= 1 + _EPSILON for value in place)
    return inside and is_track(number) and (len(values) > 6 or bool(_are_boxes(np.array([values[:4]]))[0]))


def is_track(number: float) -> bool:
    """Returns whether a value can be the number of a track."""
    return number >= 0 and float(number).is_integer()


def guessed(lines: Iterable[Sequence[float]]) -> int:
    """Guesses from lines how many numbers of keypoints follow each box; 0: none.

    Args:
        lines: the values of each line after its class.
    """
    long = [values for values in lines if len(values) > 5 and all(map(math.isfinite, values))]
    if not long:
        return 0
    count, usual = Counter(map(len, long)).most_common(1)[0]
    if usual < _NEARLY * len(long):
        return 0
    table = np.array([values for values in long if len(values) == count], np.float64)
    return next((count - 4 for width in (3, 2) if (count - 4) % width == 0 and _fits(table, width)), 0)


def _fits(table: np.ndarray, width: int) -> bool:
    """Returns whether the lines, float64 [n, values], are boxes with keypoints of 2 or 3 numbers each."""
    centers, sides = table[:, None, :2], table[:, None, 2:4]
    points = table[:, 4:].reshape(len(table), -1, width)
    valid = _are_boxes(table)
    if width == 3:
        valid &= np.isin(points[..., 2], _FLAGS).all(axis=1)
        labeled = points[..., 2] > 0
    else:
        labeled = (points != 0).any(axis=-1)
    if valid.mean() < _NEARLY or (labeled.sum() if width == 3 else len(table)) < _ENOUGH or not labeled.any():
        return False
    inside = (np.abs(points[..., :2] - centers) <= sides * (0.5 + _SLACK)).all(axis=-1)
    if inside[labeled].mean() < _INSIDE[width]:
        return False
    decisive = width == 3 and points.shape[1] > 1  # flags of several points are no coincidence
    return decisive or _sides_near(table, np.where(labeled[..., None], points[..., :2], centers)) < _CORNERS


def _are_boxes(table: np.ndarray) -> np.ndarray:
    """Returns which lines, float64 [n, values], start with a box inside the image."""
    centers, sides = table[:, :2], table[:, 2:4]
    edges = np.concatenate([centers - sides / 2, 1 - centers - sides / 2], axis=1)
    return np.asarray(np.concatenate([edges >= -_EPSILON, sides > 0], axis=1).all(axis=1))


def _sides_near(table: np.ndarray, points: np.ndarray) -> float:
    """Returns the share of lines in which the box's sides, taken as a point, are near the other points."""
    others = np.concatenate([table[:, None, :2], points], axis=1)
    low, high = others.min(axis=1), others.max(axis=1)
    reach = (high - low).max(axis=1, keepdims=True)
    return float(((table[:, 2:4] >= low - reach) & (table[:, 2:4] <= high + reach)).all(axis=1).mean())


def values(path: Path) -> list[list[float]]:
    """Returns the values of each line of a label file after its class; none of lines that are not numbers."""
    found = list[list[float]]()
    try:
        content = text.read(path, "replace")
    except OSError:
        return found
    for line in content.splitlines():
        try:
            found.append([float(word) for word in line.replace(",", ".").split()[1:]])
        except ValueError:
            continue
    return found
