"""Base of the two-stage detectors: features of regions, and the head that classifies and refines them.

Girshick, "Fast R-CNN" (arXiv:1504.08083); with a pyramid: Lin et al., "Feature Pyramid Networks" (arXiv:1612.03144),
section 4.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras

from tfeff.errors import UserError
from tfeff.models.backbones.architecture import Graph, check_choice, check_integer
from tfeff.models.detectors.detector import Detector
from tfeff.models.layers.backend import FeatureMap, Layers
from tfeff.models.necks.neck import Neck
from tfeff.models.necks.pyramid import level_number
from tfeff.models.network import Network

LOGITS, CODES = "logits", "codes"
"""Names of the outputs for the regions."""


def _normal(stddev: float) -> dict:
    """Initializer of the last layers (arXiv:1504.08083, section 2.3). Features of a pyramid without normalization can
    be large; with the usual initializers, the first predictions would be far from zero."""
    return {"class_name": "RandomNormal", "config": {"stddev": stddev}}


@dataclass(frozen=True, eq=False)
class Stages:
    """A two-stage detector as two networks that share their weights; between them, the task selects regions.

    Attributes:
        images: images -> "maps", a list of the maps that regions are read from, and what proposes regions.
        regions: [*maps, boxes_yxyx (batch, n, 4) in pixels, for any n] -> "logits" and "codes".
    """

    images: keras.Model
    regions: keras.Model


@dataclass(frozen=True, kw_only=True)
class TwoStage(Detector):
    """A detector that reads features of regions from its pyramid.

    Its second input are regions, (batch, n, 4), boxes_yxyx in pixels. Outputs for n regions:

    - "logits": (batch, n, num_classes + 1) float32, background last;
    - "codes": (batch, n, 4 * num_classes) float32, for each class a box encoded relative to the region, with weights
      (`tfeff.boxes.FAST_RCNN_WEIGHTS`).

    Attributes:
        neck_batch_norm: False omits batch normalization in the neck.
        pooling: "align" or "max"; the latter reads a single level.
        pooling_size: bins along each side of a region.
        sampling: samples per bin along each side ("align").
        aligned: whether regions are moved by half a pixel of the map ("align").
        hidden: units of the dense layers that both outputs share.
        regions: regions per image for which multiply-adds and memory are counted.
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
        """Validate field values; raises UserError."""
        super().__post_init__()
        check_choice("pooling", self.pooling, ("align", "max"))
        for name in ("pooling_size", "sampling", "regions"):
            check_integer(name, getattr(self, name), minimum=1)
        for units in self.hidden:
            check_integer("hidden", units, minimum=1)
        if self.pooling == "max" and len(self.levels) > 1:
            raise UserError(f"pooling max: reads a single level; given {', '.join(self.levels)}")

    @property
    def described_neck(self) -> Neck | None:
        """Description of the neck; None with a single level."""
        neck = super().described_neck
        return None if neck is None else replace(neck, batch_norm=self.neck_batch_norm)

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Define what proposes regions, if the detector does."""
        return {}

    def classified(
        self, layers: Layers, maps: Mapping[str, FeatureMap], boxes: FeatureMap, num_classes: int
    ) -> dict[str, FeatureMap]:
        """Define the head for regions.

        Args:
            layers: the layer backend.
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
        x = layers.flattened(x, name="box_head_rows")
        for number, units in enumerate(self.hidden, 1):
            x = layers.dense(x, units, activation="relu", precise=False, name=f"box_head_fc{number}")
        return {
            LOGITS: layers.dense(x, num_classes + 1, initializer=_normal(0.01), name="box_head_logits"),
            CODES: layers.dense(x, 4 * num_classes, initializer=_normal(0.001), name="box_head_codes"),
        }

    def define(self, layers: Layers, *, num_classes: int, channels: int = 3) -> Graph:
        """Define the complete network; see `Detector`."""
        first = super().define(layers, num_classes=num_classes, channels=channels)
        boxes = layers.regions(self.regions, name="regions")
        second = self.classified(layers, first.levels, boxes, num_classes)
        return replace(first, output=first.output | second, boxes=boxes)

    def stages(self, network: Network) -> Stages:
        """The two parts of a network that was built from this description."""
        maps = [network.pyramid[level] for level in self.levels]
        images, boxes = network.inputs
        head = {name: network.output[name] for name in (LOGITS, CODES)}
        proposed = {name: output for name, output in network.output.items() if name not in head}
        stages = Stages(keras.Model(images, {"maps": maps, **proposed}), keras.Model([*maps, boxes], head))
        stages.images.autocast = stages.regions.autocast = False  # boxes and pixels need float32
        return stages
