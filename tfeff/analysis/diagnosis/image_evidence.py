"""Whether boxes fit the pixels of their images: a box around an object differs from its surroundings.

A box is compared with a frame around it, a quarter of its size wide. Two differences are measured: that of their
colors, relative to the spread of the colors, and that of their edges. Neither is reliable for one box. Of two readings
of the same annotations, however, the correct one has the larger difference for most of the objects.

Uniform bars at the borders of images (letterboxing), and boxes that ignore them, are found here, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

UNIFORM = 6
"""Largest range of a color in a row of a bar, which may be compressed as JPEG."""
SMALLEST = 0.02
"""Minimum width of a bar, relative to the side of the image."""

Boxes = npt.NDArray[np.float64]


def picture(image: npt.NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Returns the part of an image without bars, yxyx relative to it; (0, 0, 1, 1) if there are none.

    The image is uint8 [height, width, 3].

    Bars lie along one axis only, as resizing with a fixed aspect ratio leaves them, and have a single color. Images on
    a uniform background, whose borders are uniform along both axes, have no bars.
    """
    whole = (0.0, 0.0, 1.0, 1.0)
    rows, columns = _inner(image), _inner(image.transpose(1, 0, 2))
    if (rows == (0.0, 1.0)) == (columns == (0.0, 1.0)):
        return whole
    top, bottom = rows
    left, right = columns
    return top, left, bottom, right


def _inner(image: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Returns the start and end of the rows between uniform ones, relative to the height."""
    height = len(image)
    uniform = (np.ptp(image.astype(np.int16), axis=1) <= UNIFORM).all(axis=1)
    if uniform.all():
        return 0.0, 1.0
    first, last = int((~uniform).argmax()), height - int((~uniform[::-1]).argmax())
    colors = np.concatenate([image[:first], image[last:]]).reshape(-1, image.shape[2])
    if len(colors) and (np.abs(colors - np.median(colors, axis=0)) > UNIFORM).any():
        return 0.0, 1.0  # such as sky above and a floor below
    start = first / height if first >= SMALLEST * height else 0.0
    end = last / height if height - last >= SMALLEST * height else 1.0
    return start, end


def share_on_bars(boxes: Boxes, inner: Sequence[float]) -> npt.NDArray[np.float64]:
    """Measures how much of each box lies on the bars, as a share of its area.

    Args:
        boxes: yxyx relative to the image, float64 [n, 4].
        inner: `picture` of the image.
    """
    limits = np.asarray(inner)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-9)
    kept = np.minimum(boxes[:, 2:], limits[2:]) - np.maximum(boxes[:, :2], limits[:2])
    return 1.0 - np.prod(np.clip(kept, 0.0, None) / sides, axis=1)


def into_picture(boxes: Boxes, inner: Sequence[float]) -> Boxes:
    """Returns boxes that were scaled as if the image had been stretched, where they belong in the padded image."""
    limits = np.asarray(inner)
    start, extent = np.tile(limits[:2], 2), np.tile(limits[2:] - limits[:2], 2)
    return start + boxes * extent


SIDE = 256
"""Images are reduced to this longer side."""
FRAME = 0.25
"""Width of the frame on each side, relative to the box."""
NOISE = 4.0
"""Variance of a color that says nothing, in squared steps of L*a*b*."""
_COLORS = slice(0, 3)
_SQUARES = slice(3, 6)
_EDGES, _COUNT = 6, 7


class Evidence:
    """The pixels of one image, uint8 [height, width, 3], as sums over rectangles."""

    def __init__(self, image: npt.NDArray[np.uint8]) -> None:
        self.picture = picture(image)
        factor = min(1.0, SIDE / max(image.shape[:2]))
        size = tuple(max(1, round(side * factor)) for side in image.shape[:2])
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        color = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float64)
        smooth = cv2.GaussianBlur(color, (0, 0), 1)
        edges = sum(
            np.abs(np.diff(smooth, axis=axis, append=np.take(smooth, [-1], axis))).sum(axis=-1) for axis in (0, 1)
        )
        channels = np.dstack([color, color**2, np.asarray(edges), np.ones(size)])
        self._sums = np.zeros((size[0] + 1, size[1] + 1, channels.shape[-1]))
        self._sums[1:, 1:] = channels.cumsum(axis=0).cumsum(axis=1)
        self._limits = np.array([*size, *size])

    def fit(self, box: npt.NDArray[np.float64]) -> tuple[float, float]:
        """Returns the difference of colors and of edges between a box and the frame around it.

        The box is float64 [4], relative to the image.

        NaN if one of them is empty.
        """
        if not np.isfinite(box).all():
            return math.nan, math.nan
        inner = np.clip(np.rint(box * self._limits), 0, self._limits).astype(int)
        sides = inner[2:] - inner[:2]
        if sides.min() < 2:
            return math.nan, math.nan
        margin = np.maximum(2, np.rint(FRAME * sides)).astype(int)
        outer = np.clip(np.concatenate([inner[:2] - margin, inner[2:] + margin]), 0, self._limits)
        inside = self._sum(inner)
        frame = self._sum(outer) - inside
        if frame[_COUNT] < 4:
            return math.nan, math.nan
        (first, spread), (second, other) = _moments(inside), _moments(frame)
        color = ((first - second) ** 2 / (spread + other + 2 * NOISE)).sum()
        texture = np.abs(np.log((spread + NOISE) / (other + NOISE))).sum() / 4
        return float(color + texture), float(inside[_EDGES] / inside[_COUNT] - frame[_EDGES] / frame[_COUNT])

    def _sum(self, box: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        top, left, bottom, right = box
        sums = self._sums
        return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]


def _moments(sums: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns the mean and variance of the three colors, from the sums over a region."""
    mean = sums[_COLORS] / sums[_COUNT]
    return mean, np.maximum(sums[_SQUARES] / sums[_COUNT] - mean**2, 0.0)


@dataclass(frozen=True)
class Preference:
    """A comparison of two readings of boxes: of `count` boxes, the share for which the first one fits better."""

    wins: float
    count: int

    @property
    def z(self) -> float:
        """`wins` in standard deviations from a coin toss."""
        return (self.wins - 0.5) * 2 * math.sqrt(self.count)

    @property
    def upper(self) -> float:
        """Upper bound of the true share, 95 % (one-sided)."""
        return self.wins + 0.82 / math.sqrt(max(self.count, 1))


def prefer(first: Sequence[tuple[float, float]], second: Sequence[tuple[float, float]]) -> Preference:
    """Measures how often the first reading fits better, by the sum of both differences in units of their spread.

    Args:
        first: `Evidence.fit` of each box.
        second: the same in the other reading.
    """
    pairs = np.reshape(np.array(first, float), (-1, 2)) - np.reshape(np.array(second, float), (-1, 2))
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    pairs = pairs[(pairs != 0).any(axis=1)]
    if not len(pairs):
        return Preference(0.5, 0)
    scale = np.maximum(np.sqrt((pairs**2).mean(axis=0)), 1e-9)
    return Preference(float(np.mean((pairs / scale).sum(axis=1) > 0)), len(pairs))
