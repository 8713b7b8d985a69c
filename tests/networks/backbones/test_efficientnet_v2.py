"""EfficientNetV2: published counts, scaling and fused blocks. `test_applications` compares outputs."""

import keras
import pytest

from tfeff import models
from tfeff.errors import UserError
from tfeff.models.layers.residual import StochasticDepth

COUNTED = {  # all parameters, trainable ones, and multiply-adds of keras.applications' networks, from their layers
    "efficientnet-v2-b0": (7_200_312, 7_139_704, 718_086_176),
    "efficientnet-v2-b1": (8_212_124, 8_141_052, 1_196_819_360),
    "efficientnet-v2-b2": (10_178_374, 10_096_086, 1_697_542_832),
    "efficientnet-v2-b3": (14_467_622, 14_358_406, 3_011_458_816),
    "efficientnet-v2-s": (21_612_360, 21_458_488, 8_365_617_152),
    "efficientnet-v2-m": (54_431_388, 54_139_356, 24_582_460_384),
    "efficientnet-v2-l": (119_027_848, 118_515_272, 56_079_699_008),
}


@pytest.mark.parametrize("name", COUNTED)
def test_counts_of_the_published_networks(name: str) -> None:
    cost = models.estimate(models.architecture(name))
    assert (cost.params, cost.trainable_params, cost.macs) == COUNTED[name]


def test_all_members_are_published() -> None:
    assert models.names("efficientnet-v2") == tuple(COUNTED)


def test_filters_are_rounded_to_the_nearest_multiple_of_8() -> None:
    """19.2 filters become 16; the rule of EfficientNet, at most 10 % less, would give 24."""
    described = models.architecture("efficientnet-v2-b3")
    assert described.widths == (16, 40, 56, 112, 136, 232)
    assert described.blocks == (2, 3, 3, 5, 7, 12)


def test_the_first_three_stages_are_fused() -> None:
    network = models.build("efficientnet-v2-b0", resolution=32, width_coefficient=0.25)
    depthwise = {layer.name[:6] for layer in network.layers if isinstance(layer, keras.layers.DepthwiseConv2D)}
    squeezed = {layer.name[:6] for layer in network.layers if layer.name.endswith("squeeze_excite_scale")}
    assert depthwise == squeezed == {"stage4", "stage5", "stage6"}
    assert network.get_layer("stage2_block1_expand_conv").kernel_size == (3, 3)
    assert network.get_layer("stage2_block1_expand_conv").strides == (2, 2)
    only = network.get_layer("stage1_block1_project_conv")
    assert only.kernel_size == (3, 3)
    assert "stage1_block1_expand_conv" not in {layer.name for layer in network.layers}
    assert network.get_layer("stage1_block1_project_conv_act").activation is keras.activations.silu


def test_survival_probability_decreases_linearly_over_the_scaled_blocks() -> None:
    options = {"resolution": 32, "width_coefficient": 0.25, "depth_coefficient": 0.5}
    network = models.build("efficientnet-v2-b0", **options)
    last = [layer for layer in network.layers if isinstance(layer, StochasticDepth)][-1]
    assert (last.name, last.survival_probability) == ("stage6_block4_stochastic_depth", pytest.approx(0.8))
    blocks = sum(models.architecture("efficientnet-v2-b0", **options).blocks)
    second = network.get_layer("stage6_block2_stochastic_depth")
    assert second.survival_probability == pytest.approx(1 - 0.2 * (blocks - 2) / blocks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "xl"}, "table 'xl': must be one of b, s, m, l"),
        ({"survival_probability": 0.0}, "survival_probability 0.0"),
        ({"squeeze_ratio": 2.0}, "squeeze_ratio 2.0"),
    ],
)
def test_wrong_options_raise_errors(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.architecture("efficientnet-v2-b0", **options)
