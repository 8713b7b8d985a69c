"""Selective search: boxes of the regions of several hierarchical groupings of an image.

Uijlings, van de Sande, Gevers and Smeulders, "Selective Search for Object Recognition", IJCV 2013. The image is brought
to a working size, where the scales of segmentation shrink with it; boxes come back in its own pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from tfeff.errors import UserError
from tfeff.proposals import colour, ranking, regions
from tfeff.proposals.grouping import MOST_REGIONS, TERMS, group
from tfeff.proposals.opencv import OpenCVSelectiveSearch
from tfeff.proposals.pixels import as_rgb
from tfeff.proposals.proposals import Proposals
from tfeff.proposals.segmentation import segmentations
from tfeff.proposals.strategies import Mode, Strategy, mode
from tfeff.proposals.texture import BINS as TEXTURE_BINS
from tfeff.proposals.texture import texture_bins

SIGMA, MINIMUM = 0.8, 100
"""Of the segmentation at full size: smoothing, and least size of a region in pixels."""
FULL = 640
"""Longest side at which sigma, thresholds and least size are meant; larger images are seen as if they had it."""
STEPS = 12.0
"""Of edge weights, a unit of colour distance."""
NEIGHBOURS = 4
"""That a pixel is joined to in the segmentation."""
QUANTUM = 1 / 64
"""Corners so near each other (a share of the longest side) are the same."""
TEXTURE_SCALE = 10 / 64
STRIDE = 2
"""One pixel of so many each way counts in histograms."""


@dataclass(frozen=True)
class SelectiveSearch:
    """Proposes boxes.

    Attributes:
        mode: `single`, `fast`, `quality`, a `Mode`, or strategies.
        max_proposals: how many at most.
        seed: of the order of boxes that are ranked alike.
    """

    mode: str | Mode | Sequence[Strategy] = "fast"
    max_proposals: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        mode(self.mode)
        if self.max_proposals < 1:
            raise UserError(f"max_proposals is {self.max_proposals}; it should be 1 or more")

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the boxes."""
        return {
            "engine": "selective search",
            "version": 2,
            **mode(self.mode).parameters,
            "max_proposals": self.max_proposals,
            "seed": self.seed,
        }

    def __call__(self, image: np.ndarray) -> Proposals:
        """Proposals of an image; see `selective_search`."""
        pixels = as_rgb(image)
        size, wanted = (pixels.shape[0], pixels.shape[1]), mode(self.mode)
        pixels, factor = shrunk(pixels, wanted.side)
        shape = pixels.shape[0], pixels.shape[1]
        boxes = [of.astype(np.uint16) for _, of, _ in hierarchies(pixels, wanted.strategies, factor)]
        cells = ranking.ranked(boxes, max(1, round(max(shape) * QUANTUM)), self.seed)
        return Proposals(cells[: self.max_proposals], shape, size)


def shrunk(pixels: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """An image whose longest side is `side` or less, and the factor by which the segmentation's scales shrink too."""
    longest = max(pixels.shape[:2])
    if longest <= side:
        return pixels, 1.0
    rows, columns = (max(1, round(length * side / longest)) for length in pixels.shape[:2])
    small = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    return small, min(1.0, side / min(longest, FULL))


def hierarchies(
    pixels: np.ndarray, wanted: Sequence[Strategy], factor: float
) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(labels int32 [height, width], boxes int32 [M, 4], parents int32 [M]) of each strategy's grouping.

    Args:
        pixels: uint8 [height, width, 3], RGB.
        wanted: the strategies.
        factor: of the working size; sigma and thresholds shrink with it, the least size with its square.
    """
    luminance = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    texture = texture_bins(luminance, TEXTURE_SCALE)
    minimum = max(1, round(MINIMUM * factor**2))
    count = pixels.shape[0] * pixels.shape[1]
    for space in dict.fromkeys(strategy.space for strategy in wanted):
        of_space = [strategy for strategy in wanted if strategy.space == space]
        converted = colour.convert(pixels, space)
        channels = np.moveaxis(converted, -1, 0).astype(np.float32)
        planes = np.stack([cv2.GaussianBlur(channel, (0, 0), SIGMA * factor) for channel in channels])
        bins = (converted.astype(np.uint16) * regions.COLOUR_BINS >> 8).astype(np.uint8)
        thresholds = sorted({strategy.threshold for strategy in of_space})
        labels = segmentations(planes, np.array(thresholds) * factor, minimum, steps=STEPS, neighbours=NEIGHBOURS)
        for threshold, of_threshold in zip(thresholds, labels, strict=True):
            size, box = regions.measure(of_threshold)
            if len(size) > MOST_REGIONS:
                raise UserError(
                    f"an image of {len(size):,} regions; at most {MOST_REGIONS:,} can be grouped: take a smaller side "
                    "or larger thresholds"
                )
            pairs = regions.neighbours(of_threshold, len(size))
            histogram = regions.histograms(of_threshold, bins, texture, TEXTURE_BINS, len(size), STRIDE)
            for strategy in of_space:
                if strategy.threshold != threshold:
                    continue
                terms = sum({TERMS[term] for term in strategy.terms})
                colours = bins.shape[-1] * regions.COLOUR_BINS
                boxes, parents = group(size, box, pairs, histogram, colours, count, terms)
                yield of_threshold, boxes, parents


def selective_search(
    image: np.ndarray,
    mode: str | Mode | Sequence[Strategy] = "fast",
    max_proposals: int = 2000,
    seed: int = 0,
    engine: Literal["ours", "opencv"] = "ours",
) -> np.ndarray:
    """Boxes that may hold an object, best first.

    The same image, mode and seed give the same boxes in the same order. The first call compiles for some seconds; what
    it compiled is kept on disk.

    Args:
        image: uint8 [height, width, 3] (RGB); gray ([height, width] or one channel), RGBA, 16-bit and floats (0 to 1,
            or 0 to 255) are taken as well.
        mode: `single`, `fast`, `quality`, a `Mode`, or strategies.
        max_proposals: how many at most.
        seed: of the order of boxes that are ranked alike.
        engine: `opencv` for the reference, whose order no seed decides.

    Returns:
        float32 [n, 4], `yxyx` in pixels of the image, no two the same.

    Raises:
        UserError: not an image, or an unknown mode or engine.
    """
    if engine == "opencv":
        return OpenCVSelectiveSearch(str(mode), max_proposals)(image).boxes_yxyx
    if engine != "ours":
        raise UserError(f'selective search: no engine "{engine}"; known: ours, opencv')
    return SelectiveSearch(mode, max_proposals, seed)(image).boxes_yxyx
