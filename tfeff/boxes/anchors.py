"""Anchors: the boxes relative to which dense detectors and region proposal networks predict.

Ren et al., "Faster R-CNN" (arXiv:1506.01497), section 3.1.1; three scales per level as in Lin et al., "Focal Loss for
Dense Object Detection" (arXiv:1708.02002), section 4.

Points are the centers of the cells of a feature pyramid, where detectors without anchors predict. `anchor_sizes`
chooses sizes for a dataset by k-means with the distance 1 - IoU (Redmon and Farhadi, "YOLO9000", arXiv:1612.08242,
section 2): with Euclidean distance, large boxes would decide.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.errors import UserError

OCTAVE: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
"""Three scales per octave, so that the scales of all levels form one geometric sequence."""
PADDED = 32
"""torchvision pads images to multiples of this."""


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Anchors of a feature pyramid: at each position, a box for each scale and aspect, in this order.

    A box has the area (size * stride * scale)^2 and is centered in its cell. With `corner`, the stride in this formula
    is 2^level, the box is rounded to even numbers of pixels, and it is centered at the top left of its cell. Cells are
    then those of the image padded to a multiple of 32 pixels: spread evenly over it, rounded down to whole pixels.

    Attributes:
        levels: n of each level, from fine to coarse, for the stride 2^n.
        size: side of the smallest square anchor, in strides.
        scales: factors of the side.
        aspects: width divided by height.
        corner: as in torchvision; see above.
        whole: with `corner`, size * stride * scale is rounded down to whole pixels.
    """

    levels: tuple[int, ...] = (3, 4, 5, 6, 7)
    size: float = 4.0
    scales: tuple[float, ...] = OCTAVE
    aspects: tuple[float, ...] = (1.0, 2.0, 0.5)
    corner: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        for name, values in (("size", (self.size,)), ("scales", self.scales), ("aspects", self.aspects)):
            if not values or not all(0 < value < math.inf for value in values):
                raise UserError(f"anchor_{name} {getattr(self, name)}: every value must be above 0 and finite")
        if not self.levels or min(self.levels) < 0 or list(self.levels) != sorted(set(self.levels)):
            raise UserError(f"anchors: levels {self.levels}: must be increasing integers, at least 0")

    @property
    def per_position(self) -> int:
        """Number of anchors at each position."""
        return len(self.scales) * len(self.aspects)

    def boxes(self, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Returns all anchors of an image, also those that extend beyond it.

        Args:
            size: (height, width) of the image in pixels; for the positions see `Points.centers`.

        Returns:
            boxes_yxyx float32 [n, 4], ordered by level, row, column, scale, aspect.

        >>> Anchors().boxes((512, 512)).shape
        (49104, 4)
        >>> Anchors(levels=(7,), scales=(1.0,), aspects=(1.0,)).boxes((128, 256)).tolist()
        [[-192.0, -192.0, 320.0, 320.0], [-192.0, -64.0, 320.0, 448.0]]
        """
        return np.concatenate([self._level(level, size) for level in self.levels]).astype(np.float32)

    def _level(self, level: int, size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Returns anchors of one level, [positions * per_position, 4]."""
        centers, spacing = cells(level, size)
        strides: tuple[float, ...] = spacing
        if self.corner:
            padded = [PADDED * math.ceil(side / PADDED) for side in size]
            steps = [side // math.ceil(side / 2**level) for side in padded]
            centers, strides = np.round(centers / spacing - 0.5) * steps, (2.0**level, 2.0**level)
        halves = []
        for scale in self.scales:
            for aspect in self.aspects:
                root = math.sqrt(aspect)
                sides = [self.size * stride * scale for stride in strides]
                if self.corner and self.whole:
                    sides = [math.floor(side) or side for side in sides]  # none becomes empty
                halves.append([side * ratio / 2 for side, ratio in zip(sides, (1 / root, root), strict=True)])
        around = np.round(halves) if self.corner else np.array(halves)
        return np.concatenate([centers[:, None] - around, centers[:, None] + around], axis=-1).reshape(-1, 4)


@dataclass(frozen=True)
class Points:
    """The cells of a feature pyramid.

    Attributes:
        levels: n of each level, from fine to coarse, for the stride 2^n.
    """

    levels: tuple[int, ...]

    def centers(self, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Returns centers (y, x) in pixels, float32 [n, 2], ordered by level, row, column.

        Args:
            size: (height, width) of the image in pixels. Level n has ceil(height / 2^n) x ceil(width / 2^n) cells. As
                in EfficientDet's reference implementation, they are spread evenly over the image, so the stride of a
                level is height / ceil(height / 2^n), which is 2^n if 2^n divides the height.

        >>> Points((3,)).centers((16, 8)).tolist()
        [[4.0, 4.0], [12.0, 4.0]]
        """
        return np.concatenate([cells(level, size)[0] for level in self.levels]).astype(np.float32)

    def strides(self, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Returns (height, width) of each cell in pixels, float32 [n, 2]."""
        levels = [cells(level, size) for level in self.levels]
        return np.concatenate([np.tile(stride, (len(centers), 1)) for centers, stride in levels]).astype(np.float32)

    def grids(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Returns the numbers of rows and columns of each level."""
        return [(math.ceil(size[0] / 2**level), math.ceil(size[1] / 2**level)) for level in self.levels]


def cells(level: int, size: tuple[int, int]) -> tuple[npt.NDArray[np.float64], tuple[float, ...]]:
    """Returns centers (y, x) of the cells of one level, [n, 2], and its stride in both directions, in pixels."""
    strides = tuple(side / math.ceil(side / 2**level) for side in size)
    axes = (np.arange(stride / 2, side, stride) for stride, side in zip(strides, size, strict=True))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2), strides


def shape_iou(first_hw: npt.ArrayLike, second_hw: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Computes IoU of each pair of boxes with the same center: float64 [n, m] for (height, width) [n, 2] and [m, 2].

    >>> shape_iou([[2, 2]], [[2, 1], [4, 4]]).tolist()
    [[0.5, 0.25]]
    """
    first, second = np.asarray(first_hw, np.float64)[:, None], np.asarray(second_hw, np.float64)[None]
    common = np.minimum(first, second).prod(axis=-1)
    return common / (first.prod(axis=-1) + second.prod(axis=-1) - common)


def anchor_sizes(sizes_hw: npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    """Finds anchor sizes that overlap the boxes well.

    Deterministic: clusters start at quantiles of the area. A cluster that loses all boxes keeps its size.

    Args:
        sizes_hw: height and width of each box, above 0, in any unit; [n, 2].
        count: number of anchors.

    Returns:
        float64 [count, 2], height and width, by area.

    Raises:
        ValueError: there are no boxes.
    """
    sizes = np.asarray(sizes_hw, np.float64)
    if not len(sizes):
        raise ValueError("no boxes to cluster")
    ordered = sizes[np.argsort(sizes.prod(axis=1), kind="stable")]
    anchors = ordered[((np.arange(count) + 0.5) / count * len(ordered)).astype(int)]
    nearest = np.full(len(sizes), -1)
    for _ in range(300):  # usually, the clusters settle much earlier
        before, nearest = nearest, shape_iou(sizes, anchors).argmax(axis=1)
        if np.array_equal(before, nearest):
            break
        anchors = np.stack(
            [sizes[nearest == k].mean(axis=0) if np.any(nearest == k) else anchors[k] for k in range(count)]
        )
    return anchors[np.argsort(anchors.prod(axis=1), kind="stable")]
