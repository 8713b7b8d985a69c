"""Anchors: the boxes relative to which dense detectors and region proposal networks predict.

Ren et al., "Faster R-CNN" (arXiv:1506.01497), section 3.1.1; three scales per level as in Lin et al., "Focal Loss for
Dense Object Detection" (arXiv:1708.02002), section 4.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.boxes.points import cells
from tfeff.errors import UserError

OCTAVE: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
"""Three scales per octave, so that the scales of all levels form one geometric sequence."""


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Anchors of a feature pyramid: at each position, a box for each scale and aspect, in this order.

    A box has the area (size * stride * scale)^2 and is centered in its cell. With `corner`, the stride in this formula
    is 2^level, the box is rounded to even numbers of pixels, and it is centered at the top left of its cell.

    Attributes:
        levels: n of each level, from fine to coarse, for the stride 2^n.
        size: side of the smallest square anchor, in strides.
        scales: factors of the side.
        aspects: width divided by height.
        corner: as in torchvision; see above.
    """

    levels: tuple[int, ...] = (3, 4, 5, 6, 7)
    size: float = 4.0
    scales: tuple[float, ...] = OCTAVE
    aspects: tuple[float, ...] = (1.0, 2.0, 0.5)
    corner: bool = False

    def __post_init__(self) -> None:
        """Validate field values; raises UserError."""
        for name, values in (("size", (self.size,)), ("scales", self.scales), ("aspects", self.aspects)):
            if not values or not min(values) > 0:
                raise UserError(f"anchors: {name} {getattr(self, name)}: every value must be above 0")
        if not self.levels or min(self.levels) < 0 or list(self.levels) != sorted(set(self.levels)):
            raise UserError(f"anchors: levels {self.levels}: must be increasing integers, at least 0")

    @property
    def per_position(self) -> int:
        """Number of anchors at each position."""
        return len(self.scales) * len(self.aspects)

    def boxes(self, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """All anchors of an image, also those that extend beyond it.

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
        """Anchors of one level, [positions * per_position, 4]."""
        centers, spacing = cells(level, size)
        strides: tuple[float, ...] = spacing
        if self.corner:
            centers, strides = centers - np.array(spacing) / 2, (2.0**level, 2.0**level)
        halves = []
        for scale in self.scales:
            for aspect in self.aspects:
                root = math.sqrt(aspect)
                sides = (self.size * stride * scale for stride in strides)
                halves.append([side * ratio / 2 for side, ratio in zip(sides, (1 / root, root), strict=True)])
        around = np.round(halves) if self.corner else np.array(halves)
        return np.concatenate([centers[:, None] - around, centers[:, None] + around], axis=-1).reshape(-1, 4)
