"""ConvNeXt.

Liu et al., "A ConvNet for the 2020s" (arXiv:2201.03545), section 2 and figure 4; appendix A has the sizes and the rates
of stochastic depth.
"""

import dataclasses
from dataclasses import dataclass

from tfeff.errors import UserError
from tfeff.networks.backbones.architecture import (
    Architecture,
    FeatureMaps,
    Graph,
    by_name,
    check_above_zero,
    check_integer,
    check_survival,
)
from tfeff.networks.heads import CLASSIFIER, POOL
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from tfeff.networks.scaling import doubled_widths, scale_total_blocks

EPSILON = 1e-6  # of layer normalization
EXPANSION = 4
INITIALIZER: dict = {"class_name": "TruncatedNormal", "config": {"stddev": 0.02}}


@dataclass(frozen=True, kw_only=True)
class ConvNeXt(Architecture):
    """A ConvNeXt of four stages. From stage to stage, the channels double and the resolution halves.

    `depth_coefficient` multiplies the total number of blocks, which is then distributed over the stages
    (`scaling.scale_total_blocks`). `width_coefficient` multiplies the channels of the first stage; each later stage has
    twice as many as the one before it. There is no batch normalization: its fields have no effect.

    Attributes:
        stage_blocks: number of blocks of each of the four stages, at least 1.
        width: channels of the first stage, at least 1.
        survival_probability: stochastic depth of the last block, in (0, 1]. The probability decreases linearly from 1
            at the first block of the scaled network.
        layer_scale: initial value of the factors of the residual branches (LayerScale), above 0.
    """

    MAY_DIFFER = Architecture.MAY_DIFFER | {"stage_blocks", "width", "survival_probability", "layer_scale"}

    stage_blocks: tuple[int, int, int, int] = (3, 3, 9, 3)
    width: int = 96
    survival_probability: float = 0.9
    layer_scale: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("width", self.width, minimum=1)
        if len(self.stage_blocks) != 4:
            raise UserError(f"stage_blocks {self.stage_blocks}: must have a number for each of the 4 stages")
        for blocks in self.stage_blocks:
            check_integer("stage_blocks: number of blocks", blocks, minimum=1)
        check_survival(self.survival_probability)
        check_above_zero(self, "layer_scale")

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks of each stage, after scaling their total."""
        return scale_total_blocks(self.stage_blocks, self.depth_coefficient)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage: the first stage's are scaled and rounded, then doubled."""
        return doubled_widths(self.width, self.width_coefficient)

    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines stem and stages. P2 to P5 are the stages; there is no P1, because the stem has stride 4."""
        x = _patches(layers, images, self.widths[0], 4, name="stem_conv")
        x = layers.layer_normalization(x, epsilon=EPSILON, name="stem_norm")
        last, levels, number = sum(self.blocks) - 1, {}, 0
        for stage, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True), start=1):
            for index in layers.blocks(blocks):
                name = f"stage{stage}_block{index + 1}"
                if stage > 1 and index == 0:
                    x = layers.layer_normalization(x, epsilon=EPSILON, name=f"{name}_downsample_norm")
                    x = _patches(layers, x, width, 2, name=f"{name}_downsample_conv")
                x = self._block(layers, x, 1 - (number + index) / last * (1 - self.survival_probability), name)
            number += blocks
            levels[f"P{stage + 1}"] = x
        return FeatureMaps(x, levels)

    def define(self, layers: Layers, *, num_classes: int, channels: int = 3, include_top: bool = True) -> Graph:
        """Defines the complete network, whose classifier normalizes the pooled features."""
        graph = super().define(layers, num_classes=num_classes, channels=channels, include_top=False)
        if not include_top:
            return graph
        x = layers.global_average_pooling(graph.output, name=POOL)
        x = layers.layer_normalization(x, epsilon=EPSILON, name="head_norm")
        if self.dropout > 0:
            x = layers.dropout(x, rate=self.dropout, name="head_dropout")
        x = layers.dense(x, units=num_classes, kernel_initializer=INITIALIZER, precise=True, name=CLASSIFIER)
        return dataclasses.replace(graph, output=x)

    def _block(self, layers: Layers, inputs: FeatureMap, survival_probability: float, name: str) -> FeatureMap:
        """Applies depthwise 7x7, layer normalization, two dense layers with GELU between, LayerScale, a shortcut."""
        width = inputs.shape[-1]
        x = layers.depthwise_convolution(
            inputs, kernel_size=7, padding="same", depthwise_initializer=INITIALIZER, name=f"{name}_depthwise_conv"
        )
        x = layers.layer_normalization(x, epsilon=EPSILON, name=f"{name}_norm")
        x = layers.dense(x, units=EXPANSION * width, kernel_initializer=INITIALIZER, name=f"{name}_expand")
        x = layers.activation(x, activation="gelu", name=f"{name}_act")
        x = layers.dense(x, units=width, kernel_initializer=INITIALIZER, name=f"{name}_project")
        x = layers.layer_scale(x, initial_value=self.layer_scale, name=f"{name}_layer_scale")
        if self.survival_probability < 1:  # in the first block, too, so that all blocks are alike
            x = layers.stochastic_depth(x, survival_probability=survival_probability, name=f"{name}_stochastic_depth")
        return layers.add(inputs, x, name=f"{name}_add")


def _patches(layers: Layers, x: FeatureMap, filters: int, size: int, *, name: str) -> FeatureMap:
    """Convolves patches that do not overlap: (batch, h, w, c) -> (batch, ceil(h / size), ceil(w / size), filters)."""
    return layers.convolution(
        x,
        filters=filters,
        kernel_size=size,
        strides=size,
        padding="same",
        kernel_initializer=INITIALIZER,
        name=name,
    )


def _member(name: str, stage_blocks: tuple[int, int, int, int], width: int, survival_probability: float) -> ConvNeXt:
    return ConvNeXt(
        name=f"convnext-{name}",
        resolution=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stage_blocks=stage_blocks,
        width=width,
        survival_probability=survival_probability,
    )


# Columns: name, stage_blocks, width, survival_probability: that of training on ImageNet-1K; for XL, on ImageNet-22K.
TABLE: dict[str, ConvNeXt] = by_name(
    _member("tiny", (3, 3, 9, 3), 96, 0.9),
    _member("small", (3, 3, 27, 3), 96, 0.6),
    _member("base", (3, 3, 27, 3), 128, 0.5),
    _member("large", (3, 3, 27, 3), 192, 0.5),
    _member("xlarge", (3, 3, 27, 3), 256, 0.8),
)
