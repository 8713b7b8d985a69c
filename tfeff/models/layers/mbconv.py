"""Inverted residual blocks with linear bottlenecks (MBConv), the blocks of MobileNetV2 and EfficientNet."""

from dataclasses import dataclass

from tfeff.models.layers.backend import FeatureMap
from tfeff.models.layers.convolution import ConvolutionUnit
from tfeff.models.layers.squeeze_excite import squeeze_excite

# Normal with variance 2 / fan_out, as in EfficientNet's reference implementation. Keras computes the fan-out of a
# depthwise kernel with one output channel.
INITIALIZER: dict = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"},
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A row of a network's table: blocks of the same shape. Only the first block has the stride.

    Attributes:
        repeats: number of blocks, before depth scaling.
        filters: output channels, before width scaling.
        strides: stride of the first block, 1 or 2.
        kernel_size: size of the depthwise kernels.
        expand_ratio: channels inside a block divided by its input channels; 1 omits the expansion.
    """

    repeats: int
    filters: int
    strides: int
    kernel_size: int = 3
    expand_ratio: int = 6


def inverted_residual(
    unit: ConvolutionUnit,
    x: FeatureMap,
    filters: int,
    *,
    stage: Stage,
    strides: int,
    name: str,
    squeeze_ratio: float = 0.0,
    survival_probability: float = 1.0,
) -> FeatureMap:
    """Expand (1x1), filter (depthwise), squeeze-and-excite, project (1x1). Equal shapes get an identity shortcut.

    Sandler et al., "MobileNetV2" (2018), section 3.4; with squeeze-and-excitation, Tan et al., "MnasNet" (2019).

    Args:
        unit: the convolution unit. The projection has no activation.
        x: (batch, h, w, c).
        filters: output channels.
        stage: kernel size and expansion ratio.
        strides: stride of this block.
        name: prefix of the layer names.
        squeeze_ratio: channels inside squeeze-and-excitation divided by the block's input channels; 0 omits it.
        survival_probability: stochastic depth of the residual branch. Blocks without a shortcut are never dropped.

    Returns:
        (batch, ceil(h / strides), ceil(w / strides), filters).
    """
    inputs, channels = x, x.shape[-1]
    if stage.expand_ratio != 1:
        x = unit(x, channels * stage.expand_ratio, 1, name=f"{name}_expand_conv")
    x = unit.depthwise(x, stage.kernel_size, strides=strides, name=f"{name}_depthwise_conv")
    if squeeze_ratio > 0:
        reduced = max(1, int(channels * squeeze_ratio))
        x = squeeze_excite(
            unit.layers,
            x,
            reduced,
            activation=unit.activation,
            initializer=unit.initializer,
            name=f"{name}_squeeze_excite",
        )
    x = unit(x, filters, 1, activate=False, name=f"{name}_project_conv")
    if strides != 1 or channels != filters:
        return x
    if survival_probability < 1:
        x = unit.layers.stochastic_depth(x, survival_probability, name=f"{name}_stochastic_depth")
    return unit.layers.add(inputs, x, name=f"{name}_add")
