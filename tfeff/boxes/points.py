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
            size: (height, width) of the image in pixels. Level n has ceil(height / 2^n) x ceil(width / 2^n) cells,
                which are spread evenly over the image.

        >>> Points((3,)).centers((16, 8)).tolist()
        [[4.0, 4.0], [12.0, 4.0]]
        """
        levels = [
            np.stack(np.meshgrid(*(_centers(side, level) for side in size), indexing="ij"), axis=-1).reshape(-1, 2)
            for level in self.levels
        ]
        return np.concatenate(levels).astype(np.float32)

    def strides(self, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """(height, width) of each cell in pixels, float32 [n, 2]."""
        parts = []
        for level in self.levels:
            counts = [math.ceil(side / 2**level) for side in size]
            stride = [side / count for side, count in zip(size, counts, strict=True)]
            parts.append(np.tile(stride, (math.prod(counts), 1)))
        return np.concatenate(parts).astype(np.float32)


def _centers(side: int, level: int) -> npt.NDArray[np.float64]:
    count = math.ceil(side / 2**level)
    return (np.arange(count) + 0.5) * side / count
