"""Blocks of layers that several networks share.

The convolution unit of all backbones: convolution, batch normalization, activation. Inverted residuals with linear
bottlenecks (MBConv), the blocks of MobileNetV2 and EfficientNet, with squeeze-and-excitation. The 3x3 convolutions of
necks and heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tfeff.networks.layers import FeatureMap, Layers


@dataclass(frozen=True, kw_only=True)
class ConvolutionUnit:
    """Settings shared by all convolution units of one network.

    The default padding is "same": with stride 2, a side r becomes ceil(r / 2).

    Attributes:
        activation: Keras activation, such as "relu", "relu6" or "silu".
        initializer: Keras initializer of the kernels, as an identifier or a config.
        batch_norm: False omits batch normalization and gives the convolutions biases.
        bias: adds biases before batch normalization too. They are redundant, but some published networks have them.
        momentum: momentum of the moving statistics: new = momentum * old + (1 - momentum) * batch.
        epsilon: added to the variance.
        synchronized: batch statistics over all replicas (TensorFlow backend only).
    """

    layers: Layers
    activation: str
    initializer: str | dict
    momentum: float
    epsilon: float
    batch_norm: bool = True
    bias: bool = False
    synchronized: bool = False

    def __call__(
        self,
        x: FeatureMap,
        filters: int,
        kernel_size: int,
        *,
        name: str,
        strides: int = 1,
        activate: bool = True,
        padding: str = "same",
        zero: bool = False,
    ) -> FeatureMap:
        """Convolution unit: (batch, h, w, c) -> (batch, ceil(h / strides), ceil(w / strides), filters).

        Args:
            x: feature map.
            filters: channels of the result.
            kernel_size: side of the kernel.
            name: name of the convolution. The other layers are called `<name>_bn` and `<name>_act`.
            strides: 1 or 2.
            activate: False omits the activation.
            padding: "same", or "valid" if the caller has padded `x`.
            zero: the scale of the batch normalization starts at 0, and with it the result.
        """
        x = self.layers.convolution(
            x,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            use_bias=self.bias or not self.batch_norm,
            kernel_initializer=self.initializer,
            name=name,
        )
        return self.normalized(x, name, activate=activate, zero=zero)

    def depthwise(self, x: FeatureMap, kernel_size: int, *, name: str, strides: int = 1) -> FeatureMap:
        """Depthwise convolution unit: (batch, h, w, c) -> (batch, ceil(h / s), ceil(w / s), c)."""
        x = self.layers.depthwise_convolution(
            x,
            kernel_size=kernel_size,
            strides=strides,
            padding="same",
            use_bias=self.bias or not self.batch_norm,
            depthwise_initializer=self.initializer,
            name=name,
        )
        return self.normalized(x, name)

    def normalized(self, x: FeatureMap, name: str, *, activate: bool = True, zero: bool = False) -> FeatureMap:
        """Batch normalization, `<name>_bn`, and activation, `<name>_act`, of the output of a convolution."""
        if self.batch_norm:
            x = self.layers.batch_normalization(
                x,
                momentum=self.momentum,
                epsilon=self.epsilon,
                synchronized=self.synchronized,
                gamma_initializer="zeros" if zero else "ones",
                name=f"{name}_bn",
            )
        return self.layers.activation(x, activation=self.activation, name=f"{name}_act") if activate else x


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
        x = unit.layers.stochastic_depth(x, survival_probability=survival_probability, name=f"{name}_stochastic_depth")
    return unit.layers.add(inputs, x, name=f"{name}_add")


def inverted_residual_stages(
    unit: ConvolutionUnit,
    x: FeatureMap,
    stages: Sequence[Stage],
    blocks: Sequence[int],
    widths: Sequence[int],
    *,
    squeeze_ratio: float = 0.0,
    last_survival: float = 1.0,
) -> dict[str, FeatureMap]:
    """Stages of inverted residuals, after a stem of stride 2.

    The survival probability of stochastic depth decreases linearly to that of the last block: p_l = 1 - (l / L) (1 -
    p_L) for l = 1, ..., L (Huang et al., "Deep Networks with Stochastic Depth", 2016, equation 4).

    Args:
        unit: the convolution unit.
        x: output of the stem.
        stages: the rows of the network's table.
        blocks: number of blocks of each stage, after scaling.
        widths: output channels of each stage, after scaling.
        squeeze_ratio: as for `inverted_residual`.
        last_survival: p_L.

    Returns:
        The last map of each stride, by level; the last one is that of the last stage.
    """
    level, levels, before = 1, dict[str, FeatureMap](), 0
    for number, (stage, count, width) in enumerate(zip(stages, blocks, widths, strict=True), start=1):
        for index in unit.layers.blocks(count):
            x = inverted_residual(
                unit,
                x,
                width,
                stage=stage,
                strides=stage.strides if index == 0 else 1,
                squeeze_ratio=squeeze_ratio,
                survival_probability=1 - (before + index + 1) / sum(blocks) * (1 - last_survival),
                name=f"stage{number}_block{index + 1}",
            )
        before += count
        level += stage.strides - 1
        levels[f"P{level}"] = x
    return levels


def squeeze_excite(
    layers: Layers, x: FeatureMap, reduced: int, *, activation: str, initializer: str | dict, name: str
) -> FeatureMap:
    """Multiply each channel by a gate in (0, 1), computed from the means of all channels.

    Hu et al., "Squeeze-and-Excitation Networks" (2018), section 3; the two layers are 1x1 convolutions with biases.

    Args:
        x: (batch, height, width, channels).
        reduced: channels between the two layers.
        activation: activation between the two layers.
        initializer: initializer of the kernels.
        name: prefix of the layer names.

    Returns:
        (batch, height, width, channels).
    """
    gate = layers.global_average_pooling(x, keepdims=True, name=f"{name}_pool")
    for filters, function, step in ((reduced, activation, "reduce"), (x.shape[-1], "sigmoid", "expand")):
        gate = layers.convolution(
            gate,
            filters=filters,
            kernel_size=1,
            activation=function,
            kernel_initializer=initializer,
            name=f"{name}_{step}",
        )
    return layers.multiply(x, gate, name=f"{name}_scale")


def convolution_3x3(
    layers: Layers,
    x: FeatureMap,
    filters: int,
    *,
    name: str,
    separable: bool,
    initializer: str | dict,
    bias_value: float = 0.0,
) -> FeatureMap:
    """A 3x3 convolution: (batch, h, w, c) -> (batch, h, w, filters).

    Args:
        x: a feature map, or a list of maps that share the layers.
        filters: output channels.
        name: name of the layer. A separable convolution consists of `<name>_depthwise`, which has no bias, and
            `<name>_pointwise`.
        separable: depthwise 3x3 followed by 1x1 (Howard et al., "MobileNets", 2017, section 3.1), instead of plain.
        initializer: initializer of the kernels.
        bias_value: initial value of the biases.
    """
    if separable:
        x = layers.depthwise_convolution(
            x,
            kernel_size=3,
            padding="same",
            use_bias=False,
            depthwise_initializer=initializer,
            name=f"{name}_depthwise",
        )
    return layers.convolution(
        x,
        filters=filters,
        kernel_size=1 if separable else 3,
        padding="same",
        kernel_initializer=initializer,
        bias_initializer={"class_name": "Constant", "config": {"value": bias_value}} if bias_value else "zeros",
        name=f"{name}_pointwise" if separable else name,
    )
