"""Units of convolution, batch normalization and activation."""

import keras
import pytest

from tfeff.models.layers.kinds import KerasLayers
from tfeff.networks.blocks import ConvolutionUnit


@pytest.mark.parametrize(
    ("bias", "batch_norm", "full", "depthwise"),
    [
        # Kernels of 3 x 3 for 3 input channels and 4 or 1 output channels each; one bias, or 4 parameters of batch
        # normalization, per output channel.
        (False, True, 108 + 16, 27 + 12),
        (True, True, 108 + 4 + 16, 27 + 3 + 12),
        (False, False, 108 + 4, 27 + 3),
        (True, False, 108 + 4, 27 + 3),
    ],
)
def test_a_convolution_without_batch_normalization_always_has_a_bias(
    bias: bool, batch_norm: bool, full: int, depthwise: int
) -> None:
    unit = ConvolutionUnit(
        layers=KerasLayers(), activation="relu", initializer="he_normal", momentum=0.9, epsilon=1e-3,
        batch_norm=batch_norm, bias=bias,
    )  # fmt: skip
    image = keras.Input((8, 8, 3))
    for output, params in ((unit(image, 4, 3, name="full"), full), (unit.depthwise(image, 3, name="dw"), depthwise)):
        assert keras.Model(image, output).count_params() == params
