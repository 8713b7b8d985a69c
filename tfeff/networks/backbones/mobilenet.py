"""MobileNet V1 and V2.

Howard et al., "MobileNets" (2017), table 1; Sandler et al., "MobileNetV2" (2018), table 2. The width
coefficient is the papers' width multiplier. The depth coefficient multiplies the repeats of each stage and rounds up,
as in EfficientNet.
"""

from dataclasses import dataclass

from tfeff.networks.backbones.architecture import Architecture, FeatureMaps, by_name
from tfeff.networks.blocks import INITIALIZER, Stage, inverted_residual_stages
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.scaling import round_filters, round_repeats

STEM_FILTERS = 32
V2_HEAD_FILTERS = 1280
V1_STAGES = (
    Stage(repeats=1, strides=1, filters=64),
    Stage(repeats=2, strides=2, filters=128),
    Stage(repeats=2, strides=2, filters=256),
    Stage(repeats=6, strides=2, filters=512),
    Stage(repeats=2, strides=2, filters=1024),
)
V2_STAGES = (
    Stage(repeats=1, strides=1, filters=16, expand_ratio=1),
    Stage(repeats=2, strides=2, filters=24),
    Stage(repeats=3, strides=2, filters=32),
    Stage(repeats=4, strides=2, filters=64),
    Stage(repeats=3, strides=1, filters=96),
    Stage(repeats=3, strides=2, filters=160),
    Stage(repeats=1, strides=1, filters=320),
)


@dataclass(frozen=True, kw_only=True)
class MobileNetV1(Architecture):
    """Depthwise separable convolutions. Scaled filters are rounded down, to at least 1."""

    @property
    def blocks(self) -> tuple[int, ...]:
        """Repeats of each stage, scaled and rounded up."""
        return tuple(round_repeats(stage.repeats, self.depth_coefficient) for stage in V1_STAGES)

    @property
    def widths(self) -> tuple[int, ...]:
        """Filters of each stage, scaled and rounded down."""
        return tuple(self._filters(stage.filters) for stage in V1_STAGES)

    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines stem and stages. P1 to P5 are the stages."""
        unit = self.convolution_unit(layers, activation="relu6", initializer=INITIALIZER)
        x = unit(images, self._filters(STEM_FILTERS), 3, strides=2, name="stem_conv")
        levels = {}
        for number, (stage, blocks, width) in enumerate(zip(V1_STAGES, self.blocks, self.widths, strict=True), start=1):
            for index in layers.blocks(blocks):
                name = f"stage{number}_block{index + 1}"
                x = unit.depthwise(x, 3, strides=stage.strides if index == 0 else 1, name=f"{name}_depthwise_conv")
                x = unit(x, width, 1, name=f"{name}_pointwise_conv")
            levels[f"P{number}"] = x
        return FeatureMaps(x, levels)

    def _filters(self, filters: int) -> int:
        return max(1, int(filters * self.width_coefficient))


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(Architecture):
    """Inverted residuals. Scaled filters are multiples of 8; the last convolution has at least 1280 filters."""

    @property
    def blocks(self) -> tuple[int, ...]:
        """Repeats of each stage, scaled and rounded up."""
        return tuple(round_repeats(stage.repeats, self.depth_coefficient) for stage in V2_STAGES)

    @property
    def widths(self) -> tuple[int, ...]:
        """Filters of each stage, scaled, rounded down, then rounded to multiples of 8."""
        return tuple(round_filters(int(stage.filters * self.width_coefficient)) for stage in V2_STAGES)

    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines stem, stages and the 1x1 convolution before pooling. P1 to P5 are the last stages of each stride."""
        unit = self.convolution_unit(layers, activation="relu6", initializer=INITIALIZER)
        stem = unit(images, round_filters(STEM_FILTERS, self.width_coefficient), 3, strides=2, name="stem_conv")
        levels = inverted_residual_stages(unit, stem, V2_STAGES, self.blocks, self.widths)
        filters = round_filters(V2_HEAD_FILTERS, max(1.0, self.width_coefficient))
        last = list(levels.values())[-1]
        return FeatureMaps(unit(last, filters, 1, name="head_conv"), levels)


# Pixels in [-1, 1], as the published weights expect.
_HALF_RANGE = (127.5,) * 3
TABLE: dict[str, Architecture] = by_name(
    MobileNetV1(name="mobilenet-v1", resolution=224, mean=_HALF_RANGE, std=_HALF_RANGE, dropout=1e-3),
    MobileNetV2(name="mobilenet-v2", resolution=224, mean=_HALF_RANGE, std=_HALF_RANGE, bn_momentum=0.999),
)
