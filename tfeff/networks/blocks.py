"""Blocks of layers that several networks share.

The convolution unit of all backbones: convolution, batch normalization, activation. Inverted residuals with linear
bottlenecks (MBConv), the blocks of MobileNetV2, MobileNetV3 and EfficientNet, plain or fused (EfficientNetV2), with
squeeze-and-excitation. The 3x3 convolutions of necks and heads.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.scaling import round_filters


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
        groups: int = 1,
        zero: bool = False,
    ) -> FeatureMap:
        """Applies a convolution unit: (batch, h, w, c) -> (batch, ceil(h / strides), ceil(w / strides), filters).

        Args:
            x: feature map.
            filters: channels of the result.
            kernel_size: side of the kernel.
            name: name of the convolution. The other layers are called `<name>_bn` and `<name>_act`.
            strides: 1 or 2.
            activate: False omits the activation.
            padding: "same", or "valid" if the caller has padded `x`.
            groups: each group of filters reads only its own group of channels; divides both numbers.
            zero: the scale of the batch normalization starts at 0, and with it the result.
        """
        x = self.layers.convolution(
            x,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            groups=groups,
            use_bias=self.bias or not self.batch_norm,
            kernel_initializer=self.initializer,
            name=name,
        )
        return self.normalized(x, name, activate=activate, zero=zero)

    def depthwise(self, x: FeatureMap, kernel_size: int, *, name: str, strides: int = 1) -> FeatureMap:
        """Applies a depthwise convolution unit: (batch, h, w, c) -> (batch, ceil(h / s), ceil(w / s), c)."""
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
        """Applies batch normalization, `<name>_bn`, and activation, `<name>_act`, to a convolution's output."""
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
        expand_ratio: channels inside a block divided by its input channels; 1 omits the expansion. With a tuple, the
            first blocks have one each, and all others the last.
        squeeze: whether the blocks have squeeze-and-excitation, if the network has.
        fused: one convolution of `kernel_size` instead of expansion and depthwise convolution ("Fused-MBConv").
        activation: Keras activation; None: that of the convolution unit.
    """

    repeats: int
    filters: int
    strides: int
    kernel_size: int = 3
    expand_ratio: float | tuple[float, ...] = 6
    squeeze: bool = True
    fused: bool = False
    activation: str | None = None

    def runs(self, blocks: int) -> Iterator[tuple[float, int, int]]:
        """Runs of blocks with the same expansion: (ratio, index of the first block, number of blocks)."""
        ratios = self.expand_ratio if isinstance(self.expand_ratio, tuple) else (self.expand_ratio,)
        for index, ratio in enumerate(ratios[:blocks]):
            yield ratio, index, blocks - index if index == len(ratios) - 1 else 1


Squeeze: TypeAlias = Callable[[FeatureMap, int, str], FeatureMap]
"""Squeeze-and-excitation of a network's blocks: of a map, the input channels of the block, and a prefix of names."""


def inverted_residual(
    unit: ConvolutionUnit,
    x: FeatureMap,
    filters: int,
    *,
    stage: Stage,
    expand_ratio: float,
    strides: int,
    name: str,
    squeeze: Squeeze | None = None,
    survival_probability: float = 1.0,
) -> FeatureMap:
    """Expands (1x1), filters (depthwise), squeezes and excites, projects (1x1). Equal shapes get an identity shortcut.

    Sandler et al., "MobileNetV2" (2018), section 3.4; with squeeze-and-excitation, Tan et al., "MnasNet" (2019); fused,
    Tan and Le, "EfficientNetV2" (arXiv:2104.00298), figure 2.

    Args:
        unit: the convolution unit. The projection has no activation, unless it is the only convolution.
        x: (batch, h, w, c).
        filters: output channels.
        stage: kernel size, and whether the block is fused.
        expand_ratio: channels inside the block divided by c, rounded to a multiple of 8; 1 omits the expansion.
        strides: stride of this block.
        name: prefix of the layer names.
        squeeze: squeeze-and-excitation after the depthwise convolution; None omits it.
        survival_probability: stochastic depth of the residual branch. Blocks without a shortcut are never dropped.

    Returns:
        (batch, ceil(h / strides), ceil(w / strides), filters).
    """
    inputs, channels = x, x.shape[-1]
    expands = expand_ratio != 1
    if expands:
        kernel_size, step = (stage.kernel_size, strides) if stage.fused else (1, 1)
        expanded = round_filters(channels * expand_ratio)
        x = unit(x, expanded, kernel_size, strides=step, name=f"{name}_expand_conv")
    if not stage.fused:
        x = unit.depthwise(x, stage.kernel_size, strides=strides, name=f"{name}_depthwise_conv")
    if squeeze is not None and stage.squeeze:
        x = squeeze(x, channels, f"{name}_squeeze_excite")
    only = stage.fused and not expands
    kernel_size, step = (stage.kernel_size, strides) if only else (1, 1)
    x = unit(x, filters, kernel_size, strides=step, activate=only, name=f"{name}_project_conv")
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
    squeeze: Squeeze | None = None,
    last_survival: float = 1.0,
) -> dict[str, FeatureMap]:
    """Returns stages of inverted residuals, after a stem of stride 2.

    The survival probability of stochastic depth decreases linearly to that of the last block: p_l = 1 - (l / L) (1 -
    p_L) for l = 1, ..., L (Huang et al., "Deep Networks with Stochastic Depth", 2016, equation 4).

    Args:
        unit: the convolution unit.
        x: output of the stem.
        stages: the rows of the network's table.
        blocks: number of blocks of each stage, after scaling.
        widths: output channels of each stage, after scaling.
        squeeze: as for `inverted_residual`.
        last_survival: p_L.

    Returns:
        The last map of each stride, by level; the last one is that of the last stage.
    """
    level, levels, before = 1, {"P1": x}, 0
    for number, (stage, count, width) in enumerate(zip(stages, blocks, widths, strict=True), start=1):
        own = replace(unit, activation=stage.activation or unit.activation)
        for ratio, first, repeats in stage.runs(count):
            for index in unit.layers.blocks(repeats):
                x = inverted_residual(
                    own,
                    x,
                    width,
                    stage=stage,
                    expand_ratio=ratio,
                    strides=stage.strides if first + index == 0 else 1,
                    squeeze=squeeze,
                    survival_probability=1 - (before + first + index + 1) / sum(blocks) * (1 - last_survival),
                    name=f"stage{number}_block{first + index + 1}",
                )
        before += count
        level += stage.strides - 1
        levels[f"P{level}"] = x
    return levels


def squeeze_excite(
    layers: Layers,
    x: FeatureMap,
    reduced: int,
    *,
    activation: str,
    initializer: str | dict,
    name: str,
    gate_activation: str = "sigmoid",
) -> FeatureMap:
    """Multiplies each channel by a gate in (0, 1), computed from the means of all channels.

    Hu et al., "Squeeze-and-Excitation Networks" (2018), section 3; the two layers are 1x1 convolutions with biases.

    Args:
        x: (batch, height, width, channels).
        reduced: channels between the two layers.
        activation: activation between the two layers.
        initializer: initializer of the kernels.
        name: prefix of the layer names.
        gate_activation: activation after the two layers.

    Returns:
        (batch, height, width, channels).
    """
    gate = layers.global_average_pooling(x, keepdims=True, name=f"{name}_pool")
    for filters, function, step in ((reduced, activation, "reduce"), (x.shape[-1], gate_activation, "expand")):
        gate = layers.convolution(
            gate,
            filters=filters,
            kernel_size=1,
            activation=function,
            kernel_initializer=initializer,
            name=f"{name}_{step}",
        )
    return layers.multiply(x, gate, name=f"{name}_scale")


def squeeze_inputs(unit: ConvolutionUnit, ratio: float) -> Squeeze | None:
    """Returns `ratio` times the input channels of a block, rounded down, at least 1, for squeeze-and-excitation.

    Args:
        unit: activation between the two layers, and initializer.
        ratio: 0 omits it; the result is None.
    """
    if ratio == 0:
        return None

    def squeeze(x: FeatureMap, channels: int, name: str) -> FeatureMap:
        reduced = max(1, int(channels * ratio))
        return squeeze_excite(
            unit.layers, x, reduced, activation=unit.activation, initializer=unit.initializer, name=name
        )

    return squeeze


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
    """Returns a 3x3 convolution: (batch, h, w, c) -> (batch, h, w, filters).

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
