"""R-CNN and the two-stage detectors: features of regions, and a head that classifies and refines them.

Girshick et al., "Rich feature hierarchies" (arXiv:1311.2524); Girshick, "Fast R-CNN" (arXiv:1504.08083); Ren et al.,
"Faster R-CNN" (arXiv:1506.01497); with a pyramid: Lin et al., "Feature Pyramid Networks" (arXiv:1612.03144), section 4.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tfeff.boxes.anchors import Anchors
from tfeff.errors import UserError
from tfeff.networks.backbones.architecture import (
    Architecture,
    Graph,
    by_name,
    check_choice,
    check_integer,
    level_number,
)
from tfeff.networks.backbones.resnet import TABLE as RESNETS
from tfeff.networks.blocks import ConvolutionUnit
from tfeff.networks.detectors.detector import Detector
from tfeff.networks.heads import proposals
from tfeff.networks.layers import FeatureMap, Layers


def _units(hidden: Sequence[int]) -> tuple[int, ...]:
    """Checks and returns the units of dense layers."""
    for units in hidden:
        check_integer("hidden", units, minimum=1)
    return tuple(hidden)


@dataclass(frozen=True, kw_only=True)
class RCNN:
    """Description of an R-CNN, and the section `task.network` of a config. Its network takes regions, cut from images
    and resized to the backbone's input.

    Attributes:
        name: "rcnn".
        backbone: description of the backbone, which is frozen. In a config, it is the section `model` instead.
        head: `joint` is trained by gradients. `classic`: a linear SVM and ridge regression for each class, fitted
            directly. `sliding_window`: the backbone's own classifier on windows, a baseline without training.
        grid: the last feature map is average-pooled to grid x grid cells; of a sliding window to one.
        hidden: units of the hidden layers of a joint head, which both outputs share.
        dropout: dropout rate of these layers.
        l1: L1 penalty on the kernels of a joint head.
        class_boxes: a box regressor for each class of a joint head, instead of one for all.
        regions: regions per image, for which multiply-adds are counted. In a config, it is `max_proposals` of
            `task.proposals`, or of `task.windows` for a sliding window.
    """

    name: Literal["rcnn"] = "rcnn"
    backbone: Architecture = field(default=RESNETS["resnet50"], metadata={"hidden": True})
    head: Literal["joint", "classic", "sliding_window"] = "joint"
    grid: int = 3
    hidden: tuple[int, ...] = (256,)
    dropout: float = 0.3
    l1: float = 1e-5
    class_boxes: bool = False
    regions: int = field(default=2000, metadata={"hidden": True})

    def __post_init__(self) -> None:
        """Validates field values; raises UserError."""
        check_choice("name", self.name, ("rcnn",))
        check_choice("head", self.head, ("joint", "classic", "sliding_window"))
        check_integer("grid", self.grid, minimum=1)
        check_integer("regions", self.regions, minimum=1)
        object.__setattr__(self, "hidden", _units(self.hidden))
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout {self.dropout}: must be 0 or more and below 1")
        if not 0 <= self.l1 < math.inf:
            raise UserError(f"l1 {self.l1}: must be 0 or more and finite")

    @property
    def resolution(self) -> int:
        """Side of the network's input, in pixels."""
        return self.backbone.resolution

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input, in pixels."""
        return self.resolution, self.resolution


TABLE = {"rcnn": RCNN()}

LOGITS, CODES = "logits", "codes"
"""Names of the outputs for the regions."""
BACKBONE = replace(RESNETS["resnet50-v1.5"], resolution=640)
"""That of the published two-stage detectors."""


def _normal(stddev: float) -> dict:
    """Returns the initializer of the last layers (arXiv:1504.08083, section 2.3).

    Features of a pyramid without normalization can be large. With the usual initializers, the first predictions
    would be far from zero.
    """
    return {"class_name": "RandomNormal", "config": {"stddev": stddev}}


@dataclass(frozen=True, kw_only=True)
class TwoStage(Detector):
    """A detector that reads features of regions from its pyramid.

    Its second input are regions, (batch, n, 4), boxes_yxyx in pixels. Outputs for n regions:

    - "logits": (batch, n, num_classes + 1) float32, background last;
    - "codes": (batch, n, 4 * num_classes) float32, for each class a box encoded relative to the region, with weights
      (`tfeff.boxes.FAST_RCNN_WEIGHTS`).

    Its heads have plain convolutions and ReLU: `separable` and `activation` are those of the neck. `head_repeats` is
    the number of convolutions of the region proposal network, which a Fast R-CNN lacks.

    Attributes:
        neck_batch_norm: False omits batch normalization in the neck.
        pooling: "align" or "max"; the latter reads a single level.
        pooling_size: bins along each side of a region.
        sampling: samples per bin along each side ("align").
        aligned: whether regions are moved by half a pixel of the map ("align").
        hidden: units of the dense layers that both outputs share.
        regions: regions per image that the second stage sees; multiply-adds and memory are counted for them.
    """

    levels: tuple[str, ...] = ("P2", "P3", "P4", "P5")
    neck: str = "classic_fpn"
    neck_channels: int = 256
    neck_repeats: int = 1
    fusion: str = "sum"
    head_repeats: int = 1
    separable: bool = False
    activation: str = "linear"
    neck_batch_norm: bool = False
    pooling: str = "align"
    pooling_size: int = 7
    sampling: int = 2
    aligned: bool = False
    hidden: tuple[int, ...] = (1024, 1024)
    regions: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("pooling", self.pooling, ("align", "max"))
        for name in ("pooling_size", "sampling", "regions"):
            check_integer(name, getattr(self, name), minimum=1)
        object.__setattr__(self, "hidden", _units(self.hidden))
        if self.pooling == "max" and len(self.levels) > 1:
            raise UserError(f"pooling {self.pooling}: reads a single level; given {', '.join(self.levels)}")
        if self.pooling == "max" and (self.sampling != 2 or self.aligned):
            raise UserError(f"pooling {self.pooling}: omit sampling and aligned, which belong to align")

    def convolution_unit(self, layers: Layers) -> ConvolutionUnit:
        """Returns the batch normalization and activation of the neck."""
        return replace(super().convolution_unit(layers), batch_norm=self.neck_batch_norm)

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Defines what proposes regions, if the detector does."""
        return {}

    def classified(
        self, layers: Layers, maps: Mapping[str, FeatureMap], boxes: FeatureMap, num_classes: int
    ) -> dict[str, FeatureMap]:
        """Defines the head for regions.

        Args:
            maps: feature maps of `levels`.
            boxes: (batch, n, 4).
            num_classes: number of classes, without background.
        """
        numbers = tuple(map(level_number, self.levels))
        read = [maps[level] for level in self.levels]
        if self.pooling == "max":
            x = layers.roi_max_pooling(read[0], boxes, level=numbers[0], size=self.pooling_size, name="box_head_pool")
        else:
            x = layers.roi_align(
                read,
                boxes,
                levels=numbers,
                size=self.pooling_size,
                sampling=self.sampling,
                aligned=self.aligned,
                name="box_head_align",
            )
        x = layers.reshape(x, target_shape=(-1, math.prod(x.shape[-3:])), name="box_head_rows")
        for number, units in enumerate(self.hidden, 1):
            x = layers.dense(x, units=units, activation="relu", name=f"box_head_fc{number}")
        return {
            output: layers.dense(
                x, units=units, kernel_initializer=_normal(stddev), precise=True, name=f"box_head_{output}"
            )
            for output, units, stddev in ((LOGITS, num_classes + 1, 0.01), (CODES, 4 * num_classes, 0.001))
        }

    def define(self, layers: Layers, *, num_classes: int, channels: int = 3) -> Graph:
        """Defines the complete network; see `Detector`."""
        first = super().define(layers, num_classes=num_classes, channels=channels)
        boxes = layers.regions(self.regions, name="regions")
        second = self.classified(layers, first.levels, boxes, num_classes)
        return replace(first, output=first.output | second, boxes=boxes)


@dataclass(frozen=True, kw_only=True)
class FastRCNN(TwoStage):
    """A Fast R-CNN: regions are given with the image; their number is `task.proposals.max_proposals` in a config."""

    regions: int = field(default=2000, metadata={"hidden": True})


FAST_TABLE: dict[str, FastRCNN] = by_name(
    FastRCNN(name="fast-rcnn", backbone=BACKBONE, aspect=4 / 3, levels=("P4",), pooling="max"),
    FastRCNN(name="fast-rcnn-fpn", backbone=BACKBONE, aspect=4 / 3),
)


@dataclass(frozen=True, kw_only=True)
class FasterRCNN(TwoStage):
    """A Faster R-CNN: a region proposal network and the head for regions share backbone and pyramid.

    The defaults are those of torchvision's `fasterrcnn_resnet50_fpn`. Further outputs, for n anchors
    (`anchors.boxes(size)`):

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
        """Defines the region proposal network."""
        maps = dict(fused)
        if self.pooled_level:
            maps["pool"] = layers.average_pooling(maps[self.levels[-1]], pool_size=1, strides=2, name="rpn_pool")
        return proposals(layers, maps, self.anchors.per_position, repeats=self.neck_sizes[2])


FASTER_TABLE: dict[str, FasterRCNN] = by_name(FasterRCNN(name="faster-rcnn", backbone=BACKBONE, aspect=4 / 3))
