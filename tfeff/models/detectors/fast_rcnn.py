"""Fast R-CNN: a head for regions that are given with the image.

Girshick, "Fast R-CNN" (arXiv:1504.08083); with a pyramid: Lin et al. (arXiv:1612.03144), section 4.2.
"""

from dataclasses import dataclass

from tfeff.models.backbones import resnet
from tfeff.models.detectors.two_stage import TwoStage


@dataclass(frozen=True, kw_only=True)
class FastRCNN(TwoStage):
    """A Fast R-CNN. It has the outputs and attributes of `TwoStage`; only the default number of regions differs."""

    regions: int = 2000


TABLE: dict[str, FastRCNN] = {
    "fast-rcnn": FastRCNN(
        backbone=resnet.TABLE["resnet50-v1.5"], resolution=640, aspect=4 / 3, levels=("P4",), pooling="max"
    ),
    "fast-rcnn-fpn": FastRCNN(backbone=resnet.TABLE["resnet50-v1.5"], resolution=640, aspect=4 / 3),
}
