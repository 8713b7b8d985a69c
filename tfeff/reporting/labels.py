"""Texts beside points: where they cover neither each other, nor a point, nor a curve."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tfeff.reporting.figure import GRAY

Pixels = npt.NDArray[np.float64]

# Where a text may stand: directions in the order in which readers look, and distances from the marker in points.
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
    colour: str = GRAY,
) -> int:
    """Writes a text beside each point, joined to it by a thin line where it stands further away.

    Call it last: the places depend on all else that the figure holds. A text for which none is free is left out.

    Args:
        axes: where the points are.
        points: float [n, 2], in data coordinates; the texts keep clear of all of them, and of texts that the axes hold.
        texts: n texts; the first ones choose first. An empty one needs no place.
        lines: polylines, float [m, 2] each, in data coordinates, that the texts keep clear of.
        radius: of the points' markers, in points.
        fontsize: in points.
        colour: of the texts.

    Returns:
        How many texts were written.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # settles the layout, and with it where data coordinates are
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixel = figure.dpi / 72  # pixels a point
    xy = np.reshape(np.asarray(points, np.float64), (-1, 2))
    centres = axes.transData.transform(xy)
    covered = [_along(axes.transData.transform(np.asarray(line)), pixel) for line in lines]
    covered += [_disc(centre, radius * pixel) for centre in centres]
    room = np.array(axes.get_window_extent(renderer).extents)

    there = [text.get_window_extent(renderer).extents for text in axes.texts if text.get_text()]
    boxes = np.reshape(np.array(there), (-1, 4))
    for point, centre, text in zip(xy, centres, texts, strict=True):
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
            color=colour,
            zorder=5,
        )
        label.set_in_layout(False)
        extent = label.get_window_extent(renderer)
        size = np.array([extent.width, extent.height])
        box = _free_box(centre, size, room, np.concatenate(covered), boxes, radius * pixel, pixel)
        if box is None:
            label.remove()
            continue
        boxes = np.vstack([boxes, box])
        offset = ((box[:2] + box[2:]) / 2 - centre) / pixel
        label.set_position(tuple(offset))
        near = np.clip(centre, box[:2], box[2:])
        if np.linalg.norm(near - centre) > (radius + 2 * DISTANCES[0]) * pixel:
            join = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": radius}
            offset = (near - centre) / pixel
            axes.annotate("", tuple(point), tuple(offset), textcoords="offset points", arrowprops=join, zorder=5)
            covered.append(_along(np.stack([centre, near]), pixel))
    return len(boxes) - len(there)


def _free_box(
    centre: Pixels, size: Pixels, room: Pixels, covered: Pixels, boxes: Pixels, radius: float, pixel: float
) -> Pixels | None:
    """The nearest (left, bottom, right, top) of a text beside a point that is free and can be joined to it, or None."""
    margin = MARGIN * pixel * np.array([-1, -1, 1, 1])
    for distance in DISTANCES:
        for direction in np.array(DIRECTIONS):
            # The text's near corner, or the middle of its near side, lies at the distance.
            corner = centre + direction * (0.7 * radius + distance * pixel) - (1 - direction) / 2 * size
            box = np.concatenate([corner, corner + size])
            outer = box + margin
            join = _along(np.stack([centre, np.clip(centre, box[:2], box[2:])]), pixel)
            if (
                (outer[:2] > room[:2]).all()
                and (outer[2:] < room[2:]).all()
                and not _within(covered, outer[None]).any()
                and not _within(join, boxes).any()
                and not ((boxes[:, :2] < outer[2:]) & (boxes[:, 2:] > outer[:2])).all(axis=1).any()
            ):
                return box
    return None


def _within(points: Pixels, boxes: Pixels) -> npt.NDArray[np.bool_]:
    """[points, boxes]: whether each point, [points, 2], lies in each box, [boxes, 4]."""
    inside = (points[:, None] > boxes[:, :2]) & (points[:, None] < boxes[:, 2:])
    return inside[..., 0] & inside[..., 1]


def _along(line: Pixels, pixel: float) -> Pixels:
    """Points along a polyline, closer to each other than any text is high."""
    pieces = [line[:1]]
    for start, end in itertools.pairwise(line):
        pieces.append(np.linspace(start, end, 2 + int(np.linalg.norm(end - start) / (2 * pixel))))
    return np.concatenate(pieces)


def _disc(centre: Pixels, radius: float) -> Pixels:
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    return centre + radius * np.concatenate([[[0, 0]], np.stack([np.cos(angles), np.sin(angles)], axis=1)])
