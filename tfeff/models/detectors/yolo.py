"""YOLO with three levels, without anchors.

A decoupled head (Ge et al., "YOLOX", arXiv:2107.08430, section 2.1) predicts, for the center of each cell, a logit per
class and a distribution of the distance to each side of the box (Li et al., "Generalized Focal Loss", arXiv:2006.04388,
section 3.2). The levels share the head's convolutions, as in TOOD (arXiv:2108.07755).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfeff.boxes.points import Points
from tfeff.models.backbones.architecture import check_integer
from tfeff.models.backbones.resnet import TABLE as RESNETS
from tfeff.models.detectors.detector import Detector
from tfeff.models.heads.dense import BOX_HEAD, CLASS_HEAD, PRIOR_BIAS
from tfeff.models.layers.backend import FeatureMap, Layers
from tfeff.models.necks.pyramid import level_number

LOGITS, DISTANCES = "logits", "distances"
"""Names of the outputs."""


@dataclass(frozen=True, kw_only=True)
class Yolo(Detector):
    """An anchor-free YOLO.

    Outputs, for the n cells of all levels (`points`):

    - "logits": (batch, n, num_classes) float32, one logistic regression per class;
    - "distances": (batch, n, 4 * bins) float32, logits of the distances from the cell's center to top, left, bottom and
      right, each distributed over 0, 1, ..., bins - 1 strides.

    Attributes:
        bins: of each distance; at least 2.
    """

    bins: int = 16

    def __post_init__(self) -> None:
        """Validate field values; raises UserError."""
        super().__post_init__()
        check_integer("bins", self.bins, minimum=2)

    @property
    def points(self) -> Points:
        """The centers of the cells of all levels."""
        return Points(tuple(map(level_number, self.levels)))

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Define the two heads."""
        return {
            LOGITS: self.head(CLASS_HEAD)(layers, fused, boxes=1, values=num_classes, bias_value=PRIOR_BIAS),
            DISTANCES: self.head(BOX_HEAD)(layers, fused, boxes=1, values=4 * self.bins),
        }


SMALL: dict[str, Any] = {
    "backbone": dataclasses.replace(RESNETS["resnet"], width=16, stage_blocks=(1, 1, 1, 1), stem="7x7"),
    "resolution": 320,
    "levels": ("P3", "P4", "P5"),
    "neck": "panet",
    "neck_channels": 64,
    "neck_repeats": 1,
    "fusion": "sum",
    "head_repeats": 2,
    "separable": False,
}
"""Fields of the detectors of this family."""
TABLE: dict[str, Yolo] = {"yolo": Yolo(**SMALL)}
