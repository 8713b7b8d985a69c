"""OpenCV's selective search, the reference implementation."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from tfeff.errors import UserError, nearest
from tfeff.proposals.pixels import as_rgb
from tfeff.proposals.proposals import Proposals, unique

MODES = {
    "single": "switchToSingleStrategy",
    "fast": "switchToSelectiveSearchFast",
    "quality": "switchToSelectiveSearchQuality",
}


@dataclass(frozen=True)
class OpenCVSelectiveSearch:
    """OpenCV's selective search. The order of the boxes is not reproducible: OpenCV ranks them randomly, without seed.

    Attributes:
        mode: `single`, `fast` or `quality`.
        max_proposals: maximum number of boxes per image.
    """

    mode: str = "fast"
    max_proposals: int = 2000

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f'OpenCV: unknown mode "{self.mode}"; {nearest(self.mode, MODES)}')

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that determines the boxes."""
        return {"engine": "opencv", "version": cv2.__version__, "mode": self.mode, "max_proposals": self.max_proposals}

    def __call__(self, image: np.ndarray) -> Proposals:
        """Returns the proposals of an image."""
        pixels = as_rgb(image)
        size = pixels.shape[0], pixels.shape[1]
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(pixels[..., ::-1]))
        getattr(search, MODES[self.mode])()
        return proposals(search, size, self.max_proposals)


def proposals(search: Any, size: tuple[int, int], max_proposals: int) -> Proposals:
    """Runs a configured search of OpenCV.

    Args:
        search: `cv2.ximgproc.segmentation.SelectiveSearchSegmentation`.
        size: of its image, (height, width).
        max_proposals: maximum number of boxes.
    """
    left, top, width, height = np.asarray(search.process()).reshape(-1, 4).T
    cells = np.stack([top, left, top + height, left + width], axis=1).astype(np.uint16)
    return Proposals(unique(cells)[:max_proposals], size, size)
