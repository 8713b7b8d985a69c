"""EfficientNet: stochastic depth and constants."""

import keras
import pytest

from tests.thoroughness import thorough
from tfeff import models
from tfeff.models.layers.residual import StochasticDepth


def survival(network: models.Network) -> dict[str, float]:
    return {
        layer.name.removesuffix("_stochastic_depth"): layer.survival_probability
        for layer in network.layers
        if isinstance(layer, StochasticDepth)
    }


@pytest.mark.parametrize("depth_coefficient", [1.2, thorough(3.1)])
def test_survival_probability_decreases_linearly_over_the_scaled_blocks(depth_coefficient: float) -> None:
    network = models.build("efficientnet-b0", resolution=8, width_coefficient=0.1, depth_coefficient=depth_coefficient)
    blocks = [
        layer.name.removesuffix("_project_conv") for layer in network.layers if layer.name.endswith("_project_conv")
    ]
    got = survival(network)
    for index, block in enumerate(blocks, start=1):
        if block in got:
            assert got[block] == pytest.approx(1 - 0.2 * index / len(blocks))
    assert got[blocks[-1]] == pytest.approx(0.8)


def test_survival_probability_is_an_option() -> None:
    always, half = (
        models.build("efficientnet-b0", resolution=8, depth_coefficient=0.5, survival_probability=value)
        for value in (1.0, 0.5)
    )
    assert not survival(always)
    assert min(survival(half).values()) < 0.6


def test_constants_of_batch_normalization() -> None:
    for name in ("efficientnet-b0", "efficientnet-lite0"):
        for layer in models.build(name, resolution=8, depth_coefficient=0.5).layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                assert (layer.momentum, layer.epsilon) == (0.99, 1e-3)


def test_a_coefficient_replaces_the_default() -> None:
    b0, b3 = (
        models.build(name, resolution=8, width_coefficient=0.5, depth_coefficient=0.4)
        for name in ("efficientnet-b0", "efficientnet-b3")
    )
    assert b3.count_params() == b0.count_params()
    assert models.architecture("efficientnet-b3").dropout == 0.3
