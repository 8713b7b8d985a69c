"""Boxes without a look at the pixels: the floor under every proposer.

Sliding windows are what detectors did before there were proposals (Alexe, Deselaers and Ferrari, TPAMI 2012, compare
with them); uniform boxes are what chance gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfeff.errors import UserError
from tfeff.proposals.pixels import check_sides
from tfeff.proposals.proposals import Proposals, unique

RATIOS = (0.5, 1.0, 2.0)
SCALES = (1.0, 0.71, 0.5, 0.35, 0.25, 0.177, 0.125, 0.088, 0.0625)


@dataclass(frozen=True)
class SlidingWindows:
    """Windows of several sizes and ratios on a grid; of each size and ratio as many as of any other, while they last.

    Attributes:
        max_proposals: how many.
        seed: of their order.
        scales: square roots of the windows' areas over that of the image.
        ratios: heights over widths, the image's own ratio apart.
        overlap: of neighbouring windows along one side, a share of that side.
    """

    max_proposals: int = 2000
    seed: int = 0
    scales: Sequence[float] = SCALES
    ratios: Sequence[float] = RATIOS
    overlap: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise UserError(f"sliding windows' overlap is {self.overlap}; it should be 0 or more and below 1")

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the boxes."""
        return {
            "engine": "windows",
            "version": 2,
            "max_proposals": self.max_proposals,
            "seed": self.seed,
            "scales": list(self.scales),
            "ratios": list(self.ratios),
            "overlap": self.overlap,
        }

    def __call__(self, image: np.ndarray) -> Proposals:
        """Windows of an image [height, width, ...]."""
        check_sides(image)
        size = image.shape[0], image.shape[1]
        found = []
        for scale in self.scales:
            for ratio in self.ratios:
                height, width = (
                    min(side, max(1.0, side * scale * ratio**power))
                    for side, power in zip(size, (0.5, -0.5), strict=True)
                )
                found.append(_grid(size, height, width, 1 - self.overlap))
        # The first of each grid, in an order drawn by the seed, then the second ones, and so on.
        rng = np.random.default_rng(self.seed)
        turns = np.concatenate([rng.permutation(len(grid)) + rng.random() for grid in found])
        cells = np.concatenate(found)[np.argsort(turns, kind="stable")]
        return Proposals(unique(cells)[: self.max_proposals], size, size)


@dataclass(frozen=True)
class UniformBoxes:
    """Boxes whose corners are uniform over the image.

    Attributes:
        max_proposals: how many.
        seed: of the draw; the same for all images of one size.
    """

    max_proposals: int = 2000
    seed: int = 0

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the boxes."""
        return {"engine": "uniform", "max_proposals": self.max_proposals, "seed": self.seed}

    def __call__(self, image: np.ndarray) -> Proposals:
        """Boxes of an image [height, width, ...]."""
        check_sides(image)
        size = image.shape[0], image.shape[1]
        rng = np.random.default_rng(self.seed)
        rows, columns = (np.sort(rng.integers(0, side + 1, (2 * self.max_proposals, 2)), axis=1) for side in size)
        cells = np.stack([rows[:, 0], columns[:, 0], rows[:, 1], columns[:, 1]], axis=1)
        cells = cells[(cells[:, 2] > cells[:, 0]) & (cells[:, 3] > cells[:, 1])].astype(np.uint16)
        return Proposals(unique(cells)[: self.max_proposals], size, size)


def _grid(size: tuple[int, int], height: float, width: float, stride: float) -> np.ndarray:
    """uint16 [n, 4]: windows of one height and width, the outermost ones at the image's borders."""
    lengths = [max(1, round(length)) for length in (height, width)]
    starts = []
    for side, length in zip(size, lengths, strict=True):
        count = 1 + int(np.ceil((side - length) / (length * stride)))
        starts.append(np.rint(np.linspace(0, side - length, count)))
    top, left = (part.ravel() for part in np.meshgrid(*starts, indexing="ij"))
    return np.stack([top, left, top + lengths[0], left + lengths[1]], axis=1).astype(np.uint16)
