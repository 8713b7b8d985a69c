"""Levels of a pyramid: from the backbone, and added beyond its last."""

import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff import models
from tfeff.errors import UserError


def backbone(resolution: int = 33, **options: object) -> models.Network:
    """A ResNet with P1, P2 and P3, which has 32 channels."""
    return models.build(
        "resnet", width=4, stage_blocks=(1, 1, 1, 1), resolution=resolution, include_top=False, **options
    )


def shapes(network: models.Network) -> dict[str, tuple[int, ...]]:
    return {level: tuple(feature_map.shape[1:]) for level, feature_map in network.pyramid.items()}


def images(resolution: int = 33) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (2, resolution, resolution, 3)).astype("float32")


def test_levels_of_the_readme_example() -> None:
    features = models.build("resnet", width=12, stage_blocks=(2, 2, 2, 2), resolution=95, include_top=False)
    network = models.pyramid(features, ["P2", "P3", "P4"])
    assert shapes(network) == {"P2": (24, 24, 48), "P3": (12, 12, 96), "P4": (6, 6, 96)}


@pytest.mark.parametrize("resolution", [8, 33, 64])
@pytest.mark.parametrize("levels", [["P1"], ["P3", "P1"], ["P4"], ["P6", "P2"], ["P7", "P3", "P5"]])
def test_level_n_has_stride_two_to_the_n(levels: list[str], resolution: int) -> None:
    network = models.pyramid(backbone(resolution), levels)
    maps = network(images(resolution))
    assert set(maps) == set(levels)
    assert list(network.levels) == list(network.pyramid) == sorted(levels)
    assert network.resolution == resolution
    for level, feature_map in maps.items():
        side = -(-resolution // 2 ** int(level[1:]))
        channels = {"P1": 8, "P2": 16}.get(level, 32)
        assert tuple(feature_map.shape) == (2, side, side, channels)
        assert network.pyramid[level].shape[1:] == feature_map.shape[1:]


def test_levels_of_the_backbone_share_its_layers() -> None:
    network = backbone()
    fine = models.pyramid(network, ["P1"])
    assert fine.get_layer("stem_conv") is network.get_layer("stem_conv")
    assert not [layer for layer in fine.layers if layer.name.startswith("stage3")]
    deep = models.pyramid(network, ["P2", "P5"])
    assert {weight.path for weight in deep.weights} - {weight.path for weight in network.weights} == {
        f"pyramid_p{number}_conv/{variable}" for number in (4, 5) for variable in ("kernel", "bias")
    }
    x = images()
    np.testing.assert_allclose(deep(x)["P2"], models.pyramid(network, ["P2"])(x)["P2"], rtol=1e-6)


def test_added_levels_are_strided_convolutions_with_relu_between_them() -> None:
    network = models.pyramid(backbone(), ["P3", "P4", "P5"], channels=6)
    maps = {level: np.asarray(feature_map) for level, feature_map in network(images()).items()}
    assert [maps[level].shape[-1] for level in ("P3", "P4", "P5")] == [32, 6, 6]
    assert maps["P4"].min() < 0  # the ReLU before P5 is not part of P4
    for level, x in (("P4", maps["P3"]), ("P5", np.maximum(maps["P4"], 0))):
        layer = network.get_layer(f"pyramid_{level.lower()}_conv")
        expected = tf.nn.conv2d(x, layer.kernel, 2, "SAME") + layer.bias
        np.testing.assert_allclose(maps[level], expected, rtol=1e-5, atol=1e-5)


def test_gradients_reach_backbone_and_added_levels() -> None:
    network = models.pyramid(backbone(64), ["P2", "P4", "P5"])
    with tf.GradientTape() as tape:
        maps = network(images(64), training=True)
        loss = sum(tf.reduce_mean(tf.square(feature_map)) for feature_map in maps.values())
    for weight, gradient in zip(
        network.trainable_variables, tape.gradient(loss, network.trainable_variables), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.any(np.asarray(gradient) != 0), weight.path


def test_a_pyramid_saved_and_loaded_keeps_outputs_and_levels(tmp_path: Path) -> None:
    network = models.pyramid(backbone(), ["P5", "P3"])
    network.save(tmp_path / "pyramid.keras")
    loaded = keras.saving.load_model(tmp_path / "pyramid.keras")
    assert isinstance(loaded, models.Network)
    assert loaded.levels == network.levels == {"P3": "stage4_block1_out", "P5": "pyramid_p5_conv"}
    for level, feature_map in network(images()).items():
        np.testing.assert_array_equal(loaded(images())[level], feature_map)


def test_extending_a_pyramid_equals_building_it_at_once() -> None:
    network = backbone()
    twice = models.pyramid(models.pyramid(network, ["P2", "P3", "P4"]), ["P2", "P5"])
    once = models.pyramid(network, ["P2", "P5"])
    assert not models.load_weights(once, twice).skipped
    for level, feature_map in twice(images()).items():
        np.testing.assert_allclose(once(images())[level], feature_map, rtol=1e-5)


@pytest.mark.parametrize("name", ["mobilenet-v2", "efficientnet-b0", "resnet50"])
def test_other_families_get_p6_and_p7(name: str) -> None:
    options = {"width": 8} if name == "resnet50" else {"width_coefficient": 0.25}
    network = models.build(name, resolution=64, depth_coefficient=0.3, include_top=False, **options)
    channels = network.pyramid["P5"].shape[-1]
    deep = models.pyramid(network, ["P5", "P6", "P7"])
    assert shapes(deep) == {"P5": (2, 2, channels), "P6": (1, 1, channels), "P7": (1, 1, channels)}


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "must be a non-empty list"),
        ("P3", "must be a non-empty list"),
        (["4"], 'pyramid level "4": must be P1'),
        ([4], 'pyramid level "4": must be P1'),
        (["P2", "P0"], 'pyramid level "P0": must be P1'),
        (["p3"], 'pyramid level "p3": must be P1'),
        (["P03"], 'pyramid level "P03": must be P1'),
        (["P2", "P3", "P2"], 'pyramid level "P2" is given 2 times'),
        (["P1", "P4"], r'no pyramid level "P1"; it has P2, P3\. Only levels beyond P3 can be added'),
    ],
)
def test_wrong_levels_are_errors(levels: list[str], message: str) -> None:
    coarse = models.pyramid(backbone(), ["P2", "P3"])
    with pytest.raises(UserError, match=message):
        models.pyramid(coarse, levels)


def test_channels_must_be_positive() -> None:
    with pytest.raises(UserError, match="channels 0"):
        models.pyramid(backbone(), ["P4"], channels=0)


def test_every_order_of_levels_gives_the_same_network() -> None:
    network = backbone()
    for order in itertools.permutations(("P2", "P3", "P5")):
        assert list(models.pyramid(network, order).levels) == ["P2", "P3", "P5"]
