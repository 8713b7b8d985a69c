"""Parameters, multiply-adds and outputs of all necks, compared with counts by hand."""

import keras
import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.models.cost.complexity import count
from tfeff.models.layers.kinds import KerasLayers
from tfeff.networks.blocks import ConvolutionUnit
from tfeff.networks.necks.neck import Neck

UNIT = ConvolutionUnit(
    layers=KerasLayers(), activation="silu", initializer="glorot_uniform", momentum=0.99, epsilon=1e-3
)
RESOLUTION = 65
SIDES = {3: 9, 4: 5, 5: 3, 6: 2, 7: 1}
BACKBONE = {3: 6, 4: 10, 5: 14}  # channels
CHANNELS, REPEATS = 4, 2
# Read off the figures of the papers: nodes of a cell at P3, ..., P7; how many nodes read P3, P4 and P5; and inputs of
# the nodes that fuse with weights.
BY_HAND = {
    "fpn": ((1, 1, 1, 1, 1), (1, 1, 1), 4 * 2),
    "panet": ((2, 2, 2, 2, 2), (1, 1, 1), 8 * 2),
    "simplified_panet": ((1, 2, 2, 2, 1), (1, 1, 1), 8 * 2),
    "fully_connected": ((1, 1, 1, 1, 1), (5, 5, 5), 5 * 5),
    "bifpn": ((1, 2, 2, 2, 1), (1, 2, 2), 5 * 2 + 3 * 3),
    "nas_fpn": ((1, 3, 1, 1, 1), (1, 2, 1), 3 * 2),
}
BIFPN_INPUTS = 2, 5, 5, 5, 2  # of the nodes at P3, ..., P7


def model(**options: object) -> keras.Model:
    """Returns the neck alone, on maps of a backbone with P3 to P5."""
    maps = {f"P{n}": keras.Input((SIDES[n], SIDES[n], channels), name=f"p{n}") for n, channels in BACKBONE.items()}
    outputs = Neck(channels=CHANNELS, repeats=REPEATS, **options)(UNIT, maps, (RESOLUTION, RESOLUTION))
    assert list(outputs) == ["P3", "P4", "P5", "P6", "P7"]
    return keras.Model(list(maps.values()), list(outputs.values()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("neck", "fusion", "weights_per", "separable"),
    [
        *((neck, "fast", "input", True) for neck in BY_HAND),
        ("bifpn", "softmax", "channel", False),
        ("bifpn", "unbounded", "pixel", True),
        ("fully_connected", "sum", "input", False),
    ],
)
def test_cost_by_hand(neck: str, fusion: str, weights_per: str, separable: bool) -> None:
    network = model(name=neck, fusion=fusion, weights_per=weights_per, separable=separable)
    per_level, readers, weighted = BY_HAND[neck]
    convolution = 9 * CHANNELS + CHANNELS**2 if separable else 9 * CHANNELS**2
    normalization = 2 * CHANNELS  # scale and shift; the moving statistics are as many, and not trainable
    # The first cell projects what it reads from the backbone; P6 is projected from P5.
    projections = dict(zip(BACKBONE, readers, strict=True))
    projections[5] += 1
    trainable = sum(
        times * (BACKBONE[level] * CHANNELS + CHANNELS + normalization) for level, times in projections.items()
    )
    trainable += REPEATS * sum(per_level) * (convolution + CHANNELS + normalization)
    if fusion != "sum":
        pixels = sum(n * side**2 for n, side in zip(BIFPN_INPUTS, SIDES.values(), strict=True))
        trainable += (
            REPEATS * {"input": weighted, "channel": weighted * CHANNELS, "pixel": pixels * CHANNELS}[weights_per]
        )
    fixed = normalization * (sum(projections.values()) + REPEATS * sum(per_level))
    macs = sum(times * SIDES[level] ** 2 * BACKBONE[level] * CHANNELS for level, times in projections.items())
    macs += REPEATS * sum(
        number * side**2 * convolution for number, side in zip(per_level, SIDES.values(), strict=True)
    )
    cost = count(network)
    assert (cost.trainable_params, cost.params, cost.macs) == (trainable, trainable + fixed, macs)
    assert [tuple(output.shape) for output in network.outputs] == [
        (None, side, side, CHANNELS) for side in SIDES.values()
    ]


def test_the_gated_node_equals_numpy() -> None:
    network = model(name="nas_fpn", fusion="sum")
    prefix = "neck_cell1_p4_a"
    layers = [f"{prefix}_from_p6_up", f"{prefix}_from_p4_bn", f"{prefix}_fusion"]
    probe = keras.Model(network.inputs, [network.get_layer(layer).output for layer in layers])
    rng = np.random.default_rng(0)
    first, second, fused = map(
        np.asarray, probe([rng.normal(size=(2, *x.shape[1:])).astype("float32") for x in network.inputs])
    )
    gate = 1 / (1 + np.exp(-first.max(axis=(1, 2), keepdims=True)))
    np.testing.assert_allclose(fused, first + second * gate, rtol=1e-5, atol=1e-6)


def test_equal_channels_are_not_projected() -> None:
    maps = {"P3": keras.Input((8, 8, 4)), "P4": keras.Input((4, 4, 4))}
    outputs = Neck(name="fpn", levels=("P3", "P4"), channels=4, repeats=1)(UNIT, maps, (64, 64))
    names = [layer.name for layer in keras.Model(list(maps.values()), list(outputs.values())).layers]
    assert not [name for name in names if "_from_" in name and name.endswith("_conv")]
    assert "neck_cell1_p3_out_from_p4_out_up" in names


def test_maps_are_enlarged_by_two_to_the_difference_of_levels() -> None:
    maps = {f"P{level}": keras.Input((side, side, 4)) for level, side in ((3, 32), (4, 16), (5, 8), (6, 4))}
    neck = Neck(name="fully_connected", levels=tuple(maps), channels=4, repeats=1)
    outputs = neck(UNIT, maps, (256, 256))
    network = keras.Model(list(maps.values()), list(outputs.values()))
    factors = [network.get_layer(f"neck_cell1_p3_out_from_p{level}_up").factor for level in (4, 5, 6)]
    assert factors == [2, 4, 8]


def test_maps_are_reduced_by_max_pooling_over_an_overlapping_window() -> None:
    maps = {"P3": keras.Input((8, 8, 4)), "P4": keras.Input((4, 4, 4)), "P5": keras.Input((2, 2, 4))}
    neck = Neck(name="fully_connected", levels=("P3", "P4", "P5"), channels=4, repeats=1)
    outputs = neck(UNIT, maps, (64, 64))
    network = keras.Model(list(maps.values()), list(outputs.values()))
    sizes = {
        name: network.get_layer(f"neck_cell1_{name}_pool").pool_size
        for name in ("p4_out_from_p3", "p5_out_from_p4", "p5_out_from_p3")
    }
    assert sizes == {"p4_out_from_p3": (3, 3), "p5_out_from_p4": (3, 3), "p5_out_from_p3": (5, 5)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "bipfn"}, 'no neck "bipfn"'),
        ({"levels": ("P3", "P5")}, "must not have gaps"),
        ({"levels": ("P3", "P3")}, "given 2 times"),
        ({"weights_per": "row"}, "fusion_weights_per 'row': must be one of input, channel, pixel"),
        ({"fusion": "sum", "weights_per": "channel"}, "fusion_weights_per 'channel': fusion 'sum' has no weights"),
        ({"fusion": "mean"}, "fusion 'mean': must be one of sum, unbounded, softmax, fast"),
        ({"name": "nas_fpn", "levels": ("P3", "P4")}, "five levels"),
    ],
)
def test_wrong_values_are_errors(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Neck(**options)


def test_a_level_below_the_first_of_the_backbone_is_an_error() -> None:
    maps = {"P3": keras.Input((8, 8, 4)), "P4": keras.Input((4, 4, 4))}
    with pytest.raises(UserError, match=r'no pyramid level "P2"; it has P3, P4\. Only levels beyond P4 can be added'):
        Neck(levels=("P2", "P3", "P4"))(UNIT, maps, (64, 64))
