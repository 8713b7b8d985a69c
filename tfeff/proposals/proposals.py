"""What every proposer gives: boxes of one image, best first."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Proposals:
    """n boxes, best first and all different, with corners on the grid of pixels of a working size.

    Attributes:
        cells: uint16 [n, 4], (top, left, bottom, right) on the grid.
        grid: (height, width) at which the proposer worked.
        size: (height, width) of the image.
    """

    cells: np.ndarray
    grid: tuple[int, int]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def boxes_yxyx(self) -> np.ndarray:
        """float32 [n, 4] in pixels of the image."""
        scale = np.array([self.size[0] / self.grid[0], self.size[1] / self.grid[1]] * 2)
        return (self.cells * scale).astype(np.float32)

    def first(self, count: int | None) -> "Proposals":
        """The best `count` of them; None: all."""
        return Proposals(self.cells[:count], self.grid, self.size)


def unique(cells: np.ndarray) -> np.ndarray:
    """Boxes [n, 4] without those that came before, in their order."""
    keys = np.ascontiguousarray(cells, np.uint16).view(np.uint64).ravel()
    _, first = np.unique(keys, return_index=True)
    return cells[np.sort(first)]
