"""EfficientDet-D0 to D7x and EfficientDet-Lite0 to Lite4.

Tan et al., "EfficientDet: Scalable and Efficient Object Detection" (arXiv:1911.09070v7). The tables are those of the
reference implementation (google/automl `efficientdet/`), which published checkpoints follow. The paper's first version
differs, and its formulas for compound scaling do not reproduce the table.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from tfeff.boxes.anchors import OCTAVE, Anchors
from tfeff.networks.backbones.architecture import by_name, level_number
from tfeff.networks.backbones.efficientnet import B_TABLE, LITE_TABLE
from tfeff.networks.detectors.detector import Detector
from tfeff.networks.heads import BOX_HEAD, CLASS_HEAD, PRIOR_BIAS
from tfeff.networks.layers import FeatureMap, Layers

LOGITS, CODES = "logits", "codes"
"""Names of the outputs."""


@dataclass(frozen=True, kw_only=True)
class EfficientDet(Detector):
    """An EfficientDet: weighted pyramid, a class head and a box head.

    Outputs, for n anchors (`anchors.boxes(size)`):

    - "logits": (batch, n, num_classes) float32, one logistic regression per class;
    - "codes": (batch, n, 4) float32, boxes encoded relative to the anchors (`tfeff.boxes.decode`, without weights).

    Attributes:
        anchor_size: side of the smallest square anchor of a level, in strides.
        anchor_scales: factors of the side.
        anchor_aspects: width divided by height.
    """

    anchor_size: float = 4.0
    anchor_scales: tuple[float, ...] = OCTAVE
    anchor_aspects: tuple[float, ...] = (1.0, 2.0, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.anchors

    @property
    def anchors(self) -> Anchors:
        """The anchors of all levels."""
        return Anchors(
            levels=tuple(map(level_number, self.levels)),
            size=self.anchor_size,
            scales=tuple(self.anchor_scales),
            aspects=tuple(self.anchor_aspects),
        )

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Defines the two heads."""
        boxes = self.anchors.per_position
        return {
            LOGITS: self.head(layers, CLASS_HEAD)(fused, boxes=boxes, values=num_classes, bias_value=PRIOR_BIAS),
            CODES: self.head(layers, BOX_HEAD)(fused, boxes=boxes, values=4),
        }


def _d(
    name: str,
    backbone: str,
    resolution: int,
    channels: int,
    cells: int,
    head: int,
    *,
    fusion: str = "fast",
    anchor_size: float = 4.0,
    last: int = 7,
) -> EfficientDet:
    described = dataclasses.replace((B_TABLE | LITE_TABLE)[backbone], resolution=resolution)
    if backbone == "efficientnet-b0":
        described = dataclasses.replace(described, survival_probability=1.0)  # as in the reference implementation
    return EfficientDet(
        name=name,
        backbone=described,
        levels=tuple(f"P{number}" for number in range(3, last + 1)),
        neck_channels=channels,
        neck_repeats=cells,
        head_repeats=head,
        fusion=fusion,
        anchor_size=anchor_size,
    )


def _lite(
    name: str, backbone: str, resolution: int, channels: int, cells: int, head: int, *, anchor_size: float
) -> EfficientDet:
    described = _d(name, backbone, resolution, channels, cells, head, fusion="sum", anchor_size=anchor_size)
    return dataclasses.replace(described, activation="relu6")


# Columns: name, backbone, resolution, neck channels, neck cells, convolutions of each head. D6 to D7x sum without
# weights, for stability.
D_TABLE: dict[str, EfficientDet] = by_name(
    _d("efficientdet-d0", "efficientnet-b0", 512, 64, 3, 3),
    _d("efficientdet-d1", "efficientnet-b1", 640, 88, 4, 3),
    _d("efficientdet-d2", "efficientnet-b2", 768, 112, 5, 3),
    _d("efficientdet-d3", "efficientnet-b3", 896, 160, 6, 4),
    _d("efficientdet-d4", "efficientnet-b4", 1024, 224, 7, 4),
    _d("efficientdet-d5", "efficientnet-b5", 1280, 288, 7, 4),
    _d("efficientdet-d6", "efficientnet-b6", 1280, 384, 8, 5, fusion="sum"),
    _d("efficientdet-d7", "efficientnet-b6", 1536, 384, 8, 5, fusion="sum", anchor_size=5.0),
    _d("efficientdet-d7x", "efficientnet-b7", 1536, 384, 8, 5, fusion="sum", last=8),
)
LITE_D_TABLE: dict[str, EfficientDet] = by_name(
    _lite("efficientdet-lite0", "efficientnet-lite0", 320, 64, 3, 3, anchor_size=3.0),
    _lite("efficientdet-lite1", "efficientnet-lite1", 384, 88, 4, 3, anchor_size=3.0),
    _lite("efficientdet-lite2", "efficientnet-lite2", 448, 112, 5, 3, anchor_size=3.0),
    _lite("efficientdet-lite3", "efficientnet-lite3", 512, 160, 6, 4, anchor_size=4.0),
    _lite("efficientdet-lite3x", "efficientnet-lite3", 640, 200, 6, 4, anchor_size=3.0),
    _lite("efficientdet-lite4", "efficientnet-lite4", 640, 224, 7, 4, anchor_size=4.0),
)
