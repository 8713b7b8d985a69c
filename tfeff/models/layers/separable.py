"""3x3 convolutions of necks and heads: depthwise-separable or plain, with biases."""

from tfeff.models.layers.backend import FeatureMap, Layers


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
        layers: the layer backend.
        x: a feature map, or a list of maps that share the layers.
        filters: output channels.
        name: name of the layer. A separable convolution consists of `<name>_depthwise`, which has no bias, and
            `<name>_pointwise`.
        separable: depthwise 3x3 followed by 1x1 (Howard et al., "MobileNets", 2017, section 3.1), instead of plain.
        initializer: initializer of the kernels.
        bias_value: initial value of the biases.
    """
    if separable:
        x = layers.depthwise_convolution(x, 3, bias=False, initializer=initializer, name=f"{name}_depthwise")
    return layers.convolution(
        x,
        filters,
        1 if separable else 3,
        initializer=initializer,
        bias_value=bias_value,
        name=f"{name}_pointwise" if separable else name,
    )
