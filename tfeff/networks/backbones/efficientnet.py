"""EfficientNet-B0 to B7 and EfficientNet-Lite0 to Lite4.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019): table 1 defines B0, and
the other members scale it. Lite (Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020) omits
squeeze-and-excitation, replaces SiLU by ReLU6, and does not scale the stem, the head, and the depth of the first and
last stages.
"""

from dataclasses import dataclass, replace

from tfeff.networks.backbones.architecture import (
    Architecture,
    FeatureMaps,
    by_name,
    check_squeeze,
    check_survival,
    known_activation,
)
from tfeff.networks.blocks import INITIALIZER, Stage, inverted_residual_stages, squeeze_inputs
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from tfeff.networks.scaling import round_filters, round_repeats

STEM_FILTERS = 32
HEAD_FILTERS = 1280
STAGES = (
    Stage(repeats=1, kernel_size=3, strides=1, expand_ratio=1, filters=16),
    Stage(repeats=2, kernel_size=3, strides=2, expand_ratio=6, filters=24),
    Stage(repeats=2, kernel_size=5, strides=2, expand_ratio=6, filters=40),
    Stage(repeats=3, kernel_size=3, strides=2, expand_ratio=6, filters=80),
    Stage(repeats=3, kernel_size=5, strides=1, expand_ratio=6, filters=112),
    Stage(repeats=4, kernel_size=5, strides=2, expand_ratio=6, filters=192),
    Stage(repeats=1, kernel_size=3, strides=1, expand_ratio=6, filters=320),
)


@dataclass(frozen=True, kw_only=True)
class EfficientNet(Architecture):
    """An EfficientNet or EfficientNet-Lite.

    `width_coefficient` multiplies the filters, which are rounded to multiples of 8. `depth_coefficient` multiplies the
    repeats of each stage, which are rounded up.

    Attributes:
        activation: Keras activation: "silu", or "relu6" for Lite.
        squeeze_ratio: ratio of squeeze-and-excitation; 0 omits it.
        survival_probability: stochastic depth of the last block, in (0, 1]. The probability decreases linearly over the
            blocks of the scaled network.
        fixed_ends: keeps the filters of stem and head and the repeats of the first and last stages unscaled.
    """

    MAY_DIFFER = Architecture.MAY_DIFFER | {"survival_probability", "fixed_ends"}

    activation: str = "silu"
    squeeze_ratio: float = 0.25
    survival_probability: float = 0.8
    fixed_ends: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "activation", known_activation(self.activation))
        check_survival(self.survival_probability)
        check_squeeze(self.squeeze_ratio)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Repeats of each stage, scaled and rounded up. With `fixed_ends`, the first and last stages keep theirs."""
        scaled = [round_repeats(stage.repeats, self.depth_coefficient) for stage in STAGES]
        if self.fixed_ends:
            scaled[0], scaled[-1] = STAGES[0].repeats, STAGES[-1].repeats
        return tuple(scaled)

    @property
    def widths(self) -> tuple[int, ...]:
        """Filters of each stage, scaled and rounded to multiples of 8."""
        return tuple(round_filters(stage.filters, self.width_coefficient) for stage in STAGES)

    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines stem, stages and the 1x1 convolution before pooling. P1 to P5 are the last stages of each stride."""
        unit = self.convolution_unit(layers, activation=self.activation, initializer=INITIALIZER)
        ends_width = 1.0 if self.fixed_ends else self.width_coefficient
        stem = unit(images, round_filters(STEM_FILTERS, ends_width), 3, strides=2, name="stem_conv")
        levels = inverted_residual_stages(
            unit,
            stem,
            STAGES,
            self.blocks,
            self.widths,
            squeeze=squeeze_inputs(unit, self.squeeze_ratio),
            last_survival=self.survival_probability,
        )
        last = list(levels.values())[-1]
        return FeatureMaps(unit(last, round_filters(HEAD_FILTERS, ends_width), 1, name="head_conv"), levels)


def _b(name: str, width_coefficient: float, depth_coefficient: float, resolution: int, dropout: float) -> EfficientNet:
    return EfficientNet(
        name=name,
        width_coefficient=width_coefficient,
        depth_coefficient=depth_coefficient,
        resolution=resolution,
        dropout=dropout,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _lite(
    name: str, width_coefficient: float, depth_coefficient: float, resolution: int, dropout: float
) -> EfficientNet:
    return replace(
        _b(name, width_coefficient, depth_coefficient, resolution, dropout),
        mean=(127.0,) * 3,
        std=(128.0,) * 3,
        activation="relu6",
        squeeze_ratio=0.0,
        fixed_ends=True,
    )


# Columns: name, width_coefficient, depth_coefficient, resolution, dropout.
B_TABLE: dict[str, EfficientNet] = by_name(
    _b("efficientnet-b0", 1.0, 1.0, 224, 0.2),
    _b("efficientnet-b1", 1.0, 1.1, 240, 0.2),
    _b("efficientnet-b2", 1.1, 1.2, 260, 0.3),
    _b("efficientnet-b3", 1.2, 1.4, 300, 0.3),
    _b("efficientnet-b4", 1.4, 1.8, 380, 0.4),
    _b("efficientnet-b5", 1.6, 2.2, 456, 0.4),
    _b("efficientnet-b6", 1.8, 2.6, 528, 0.5),
    _b("efficientnet-b7", 2.0, 3.1, 600, 0.5),
)
LITE_TABLE: dict[str, EfficientNet] = by_name(
    _lite("efficientnet-lite0", 1.0, 1.0, 224, 0.2),
    _lite("efficientnet-lite1", 1.0, 1.1, 240, 0.2),
    _lite("efficientnet-lite2", 1.1, 1.2, 260, 0.3),
    _lite("efficientnet-lite3", 1.2, 1.4, 280, 0.3),
    _lite("efficientnet-lite4", 1.4, 1.8, 300, 0.3),
)
