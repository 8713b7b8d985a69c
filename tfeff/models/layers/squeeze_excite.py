"""Squeeze-and-excitation: channel attention from globally pooled features."""

from tfeff.models.layers.backend import FeatureMap, Layers


def squeeze_excite(
    layers: Layers, x: FeatureMap, reduced: int, *, activation: str, initializer: str | dict, name: str
) -> FeatureMap:
    """Multiply each channel by a gate in (0, 1), computed from the means of all channels.

    Hu et al., "Squeeze-and-Excitation Networks" (2018), section 3; the two layers are 1x1 convolutions with biases.

    Args:
        layers: the layer backend.
        x: (batch, height, width, channels).
        reduced: channels between the two layers.
        activation: activation between the two layers.
        initializer: initializer of the kernels.
        name: prefix of the layer names.

    Returns:
        (batch, height, width, channels).
    """
    gate = layers.global_pooling(x, keepdims=True, name=f"{name}_pool")
    for filters, function, step in ((reduced, activation, "reduce"), (x.shape[-1], "sigmoid", "expand")):
        gate = layers.convolution(
            gate,
            filters,
            1,
            padding="valid",
            activation=function,
            initializer=initializer,
            name=f"{name}_{step}",
        )
    return layers.scale(x, gate, name=f"{name}_scale")
