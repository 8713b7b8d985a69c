"""The result of every proposer: the boxes of one image, best first."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Proposals:
    """n distinct boxes, best first. Their corners are whole pixels of the image at the proposer's working size.

    Attributes:
        cells: uint16 [n, 4], (top, left, bottom, right) in pixels at the working size.
        grid: working size, (height, width).
        size: size of the image, (height, width).
    """

    cells: np.ndarray
    grid: tuple[int, int]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def boxes_yxyx(self) -> np.ndarray:
        """Boxes in pixels of the image, float32 [n, 4]."""
        scale = np.array([self.size[0] / self.grid[0], self.size[1] / self.grid[1]] * 2)
        return (self.cells * scale).astype(np.float32)

    def first(self, count: int | None) -> "Proposals":
        """The best `count` proposals; None returns all."""
        return Proposals(self.cells[:count], self.grid, self.size)


def unique(cells: np.ndarray) -> np.ndarray:
    """Removes repeated boxes [n, 4]; the first of each is kept, in order."""
    keys = np.ascontiguousarray(cells, np.uint16).view(np.uint64).ravel()
    _, first = np.unique(keys, return_index=True)
    return cells[np.sort(first)]
