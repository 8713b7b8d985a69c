"""YOLO with anchors: Redmon and Farhadi, "YOLOv3: An Incremental Improvement" (arXiv:1804.02767).

Each level predicts relative to its own anchors. As everywhere in this package, the levels share the head's
convolutions; the reference implementation (darknet) has a head per level.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tfeff.boxes.points import Points
from tfeff.errors import UserError
from tfeff.models.detectors.detector import Detector
from tfeff.models.detectors.yolo import SMALL
from tfeff.models.heads.dense import BOX_HEAD, CLASS_HEAD, PRIOR_BIAS
from tfeff.models.layers.backend import FeatureMap, Layers
from tfeff.models.necks.pyramid import level_number

LOGITS, CODES = "logits", "codes"
"""Names of the outputs."""
COCO_ANCHORS = tuple(
    side / 416
    for side in (13, 10, 30, 16, 23, 33, 61, 30, 45, 62, 119, 59, 90, 116, 198, 156, 326, 373)
)  # fmt: skip
"""The anchors of the paper (section 2.3), by k-means on COCO, at its resolution of 416 pixels."""


@dataclass(frozen=True, kw_only=True)
class AnchorYolo(Detector):
    """A YOLO with anchors.

    Outputs, for n anchors, ordered by level, row, column and anchor of the level:

    - "logits": (batch, n, 1 + num_classes) float32: objectness, then one logistic regression per class;
    - "codes": (batch, n, 4) float32: ty, tx, th, tw. The center is at (sigmoid(t) + cell), the sides are those of the
      anchor times exp(t).

    Attributes:
        anchors: height, width, height, width, ... relative to the image's side, from small to large; the first ones
            belong to the first level. Their number is a multiple of that of the levels.
    """

    anchors: tuple[float, ...] = COCO_ANCHORS

    def __post_init__(self) -> None:
        """Validate field values; raises UserError."""
        super().__post_init__()
        if not self.anchors or len(self.anchors) % (2 * len(self.levels)) or not min(self.anchors) > 0:
            raise UserError(
                f"anchors {self.anchors}: must be heights and widths above 0, as many pairs for each of the "
                f"{len(self.levels)} levels"
            )

    @property
    def per_position(self) -> int:
        """Number of anchors at each position."""
        return len(self.anchors) // (2 * len(self.levels))

    @property
    def points(self) -> Points:
        """The centers of the cells of all levels."""
        return Points(tuple(map(level_number, self.levels)))

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Define the two heads."""
        boxes = self.per_position
        return {
            LOGITS: self.head(CLASS_HEAD)(layers, fused, boxes=boxes, values=1 + num_classes, bias_value=PRIOR_BIAS),
            CODES: self.head(BOX_HEAD)(layers, fused, boxes=boxes, values=4),
        }


TABLE: dict[str, AnchorYolo] = {"anchor-yolo": AnchorYolo(**SMALL)}
