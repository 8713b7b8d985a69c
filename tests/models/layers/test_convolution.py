"""Units of convolution, batch normalization and activation."""

import keras
import pytest

from tfeff.models.layers.backend import KerasLayers
from tfeff.models.layers.convolution import ConvolutionUnit


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(("bias", "batch_norm"), [(False, True), (True, True), (False, False), (True, False)])
def test_a_convolution_has_a_bias_if_wanted_or_if_no_normalization_follows(
    depthwise: bool, bias: bool, batch_norm: bool
) -> None:
    unit = ConvolutionUnit(
        layers=KerasLayers(), activation="relu", initializer="he_normal", momentum=0.9, epsilon=1e-3,
        batch_norm=batch_norm, bias=bias,
    )  # fmt: skip
    image = keras.Input((8, 8, 3))
    output = unit.depthwise(image, 3, name="unit") if depthwise else unit(image, 4, 3, name="unit")
    network = keras.Model(image, output)
    assert network.get_layer("unit").use_bias is (bias or not batch_norm)
    assert ("unit_bn" in {layer.name for layer in network.layers}) is batch_norm
