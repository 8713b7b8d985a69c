"""RegNetX and RegNetY.

Radosavovic et al., "Designing Network Design Spaces" (arXiv:2003.13678), section 5. Residual bottleneck blocks without
a bottleneck, whose 3x3 convolution has groups of one width; Y adds squeeze-and-excitation. Sizes, padding and epsilon
are those of torchvision, so that its weights can be loaded: the widths of Y-800MF and Y-8GF differ from the paper's,
which has no Y-128GF.
"""

from dataclasses import dataclass

from tfeff.errors import UserError
from tfeff.networks.backbones.architecture import Architecture, FeatureMaps, by_name, check_integer, check_squeeze
from tfeff.networks.backbones.resnet import subsampled
from tfeff.networks.blocks import INITIALIZER, ConvolutionUnit, squeeze_inputs
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from tfeff.networks.scaling import half_up, scale_total_blocks

STEM_WIDTH = 32


@dataclass(frozen=True, kw_only=True)
class RegNet(Architecture):
    """A RegNet of four stages. From stage to stage, the resolution halves.

    `depth_coefficient` multiplies the total number of blocks, which is then distributed over the stages
    (`scaling.scale_total_blocks`). `width_coefficient` multiplies the width of the groups, which is rounded; the number
    of groups remains (Dollár et al., "Fast and Accurate Model Scaling", arXiv:2103.06877, section 3.2). So the channels
    of all stages are scaled by the same factor.

    Attributes:
        stage_blocks: number of blocks of each of the four stages, at least 1.
        stage_widths: channels of each stage, multiples of the width of its groups.
        group_width: channels of each group of the 3x3 convolutions. A stage with fewer channels has one group.
        squeeze_ratio: ratio of squeeze-and-excitation to the channels that a block reads; 0 omits it (X).
    """

    MAY_DIFFER = Architecture.MAY_DIFFER | {"stage_blocks", "stage_widths", "group_width"}

    stage_blocks: tuple[int, ...]
    stage_widths: tuple[int, ...]
    group_width: int
    squeeze_ratio: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("group_width", self.group_width, minimum=1)
        for key, what in (("stage_blocks", "number of blocks"), ("stage_widths", "number of channels")):
            values = getattr(self, key)
            if len(values) != 4:
                raise UserError(f"{key} {values}: must have a number for each of the 4 stages")
            for value in values:
                check_integer(f"{key}: {what}", value, minimum=1)
        for width in self.stage_widths:
            if width > self.group_width and width % self.group_width:
                raise UserError(
                    f"stage_widths {self.stage_widths}: must be multiples of group_width {self.group_width}"
                )
        check_squeeze(self.squeeze_ratio)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks of each stage, after scaling their total."""
        return scale_total_blocks(self.stage_blocks, self.depth_coefficient)

    @property
    def groups(self) -> tuple[int, ...]:
        """Number of groups of each stage."""
        return tuple(max(1, width // self.group_width) for width in self.stage_widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage: the groups' scaled and rounded width times their number."""
        pairs = zip(self.stage_widths, self.groups, strict=True)
        return tuple(groups * self._scaled(width // groups) for width, groups in pairs)

    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines stem and stages. P1 is the stem, and P2 to P5 are the stages."""
        unit = self.convolution_unit(layers, activation="relu", initializer=INITIALIZER)
        # One pixel of padding on every side, as in PyTorch. With "same", even sides would get it at one end.
        x = layers.zero_padding(images, padding=1, name="stem_pad")
        x = unit(x, self._scaled(STEM_WIDTH), 3, strides=2, padding="valid", name="stem_conv")
        levels = {"P1": x}
        stages = zip(self.blocks, self.widths, self.groups, strict=True)
        for stage, (blocks, width, groups) in enumerate(stages, start=1):
            for index in layers.blocks(blocks):
                name = f"stage{stage}_block{index + 1}"
                x = self._block(unit, x, width, groups, 2 if index == 0 else 1, name)
            levels[f"P{stage + 1}"] = x
        return FeatureMaps(x, levels)

    def _scaled(self, width: int) -> int:
        return max(1, half_up(width * self.width_coefficient))

    def _block(
        self, unit: ConvolutionUnit, inputs: FeatureMap, width: int, groups: int, strides: int, name: str
    ) -> FeatureMap:
        """Applies 1x1, 3x3 in groups, squeeze-and-excitation, 1x1, and a shortcut.

        The shortcut is a projection in the first block of a stage.
        """
        layers = unit.layers
        x = unit(inputs, width, 1, name=f"{name}_conv1")
        if strides > 1:
            x = layers.zero_padding(x, padding=1, name=f"{name}_pad")
        padding = "valid" if strides > 1 else "same"
        x = unit(x, width, 3, strides=strides, padding=padding, groups=groups, name=f"{name}_conv2")
        if (squeeze := squeeze_inputs(unit, self.squeeze_ratio)) is not None:
            x = squeeze(x, inputs.shape[-1], f"{name}_squeeze_excite")
        x = unit(x, width, 1, activate=False, name=f"{name}_conv3")
        shortcut = inputs
        if strides > 1:
            shortcut = subsampled(unit, inputs, strides, name)
            shortcut = unit(shortcut, width, 1, activate=False, name=f"{name}_shortcut_conv")
        x = layers.add(shortcut, x, name=f"{name}_add")
        return layers.activation(x, activation=unit.activation, name=f"{name}_out")


def _member(name: str, blocks: tuple[int, ...], widths: tuple[int, ...], group_width: int) -> RegNet:
    return RegNet(
        name=f"regnet-{name}",
        resolution=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        bn_momentum=0.9,
        bn_epsilon=1e-5,
        stage_blocks=blocks,
        stage_widths=widths,
        group_width=group_width,
        squeeze_ratio=0.25 if name.startswith("y") else 0.0,
    )


# Columns: name, stage_blocks, stage_widths, group_width.
TABLE: dict[str, RegNet] = by_name(
    _member("x-400mf", (1, 2, 7, 12), (32, 64, 160, 400), 16),
    _member("x-800mf", (1, 3, 7, 5), (64, 128, 288, 672), 16),
    _member("x-1.6gf", (2, 4, 10, 2), (72, 168, 408, 912), 24),
    _member("x-3.2gf", (2, 6, 15, 2), (96, 192, 432, 1008), 48),
    _member("x-8gf", (2, 5, 15, 1), (80, 240, 720, 1920), 120),
    _member("x-16gf", (2, 6, 13, 1), (256, 512, 896, 2048), 128),
    _member("x-32gf", (2, 7, 13, 1), (336, 672, 1344, 2520), 168),
    _member("y-400mf", (1, 3, 6, 6), (48, 104, 208, 440), 8),
    _member("y-800mf", (1, 3, 8, 2), (64, 144, 320, 784), 16),
    _member("y-1.6gf", (2, 6, 17, 2), (48, 120, 336, 888), 24),
    _member("y-3.2gf", (2, 5, 13, 1), (72, 216, 576, 1512), 24),
    _member("y-8gf", (2, 4, 10, 1), (224, 448, 896, 2016), 56),
    _member("y-16gf", (2, 4, 11, 1), (224, 448, 1232, 3024), 112),
    _member("y-32gf", (2, 5, 12, 1), (232, 696, 1392, 3712), 232),
    _member("y-128gf", (2, 7, 17, 1), (528, 1056, 2904, 7392), 264),
)
