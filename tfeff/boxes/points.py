"""Centers of the cells of a feature pyramid: where detectors without anchors predict."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Points:
    """The cells of a feature pyramid.

    Attributes:
        levels: n of each level, from fine to coarse, for the stride 2^n.
    """

    levels: tuple[int, ...]

    def centers(self, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Centers (y, x) in pixels, float32 [n, 2], ordered by level, row, column.

        Args:
            size: (height, width) of the image in pixels. Level n has ceil(height / 2^n) x ceil(width / 2^n) cells. As
                in EfficientDet's reference implementation, they are spread evenly over the image, so the stride of a
                level is height / ceil(height / 2^n), which is 2^n if 2^n divides the height.

        >>> Points((3,)).centers((16, 8)).tolist()
        [[4.0, 4.0], [12.0, 4.0]]
        """
        return np.concatenate([cells(level, size)[0] for level in self.levels]).astype(np.float32)

    def strides(self, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """(height, width) of each cell in pixels, float32 [n, 2]."""
        levels = [cells(level, size) for level in self.levels]
        return np.concatenate([np.tile(stride, (len(centers), 1)) for centers, stride in levels]).astype(np.float32)


def cells(level: int, size: tuple[int, int]) -> tuple[npt.NDArray[np.float64], tuple[float, ...]]:
    """Centers (y, x) of the cells of one level, [n, 2], and its stride in both directions, in pixels."""
    strides = tuple(side / math.ceil(side / 2**level) for side in size)
    axes = (np.arange(stride / 2, side, stride) for stride, side in zip(strides, size, strict=True))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2), strides
