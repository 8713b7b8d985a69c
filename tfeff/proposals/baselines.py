"""Proposers to compare with: OpenCV's selective search, and two that ignore the pixels.

Detectors used sliding windows before proposals (Alexe, Deselaers and Ferrari, TPAMI 2012, compare with them). Uniform
boxes show what chance achieves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from tfeff.errors import UserError, nearest
from tfeff.proposals.proposals import ProposedBoxes, as_rgb, check_sides, unique

RATIOS = (0.5, 1.0, 2.0)
SCALES = (1.0, 0.71, 0.5, 0.35, 0.25, 0.177, 0.125, 0.088, 0.0625)
OPENCV_MODES = {
    "single": "switchToSingleStrategy",
    "fast": "switchToSelectiveSearchFast",
    "quality": "switchToSelectiveSearchQuality",
}


@dataclass(frozen=True)
class OpenCVSelectiveSearch:
    """OpenCV's selective search, the reference implementation. The order of the boxes is not reproducible.

    Attributes:
        mode: `single`, `fast` or `quality`.
        max_proposals: maximum number of boxes per image.
    """

    mode: str = "fast"
    max_proposals: int = 2000

    def __post_init__(self) -> None:
        if self.mode not in OPENCV_MODES:
            raise UserError(f'OpenCV: unknown mode "{self.mode}"; {nearest(self.mode, OPENCV_MODES)}')

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that determines the boxes."""
        return {"engine": "opencv", "version": cv2.__version__, "mode": self.mode, "max_proposals": self.max_proposals}

    def __call__(self, image: np.ndarray) -> ProposedBoxes:
        """Returns the proposals of an image."""
        pixels = as_rgb(image)
        size = pixels.shape[0], pixels.shape[1]
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(pixels[..., ::-1]))
        getattr(search, OPENCV_MODES[self.mode])()
        return opencv_proposals(search, size, self.max_proposals)


def opencv_proposals(search: Any, size: tuple[int, int], max_proposals: int) -> ProposedBoxes:
    """Runs a configured search of OpenCV.

    Args:
        search: `cv2.ximgproc.segmentation.SelectiveSearchSegmentation`.
        size: size of its image, (height, width).
        max_proposals: maximum number of boxes.
    """
    left, top, width, height = np.asarray(search.process()).reshape(-1, 4).T
    cells = np.stack([top, left, top + height, left + width], axis=1).astype(np.uint16)
    return ProposedBoxes(unique(cells)[:max_proposals], size, size)


@dataclass(frozen=True)
class SlidingWindows:
    """Windows of several scales and aspect ratios on a grid, equally many of each until a grid is exhausted.

    Attributes:
        max_proposals: maximum number of boxes per image.
        seed: seed of the order.
        scales: square roots of the window areas relative to the image area.
        ratios: aspect ratios (height / width) relative to the aspect ratio of the image.
        overlap: overlap of adjacent windows along one side, as a fraction of that side.
    """

    max_proposals: int = 2000
    seed: int = 0
    scales: Sequence[float] = SCALES
    ratios: Sequence[float] = RATIOS
    overlap: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise UserError(f"sliding windows: overlap is {self.overlap}; it must be at least 0 and below 1")

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that determines the boxes."""
        return {
            "engine": "windows",
            "version": 2,
            "max_proposals": self.max_proposals,
            "seed": self.seed,
            "scales": list(self.scales),
            "ratios": list(self.ratios),
            "overlap": self.overlap,
        }

    def __call__(self, image: np.ndarray) -> ProposedBoxes:
        """Returns the windows of an image [height, width, ...]."""
        check_sides(image)
        size = image.shape[0], image.shape[1]
        grids = []
        for scale in self.scales:
            for ratio in self.ratios:
                height, width = (
                    min(side, max(1.0, side * scale * ratio**power))
                    for side, power in zip(size, (0.5, -0.5), strict=True)
                )
                grids.append(_grid(size, height, width, 1 - self.overlap))
        # Round-robin over the grids, each shuffled: one window of each, then a second one, and so on.
        rng = np.random.default_rng(self.seed)
        order = np.concatenate([rng.permutation(len(grid)) + rng.random() for grid in grids])
        cells = np.concatenate(grids)[np.argsort(order, kind="stable")]
        return ProposedBoxes(unique(cells)[: self.max_proposals], size, size)


@dataclass(frozen=True)
class UniformBoxes:
    """Boxes with corners drawn uniformly over the image.

    Attributes:
        max_proposals: maximum number of boxes per image.
        seed: seed of the draw. All images of the same size get the same boxes.
    """

    max_proposals: int = 2000
    seed: int = 0

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that determines the boxes."""
        return {"engine": "uniform", "max_proposals": self.max_proposals, "seed": self.seed}

    def __call__(self, image: np.ndarray) -> ProposedBoxes:
        """Returns the boxes of an image [height, width, ...]."""
        check_sides(image)
        size = image.shape[0], image.shape[1]
        rng = np.random.default_rng(self.seed)
        rows, columns = (np.sort(rng.integers(0, side + 1, (2 * self.max_proposals, 2)), axis=1) for side in size)
        cells = np.stack([rows[:, 0], columns[:, 0], rows[:, 1], columns[:, 1]], axis=1)
        cells = cells[(cells[:, 2] > cells[:, 0]) & (cells[:, 3] > cells[:, 1])].astype(np.uint16)
        return ProposedBoxes(unique(cells)[: self.max_proposals], size, size)


def _grid(size: tuple[int, int], height: float, width: float, stride: float) -> np.ndarray:
    """Returns windows of one height and width, uint16 [n, 4]; the outermost ones touch the borders of the image."""
    lengths = [max(1, round(length)) for length in (height, width)]
    starts = []
    for side, length in zip(size, lengths, strict=True):
        count = 1 + int(np.ceil((side - length) / (length * stride)))
        starts.append(np.rint(np.linspace(0, side - length, count)))
    top, left = (part.ravel() for part in np.meshgrid(*starts, indexing="ij"))
    return np.stack([top, left, top + lengths[0], left + lengths[1]], axis=1).astype(np.uint16)
