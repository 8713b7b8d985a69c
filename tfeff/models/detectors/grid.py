"""A grid of cells: Redmon et al., "You Only Look Once" (arXiv:1506.02640), section 2.

The paper ends in dense layers. Here the last layer is a convolution, so that any backbone and resolution fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tfeff.boxes.points import Points
from tfeff.models.backbones.architecture import check_integer
from tfeff.models.detectors.detector import Detector
from tfeff.models.detectors.yolo import SMALL
from tfeff.models.layers.backend import FeatureMap, Layers
from tfeff.models.necks.pyramid import level_number

CELLS = "cells"
"""Name of the output and of the head."""


@dataclass(frozen=True, kw_only=True)
class Grid(Detector):
    """A grid detector. Its cells are the positions of the finest level.

    Output: "cells", (batch, n, num_classes + 5 * boxes) float32, all linear: a value per class; a confidence per box;
    y, x, square root of the height and of the width of each box. y and x are the center's position in the cell, from 0
    to 1; height and width are relative to the image.

    Attributes:
        boxes: per cell.
    """

    boxes: int = 2

    def __post_init__(self) -> None:
        """Validate field values; raises UserError."""
        super().__post_init__()
        check_integer("boxes", self.boxes, minimum=1)

    @property
    def points(self) -> Points:
        """The centers of the cells."""
        return Points((level_number(self.levels[0]),))

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Define the head."""
        finest = {self.levels[0]: fused[self.levels[0]]}
        return {CELLS: self.head(CELLS)(layers, finest, boxes=1, values=num_classes + 5 * self.boxes)}


TABLE: dict[str, Grid] = {"grid": Grid(**SMALL | {"levels": ("P4", "P5")})}
