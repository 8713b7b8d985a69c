"""Residual networks.

The scaled ResNet for small images and ResNet-50/101/152, both post-activation: He et al., "Deep Residual Learning for
Image Recognition" (2015), sections 3 and 4.
"""

from dataclasses import dataclass, replace
from functools import partial

from tfeff.errors import UserError
from tfeff.networks.backbones.architecture import Architecture, FeatureMaps, by_name, check_choice, check_integer
from tfeff.networks.blocks import ConvolutionUnit
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from tfeff.networks.scaling import doubled_widths, scale_total_blocks

CAFFE_MEAN = (123.68, 116.779, 103.939)  # RGB; the published ResNet weights were trained with this mean
# The published weights were trained without dividing by a standard deviation. A power of two can be folded into the
# stem's kernel without rounding, and it is close enough to the true standard deviation for training from scratch.
PUBLISHED_STD = (64.0, 64.0, 64.0)


@dataclass(frozen=True, kw_only=True)
class ResNet(Architecture):
    """A residual network of several stacks. From stack to stack, the channels double and the resolution halves.

    Shortcuts are identities. Where a block changes the shape, its shortcut is a 1x1 projection (option B of the paper).
    `depth_coefficient` multiplies the total number of blocks, which is then distributed over the stacks
    (`scaling.scale_total_blocks`). `width_coefficient` multiplies the channels of the first stack; each later stack has
    twice as many as the one before it.

    Attributes:
        block: "basic" (two 3x3) or "bottleneck" (1x1, 3x3, 1x1 with four times the channels; the first 1x1 has the
            stride).
        stage_blocks: number of blocks of each stack, at least 1. Published networks have four stacks, those for
            CIFAR-10 three.
        width: channels of the first stack's 3x3 convolutions, at least 1.
        stem: "3x3" (stride 1), "7x7" (stride 2, followed by a 3x3 max-pooling with stride 2), or "3x3_3x3" (two
            convolutions with stride 2, the first one with half of the channels; with 32, a third of the cost of "7x7").
        batch_norm: False omits batch normalization and gives the convolutions biases.
        zero_gamma: the last batch normalization of each block starts with a scale of 0, so that every block starts as
            the identity: deep networks are easier to train (Goyal et al., arXiv:1706.02677, section 5.1). No effect
            without batch normalization.
        conv_bias: adds biases before batch normalization too, as in the published ResNet-50/101/152.
        strided_3x3: a bottleneck block has its stride in the 3x3 convolution instead of the first 1x1, as in the
            implementations of PyTorch ("ResNet v1.5"). It is more accurate at slightly higher cost.
    """

    MAY_DIFFER = Architecture.MAY_DIFFER | {"stage_blocks", "width", "zero_gamma"}

    block: str = "basic"
    stage_blocks: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 12
    stem: str = "3x3"
    batch_norm: bool = True
    zero_gamma: bool = False
    conv_bias: bool = False
    strided_3x3: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("block", self.block, ("basic", "bottleneck"))
        check_choice("stem", self.stem, ("3x3", "7x7", "3x3_3x3"))
        check_integer("width", self.width, minimum=1)
        if self.strided_3x3 and self.block != "bottleneck":
            raise UserError("strided_3x3: only bottleneck blocks have a first 1x1 convolution")
        if not self.stage_blocks:
            raise UserError("stage_blocks: must have a number for each stack, at least one")
        for blocks in self.stage_blocks:
            check_integer("stage_blocks: number of blocks", blocks, minimum=1)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks of each stack, after scaling their total."""
        return scale_total_blocks(self.stage_blocks, self.depth_coefficient)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stack's 3x3 convolutions: the first stack's are scaled and rounded, then doubled."""
        return doubled_widths(self.width, self.width_coefficient, stacks=len(self.stage_blocks))

    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines the stem and the stacks.

        With the 3x3 stem, P1, P2, … are the stacks from the second on. With the others, P1 is the stem before its
        second stride, and P2, P3, … are the stacks.
        """
        unit = self.convolution_unit(
            layers, activation="relu", initializer="he_normal", batch_norm=self.batch_norm, bias=self.conv_bias
        )
        stem_width, levels = self.widths[0], {}
        if self.stem == "3x3":
            x = unit(images, stem_width, 3, name="stem_conv")
        elif self.stem == "3x3_3x3":
            x = levels["P1"] = unit(images, -(-stem_width // 2), 3, strides=2, name="stem_conv")
            x = unit(x, stem_width, 3, strides=2, name="stem_conv2")
        else:
            # Explicit padding of three pixels on every side. With "same", even sides get two before and three after,
            # which shifts the grid relative to the published networks.
            x = layers.zero_padding(images, padding=3, name="stem_pad")
            x = levels["P1"] = unit(x, stem_width, 7, strides=2, padding="valid", name="stem_conv")
            x = layers.zero_padding(x, padding=1, name="stem_pool_pad")
            x = layers.max_pooling(x, pool_size=3, strides=2, name="stem_pool")
        block = partial(basic_block, zero=self.zero_gamma)
        if self.block == "bottleneck":
            block = partial(bottleneck_block, zero=self.zero_gamma, strided_3x3=self.strided_3x3)
        first_level = 0 if self.stem == "3x3" else 2
        for stage, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for index in layers.blocks(blocks):
                strides = 2 if stage > 0 and index == 0 else 1
                x = block(unit, x, width, strides, name=f"stage{stage + 1}_block{index + 1}")
            if first_level + stage > 0:
                levels[f"P{first_level + stage}"] = x
        return FeatureMaps(x, levels)


def basic_block(
    unit: ConvolutionUnit, x: FeatureMap, width: int, strides: int, name: str, *, zero: bool = False
) -> FeatureMap:
    """Returns two 3x3 convolutions and a shortcut, with `width` output channels; `zero`: it starts as the shortcut."""
    y = unit(x, width, 3, strides=strides, name=f"{name}_conv1")
    y = unit(y, width, 3, activate=False, zero=zero, name=f"{name}_conv2")
    return residual_sum(unit, subsampled(unit, x, strides, name), y, name)


def bottleneck_block(
    unit: ConvolutionUnit,
    x: FeatureMap,
    width: int,
    strides: int,
    name: str,
    *,
    zero: bool = False,
    strided_3x3: bool = False,
) -> FeatureMap:
    """Applies 1x1 to `width` channels, 3x3, 1x1 to 4 `width`, and a shortcut; with `zero`, it starts as the shortcut.

    The first 1x1 has the stride, or the 3x3, which then pads one pixel on every side, as in PyTorch.
    """
    shortcut = subsampled(unit, x, strides, name)
    if strided_3x3 and strides > 1:
        y = unit(x, width, 1, name=f"{name}_conv1")
        y = unit.layers.zero_padding(y, padding=1, name=f"{name}_pad")
        y = unit(y, width, 3, strides=strides, padding="valid", name=f"{name}_conv2")
    else:
        y = unit(shortcut, width, 1, name=f"{name}_conv1")
        y = unit(y, width, 3, name=f"{name}_conv2")
    y = unit(y, 4 * width, 1, activate=False, zero=zero, name=f"{name}_conv3")
    return residual_sum(unit, shortcut, y, name)


def subsampled(unit: ConvolutionUnit, x: FeatureMap, strides: int, name: str) -> FeatureMap:
    """Returns the pixels that a 1x1 convolution with these strides reads.

    Subsampling and then 1x1 with stride 1 equals 1x1 with stride 2. With few channels, the filter gradient of the
    latter is wrong in oneDNN (TensorFlow 2.21 on CPUs) for some sizes, or writes out of bounds and crashes the process.
    """
    return (
        x
        if strides == 1
        else unit.layers.average_pooling(x, pool_size=1, strides=strides, name=f"{name}_shortcut_pool")
    )


def residual_sum(unit: ConvolutionUnit, x: FeatureMap, y: FeatureMap, name: str) -> FeatureMap:
    """Computes ReLU(shortcut(x) + y). The shortcut is the identity if the shapes are equal, otherwise a projection."""
    if x.shape[-1] != y.shape[-1]:
        x = unit(x, y.shape[-1], 1, activate=False, name=f"{name}_shortcut_conv")
    x = unit.layers.add(x, y, name=f"{name}_add")
    return unit.layers.activation(x, activation=unit.activation, name=f"{name}_out")


def _published(name: str, stage_blocks: tuple[int, ...]) -> ResNet:
    """Describes ResNet-50/101/152, compatible with the published weights."""
    return ResNet(
        name=name,
        resolution=224,
        mean=CAFFE_MEAN,
        std=PUBLISHED_STD,
        bn_epsilon=1.001e-5,
        block="bottleneck",
        stage_blocks=stage_blocks,
        width=64,
        stem="7x7",
        conv_bias=True,
    )


TABLE: dict[str, ResNet] = by_name(
    # Small datasets have few steps per epoch; with momentum 0.9, the moving statistics keep up with the weights.
    ResNet(name="resnet", resolution=95, mean=CAFFE_MEAN, std=IMAGENET_STD, bn_momentum=0.9, bn_epsilon=1e-5),
    _published("resnet50", (3, 4, 6, 3)),
    _published("resnet101", (3, 4, 23, 3)),
    _published("resnet152", (3, 8, 36, 3)),
    replace(  # as in torchvision
        _published("resnet50-v1.5", (3, 4, 6, 3)),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        bn_epsilon=1e-5,
        conv_bias=False,
        strided_3x3=True,
    ),
)
