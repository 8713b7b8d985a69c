"""Faster R-CNN: a region proposal network and a head for regions share a backbone and a pyramid.

Ren et al., "Faster R-CNN" (arXiv:1506.01497); with a pyramid: Lin et al. (arXiv:1612.03144), section 4. The defaults
are those of torchvision's `fasterrcnn_resnet50_fpn`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tfeff.boxes.anchors import Anchors
from tfeff.models.backbones import resnet
from tfeff.models.detectors.two_stage import TwoStage
from tfeff.models.heads.proposal import proposals
from tfeff.models.layers.backend import FeatureMap, Layers
from tfeff.models.necks.pyramid import level_number


@dataclass(frozen=True, kw_only=True)
class FasterRCNN(TwoStage):
    """A Faster R-CNN. Further outputs, for n anchors (`anchors.boxes(size)`):

    - "objectness": (batch, n, 1) float32, logits;
    - "proposal_codes": (batch, n, 4) float32, boxes encoded relative to the anchors, without weights.

    Attributes:
        pooled_level: also proposes regions from the last level, subsampled by 2.
        anchor_size: side of the square anchor of a level, in strides.
        anchor_scales: factors of the side.
        anchor_aspects: width divided by height.
    """

    pooled_level: bool = True
    anchor_size: float = 8.0
    anchor_scales: tuple[float, ...] = (1.0,)
    anchor_aspects: tuple[float, ...] = (2.0, 1.0, 0.5)

    def __post_init__(self) -> None:
        """Validate field values; raises UserError."""
        super().__post_init__()
        _ = self.anchors

    @property
    def anchors(self) -> Anchors:
        """The anchors of all levels."""
        levels = [level_number(level) for level in self.levels]
        return Anchors(
            levels=tuple([*levels, levels[-1] + 1] if self.pooled_level else levels),
            size=self.anchor_size,
            scales=tuple(self.anchor_scales),
            aspects=tuple(self.anchor_aspects),
            corner=True,
        )

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Define the region proposal network."""
        maps = dict(fused)
        if self.pooled_level:
            maps["pool"] = layers.subsampling(maps[self.levels[-1]], 2, name="rpn_pool")
        return proposals(layers, maps, self.anchors.per_position, repeats=self.head_repeats)


TABLE: dict[str, FasterRCNN] = {
    "faster-rcnn": FasterRCNN(backbone=resnet.TABLE["resnet50-v1.5"], resolution=640, aspect=4 / 3),
}
