"""Places text labels next to points without covering other labels, points or lines."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tfeff.reporting.figure import GRAY

Pixels = npt.NDArray[np.float64]

# Candidate positions: directions in order of preference, and distances from the marker in points.
DIRECTIONS = ((1, 1), (1, 0), (1, -1), (0, 1), (0, -1), (-1, 1), (-1, 0), (-1, -1))
DISTANCES = (2.0, 6.0, 12.0, 20.0, 32.0)
MARGIN = 1.5  # points kept free around a text


def place(
    axes: Axes,
    points: npt.ArrayLike,
    texts: Sequence[str],
    *,
    lines: Sequence[npt.ArrayLike] = (),
    radius: float = 4.0,
    fontsize: float = 8,
    color: str = GRAY,
) -> int:
    """Writes a text next to each point, with a thin connecting line if it is further away.

    Call it last, because positions depend on the rest of the figure. Texts without a free position are skipped.

    Args:
        points: float [n, 2], in data coordinates. Texts avoid all points, and all texts already on the axes.
        texts: n texts, placed in this order. Empty texts are skipped.
        lines: polylines to avoid, float [m, 2] each, in data coordinates.
        radius: radius of the markers in points.
        fontsize: font size in points.

    Returns:
        The number of texts written.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # computes the layout, which determines the data coordinates
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixel = figure.dpi / 72  # pixels per point
    xy = np.reshape(np.asarray(points, np.float64), (-1, 2))
    centers = axes.transData.transform(xy)
    covered = [_along(axes.transData.transform(np.asarray(line)), pixel) for line in lines]
    covered += [_disc(center, radius * pixel) for center in centers]
    room = np.array(axes.get_window_extent(renderer).extents)

    existing = [text.get_window_extent(renderer).extents for text in axes.texts if text.get_text()]
    boxes = np.reshape(np.array(existing), (-1, 4))
    for point, center, text in zip(xy, centers, texts, strict=True):
        if not text:
            continue
        label = axes.annotate(
            text,
            tuple(point),
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=fontsize,
            color=color,
            zorder=5,
        )
        label.set_in_layout(False)
        extent = label.get_window_extent(renderer)
        size = np.array([extent.width, extent.height])
        box = _free_box(center, size, room, np.concatenate(covered), boxes, radius * pixel, pixel)
        if box is None:
            label.remove()
            continue
        boxes = np.vstack([boxes, box])
        offset = ((box[:2] + box[2:]) / 2 - center) / pixel
        label.set_position(tuple(offset))
        near = np.clip(center, box[:2], box[2:])
        if np.linalg.norm(near - center) > (radius + 2 * DISTANCES[0]) * pixel:
            connector = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 1, "shrinkB": radius}
            offset = (near - center) / pixel
            axes.annotate("", tuple(point), tuple(offset), textcoords="offset points", arrowprops=connector, zorder=5)
            covered.append(_along(np.stack([center, near]), pixel))
    return len(boxes) - len(existing)


def _free_box(
    center: Pixels, size: Pixels, room: Pixels, covered: Pixels, boxes: Pixels, radius: float, pixel: float
) -> Pixels | None:
    """Returns the nearest free (left, bottom, right, top) of a text that can be connected to its point, or None."""
    margin = MARGIN * pixel * np.array([-1, -1, 1, 1])
    for distance in DISTANCES:
        for direction in np.array(DIRECTIONS):
            # The nearest corner of the text, or the middle of its nearest side, is at this distance.
            corner = center + direction * (0.7 * radius + distance * pixel) - (1 - direction) / 2 * size
            box = np.concatenate([corner, corner + size])
            outer = box + margin
            connector = _along(np.stack([center, np.clip(center, box[:2], box[2:])]), pixel)
            if (
                (outer[:2] > room[:2]).all()
                and (outer[2:] < room[2:]).all()
                and not _within(covered, outer[None]).any()
                and not _within(connector, boxes).any()
                and not ((boxes[:, :2] < outer[2:]) & (boxes[:, 2:] > outer[:2])).all(axis=1).any()
            ):
                return box
    return None


def _within(points: Pixels, boxes: Pixels) -> npt.NDArray[np.bool_]:
    """Returns [points, boxes], whether each point, [points, 2], is inside each box, [boxes, 4]."""
    inside = (points[:, None] > boxes[:, :2]) & (points[:, None] < boxes[:, 2:])
    return inside[..., 0] & inside[..., 1]


def _along(line: Pixels, pixel: float) -> Pixels:
    """Returns points along a polyline, spaced more closely than the height of any text."""
    pieces = [line[:1]]
    for start, end in itertools.pairwise(line):
        pieces.append(np.linspace(start, end, 2 + int(np.linalg.norm(end - start) / (2 * pixel))))
    return np.concatenate(pieces)


def _disc(center: Pixels, radius: float) -> Pixels:
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    return center + radius * np.concatenate([[[0, 0]], np.stack([np.cos(angles), np.sin(angles)], axis=1)])
