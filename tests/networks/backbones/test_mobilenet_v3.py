"""MobileNetV3: published counts, scaling and activations. `test_applications` compares outputs."""

import keras
import pytest

from tests.thoroughness import thorough
from tfeff import models
from tfeff.errors import UserError

COUNTED = {  # all parameters, trainable ones, and multiply-adds of keras.applications' networks, from their layers
    "mobilenet-v3-small": (2_554_968, 2_542_856, 56_510_400),
    "mobilenet-v3-small-0.75": (2_051_552, 2_041_872, 43_399_344),
    "mobilenet-v3-small-minimalistic": (2_056_848, 2_044_736, 52_288_448),
    "mobilenet-v3-large": (5_507_432, 5_483_032, 216_589_760),
    "mobilenet-v3-large-0.75": (4_012_616, 3_993_528, 154_560_624),
    "mobilenet-v3-large-minimalistic": (3_948_688, 3_924_288, 209_136_704),
}


@pytest.mark.parametrize("name", COUNTED)
def test_counts_of_the_published_networks(name: str) -> None:
    cost = models.estimate(models.architecture(name))
    assert (cost.params, cost.trainable_params, cost.macs) == COUNTED[name]


def test_all_members_are_published() -> None:
    assert models.names("mobilenet-v3") == tuple(COUNTED)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.35, thorough(0.5), 1.25])
def test_widths_equal_keras_applications(alpha: float) -> None:
    for size in ("small", "large"):
        ours = models.estimate(models.architecture(f"mobilenet-v3-{size}", width_coefficient=alpha))
        theirs = getattr(keras.applications, f"MobileNetV3{size.title()}")(alpha=alpha, weights=None)
        assert ours.params == theirs.count_params()


def test_further_blocks_of_a_stage_have_the_expansion_of_the_last() -> None:
    """Table 1: the fourth stage of Large expands 40 channels to 240, then 80 to 200, 184 and 184."""
    network = models.build("mobilenet-v3-large", resolution=32, depth_coefficient=1.5)
    channels = [
        network.get_layer(f"stage4_block{block}_expand_conv").filters
        for block in range(1, models.architecture("mobilenet-v3-large", depth_coefficient=1.5).blocks[3] + 1)
    ]
    assert channels == [240, 200, 184, 184, 184, 184]


def test_activations_of_the_table() -> None:
    """Tables 1 and 2, columns NL and SE."""
    network = models.build("mobilenet-v3-large", resolution=32)
    silu, relu = keras.activations.hard_silu, keras.activations.relu
    expected = {"stem_conv": silu, "stage3_block1_depthwise_conv": relu, "stage4_block1_depthwise_conv": silu}
    for name, activation in expected.items():
        assert network.get_layer(f"{name}_act").activation is activation
    assert network.get_layer("stage3_block1_squeeze_excite_expand").activation is keras.activations.hard_sigmoid
    squeezed = {layer.name[:6] for layer in network.layers if layer.name.endswith("squeeze_excite_scale")}
    assert squeezed == {"stage3", "stage5", "stage6"}
    minimalistic = models.build("mobilenet-v3-large-minimalistic", resolution=32)
    kinds = {layer.activation for layer in minimalistic.layers if isinstance(layer, keras.layers.Activation)}
    kernels = {layer.kernel_size for layer in minimalistic.layers if isinstance(layer, keras.layers.DepthwiseConv2D)}
    assert (kinds, kernels) == ({relu}, {(3, 3)})


def test_small_has_its_first_stage_at_a_quarter_of_the_resolution() -> None:
    network = models.build("mobilenet-v3-small", resolution=64, include_top=False)
    assert network.levels["P1"] == "stem_conv_act"
    assert network.pyramid["P2"].shape[1:] == (16, 16, 16)


def test_wrong_options_raise_errors() -> None:
    with pytest.raises(UserError, match="table 'medium': must be one of small, large"):
        models.architecture("mobilenet-v3-small", table="medium")
