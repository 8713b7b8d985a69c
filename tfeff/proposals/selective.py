"""Selective search: the boxes of all regions in several hierarchical groupings of an image.

Uijlings, van de Sande, Gevers and Smeulders, "Selective Search for Object Recognition", IJCV 2013. The image is shrunk
to a working size, and the parameters of the segmentation scale with it. Boxes are in pixels of the original image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from tfeff.errors import UserError
from tfeff.proposals import grouping, kernels, regions
from tfeff.proposals.baselines import OpenCVSelectiveSearch
from tfeff.proposals.grouping import MAX_REGIONS, TERMS, group
from tfeff.proposals.proposals import ProposedBoxes, as_rgb
from tfeff.proposals.segmentation import segmentations
from tfeff.proposals.strategies import Mode, Strategy, resolve_mode

VERSION = 3
"""It changes with the boxes of an image."""
SIGMA = 0.8
"""Standard deviation of the smoothing before the segmentation, in pixels at full size."""
FULL_SIDE = 640
"""Longest side, in pixels, of an image of full size, to which SIGMA, thresholds and minimum region sizes refer.

Larger images count as shrunk to it.
"""
WEIGHT_STEPS = 12.0
"""Quantization steps of edge weights per unit of color distance."""
NEIGHBORS = 4
"""Neighbors of a pixel in the segmentation: 4 or 8."""
DUPLICATE_CELL = 1 / 64
"""Grid cell within which corners of near duplicates fall, as a fraction of the longest side."""
TEXTURE_SCALE = 10 / 64
"""Texture bins per unit of the central difference."""
STRIDE = 2
"""Every STRIDE-th pixel of every STRIDE-th row is counted in histograms."""


@dataclass(frozen=True)
class SelectiveSearch:
    """Selective search as a proposer.

    Attributes:
        mode: `single`, `fast`, `quality`, a `Mode`, or a sequence of strategies.
        max_proposals: maximum number of boxes per image.
        seed: seed of the order of boxes with equal scores.
    """

    mode: str | Mode | Sequence[Strategy] = "fast"
    max_proposals: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        resolve_mode(self.mode)
        if self.max_proposals < 1:
            raise UserError(f"max_proposals is {self.max_proposals}; it must be at least 1")

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that determines the boxes."""
        return {
            "engine": "selective search",
            "version": VERSION,
            **resolve_mode(self.mode).parameters,
            "max_proposals": self.max_proposals,
            "seed": self.seed,
        }

    def __call__(self, image: np.ndarray) -> ProposedBoxes:
        """Returns the proposals of an image; see `selective_search`."""
        kernels.prepare(_call_kernels)
        pixels = as_rgb(image)
        size, mode = (pixels.shape[0], pixels.shape[1]), resolve_mode(self.mode)
        pixels, factor = shrink(pixels, mode.side)
        shape = pixels.shape[0], pixels.shape[1]
        boxes = [nodes.astype(np.uint16) for _, nodes, _ in hierarchies(pixels, mode, factor)]
        cells = grouping.rank_boxes(boxes, max(1, round(max(shape) * DUPLICATE_CELL)), self.seed)
        return ProposedBoxes(cells[: self.max_proposals], shape, size)


def _call_kernels() -> None:
    list(hierarchies(np.zeros((8, 8, 3), np.uint8), resolve_mode("single"), 1.0))


def shrink(pixels: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """Shrinks an image to a longest side of at most `side`; also returns the scale factor for the segmentation."""
    longest = max(pixels.shape[:2])
    if longest <= side:
        return pixels, 1.0
    rows, columns = (max(1, round(length * side / longest)) for length in pixels.shape[:2])
    small = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    return small, min(1.0, side / min(longest, FULL_SIDE))


def hierarchies(pixels: np.ndarray, mode: Mode, factor: float) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (labels int32 [height, width], boxes int32 [M, 4], parents int32 [M]) of each strategy's hierarchy.

    Args:
        pixels: uint8 [height, width, 3], RGB.
        mode: the strategies and the minimum region size.
        factor: scale factor of the segmentation: applied to sigma and the thresholds, squared to the minimum size.
    """
    luminance = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    texture = regions.texture_bins(luminance, TEXTURE_SCALE)
    min_size = max(1, round(mode.min_size * factor**2))
    count = pixels.shape[0] * pixels.shape[1]
    for space in dict.fromkeys(strategy.space for strategy in mode.strategies):
        of_space = [strategy for strategy in mode.strategies if strategy.space == space]
        converted = regions.convert(pixels, space)
        channels = np.moveaxis(converted, -1, 0).astype(np.float32)
        planes = np.stack([cv2.GaussianBlur(channel, (0, 0), SIGMA * factor) for channel in channels])
        bins = (converted.astype(np.uint16) * regions.COLOR_BINS >> 8).astype(np.uint8)
        thresholds = sorted({strategy.threshold for strategy in of_space})
        segmented = segmentations(
            planes, np.array(thresholds) * factor, min_size, steps=WEIGHT_STEPS, neighbors=NEIGHBORS
        )
        for threshold, labels in zip(thresholds, segmented, strict=True):
            size, box = regions.measure(labels)
            if len(size) > MAX_REGIONS:
                raise UserError(
                    f"image with {len(size):,} regions; at most {MAX_REGIONS:,} can be grouped. Lower the side or "
                    "raise the thresholds"
                )
            pairs = regions.neighbors(labels, len(size))
            histogram = regions.histograms(labels, bins, texture, regions.TEXTURE_BINS, len(size), STRIDE)
            for strategy in of_space:
                if strategy.threshold != threshold:
                    continue
                terms = sum({TERMS[term] for term in strategy.terms})
                colors = bins.shape[-1] * regions.COLOR_BINS
                boxes, parents = group(size, box, pairs, histogram, colors, count, terms)
                yield labels, boxes, parents


def selective_search(
    image: np.ndarray,
    mode: str | Mode | Sequence[Strategy] = "fast",
    max_proposals: int = 2000,
    seed: int = 0,
    engine: Literal["ours", "opencv"] = "ours",
) -> np.ndarray:
    """Returns boxes that may contain an object, best first.

    The same image, mode and seed give the same boxes in the same order. The first call on a computer compiles
    for 10 to 30 seconds, with a bar, and keeps the result on disk.

    Args:
        image: uint8 [height, width, 3] (RGB). Grayscale ([height, width] or one channel), RGBA, 16-bit and float images
            (0 to 1, or 0 to 255) are converted.
        mode: `single`, `fast`, `quality`, a `Mode`, or a sequence of strategies.
        max_proposals: maximum number of boxes.
        seed: seed of the order of boxes with equal scores.
        engine: `ours`, or `opencv` for the reference implementation, which ignores the seed.

    Returns:
        boxes_yxyx, float32 [n, 4], distinct, in pixels of the image.

    Raises:
        UserError: not an image, or an unknown mode or engine.
    """
    if engine == "opencv":
        return OpenCVSelectiveSearch(str(mode), max_proposals)(image).boxes_yxyx
    if engine != "ours":
        raise UserError(f'selective search: unknown engine "{engine}"; known: ours, opencv')
    return SelectiveSearch(mode, max_proposals, seed)(image).boxes_yxyx
