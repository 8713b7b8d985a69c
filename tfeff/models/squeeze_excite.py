"""Squeeze-and-excitation: channels weighted by what the whole feature map holds."""

import keras


def squeeze_excite(
    x: keras.KerasTensor, reduced: int, *, activation: str, initializer: str | dict, name: str
) -> keras.KerasTensor:
    """Multiply each channel by a gate in (0, 1) computed from all channels' means.

    Hu et al., "Squeeze-and-Excitation Networks" (2018), section 3; the two layers are 1x1 convolutions with biases.

    Args:
        x: (batch, height, width, channels).
        reduced: channels between the two layers.
        activation: between the two layers.
        initializer: of the kernels.
        name: prefix of the layers' names.

    Returns:
        (batch, height, width, channels).
    """
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    for filters, function, step in ((reduced, activation, "reduce"), (x.shape[-1], "sigmoid", "expand")):
        gate = keras.layers.Conv2D(
            filters,
            1,
            activation=function,
            kernel_initializer=keras.initializers.get(initializer),
            name=f"{name}_{step}",
        )(gate)
    return keras.layers.Multiply(name=f"{name}_scale")([x, gate])
