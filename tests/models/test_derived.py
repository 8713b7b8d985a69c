"""Pyramids, localizers and averaged views of a network."""

import dataclasses
import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.serving.random_detectors import detector
from tests.thoroughness import thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID


def backbone(resolution: int = 33, **options: object) -> models.Network:
    """Returns a ResNet with P1, P2 and P3, which has 32 channels."""
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


@pytest.mark.slow
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


def test_a_backbone_without_levels_has_no_pyramid() -> None:
    network = models.build("resnet", stage_blocks=(1,), resolution=16, include_top=False)
    with pytest.raises(UserError, match=r"resnet has no pyramid level, .*; give it more stages"):
        models.pyramid(network, ["P1"])


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mobilenet-v2", "efficientnet-b0", "resnet50", "convnext-tiny", "mobilenet-v3-small", "regnet-y-400mf"]
)
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


SMALL = {"width": 4, "stage_blocks": (1, 1, 1, 1), "resolution": 32, "channels": 1}


def small_backbone(**options):
    return models.build("resnet", include_top=False, **SMALL | options)


def gray_images(count=3, side=32):
    return np.random.default_rng(0).uniform(0, 255, (count, side, side, 1)).astype("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_and_boxes_are_relative(policy):
    keras.config.set_dtype_policy(policy)
    network = models.localizer(small_backbone(), num_classes=7, dropout=0.1)
    outputs = network(gray_images())
    assert outputs.keys() == {"logits", "box"}
    for name, width in (("logits", 7), ("box", 4)):
        assert tuple(outputs[name].shape) == (3, width)
        assert keras.backend.standardize_dtype(outputs[name].dtype) == "float32"
    box = np.asarray(outputs["box"])
    assert ((box > 0) & (box < 1)).all()


@pytest.mark.parametrize(("resolution", "grid", "inputs"), [(32, 4, 4 * 4), (32, 2, 2 * 2), (16, 4, 2 * 2), (40, 3, 9)])
def test_the_box_regressor_reads_a_grid(resolution, grid, inputs):
    plain = small_backbone(resolution=resolution)
    channels = plain.output_shape[-1]
    network = models.localizer(plain, num_classes=2, grid=grid, hidden=(5,))
    assert network.get_layer("box_hidden1").kernel.shape == (inputs * channels, 5)
    assert network.resolution == resolution
    assert network.pyramid.keys() == plain.pyramid.keys()


def test_without_hidden_layers_the_box_regressor_is_linear():
    network = models.localizer(small_backbone(), num_classes=2, hidden=())
    grid = keras.Model(network.inputs[0], network.get_layer("box_flatten").output)(gray_images())
    layer = network.get_layer("box_regressor")
    linear = np.asarray(grid) @ np.asarray(layer.kernel) + np.asarray(layer.bias)
    np.testing.assert_allclose(network(gray_images())["box"], 1 / (1 + np.exp(-linear)), atol=1e-6)


def test_weights_of_a_classifier_can_be_loaded():
    classifier = models.build("resnet", num_classes=5, **SMALL)
    network = models.localizer(small_backbone(), num_classes=5)
    loaded = models.load_weights(network, classifier)
    assert {skipped.name.split("/")[0] for skipped in loaded.skipped} == {"box_hidden1", "box_regressor"}
    np.testing.assert_allclose(network(gray_images())["logits"], classifier(gray_images()), atol=1e-5)


def test_cost_is_that_of_the_classifier_plus_the_box_regressor():
    classifier = models.complexity.count(models.build("resnet", num_classes=5, **SMALL))
    network = models.localizer(small_backbone(), num_classes=5, hidden=(6,))
    counted, inputs = models.complexity.count(network), 4 * 4 * 32
    assert counted.params - classifier.params == inputs * 6 + 6 + 6 * 4 + 4
    assert counted.macs - classifier.macs == inputs * 6 + 6 * 4


def test_saving_and_loading_preserve_outputs_and_levels(tmp_path):
    network = models.localizer(small_backbone(), num_classes=5)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.levels == network.levels
    for name, out in network(gray_images()).items():
        np.testing.assert_array_equal(loaded(gray_images())[name], out)


def probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.softmax(model(images, training=False)))


def shifted(images: np.ndarray, shift: int) -> np.ndarray:
    """Shift by `shift` pixels down and right (negative: up and left), with reflection padding."""
    side, margin = images.shape[1], abs(shift)
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    start = margin - shift
    return padded[:, start : start + side, start : start + side]


def network(channels: int = 3) -> keras.Model:
    return models.build("resnet", width=4, stage_blocks=(1, 1, 1, 1), resolution=15, num_classes=5, channels=channels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "mirrored", "shift"), [(1, False, 0), (3, True, 0), (3, False, 1), (1, True, 1), (3, True, 3)]
)
def test_probabilities_are_the_weighted_mean_over_views(channels: int, mirrored: bool, shift: int) -> None:
    model = network(channels)
    images = np.random.default_rng(0).uniform(0, 255, (6, 15, 15, channels)).astype(np.float32)
    averaged = models.averaged(model, mirrored=mirrored, shift=shift)
    assert averaged.size == (15, 15)
    assert averaged.count_params() == model.count_params()

    expected = np.zeros((6, 5))
    for view, weight in ((images, 0.5), (shifted(images, shift), 0.25), (shifted(images, -shift), 0.25)):
        sides = [view, view[:, :, ::-1]] if mirrored else [view]
        expected += weight * np.mean([probabilities(model, side) for side in sides], axis=0)
    result = probabilities(averaged, images)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    if mirrored or shift:
        assert np.abs(result - probabilities(model, images)).max() > 1e-3
    if mirrored and not shift:
        np.testing.assert_allclose(probabilities(averaged, images[:, :, ::-1]), result, atol=1e-6)


def test_a_shift_as_large_as_the_image_is_an_error() -> None:
    model = network()
    with pytest.raises(UserError, match="shift 15: must be between 0 and 14 for images of 15x15 pixels"):
        models.averaged(model, shift=15)


def test_an_embedder_has_a_vector_and_similarities_to_proxies():
    network = models.embedder(small_backbone(), dimension=9, dropout=0.1, proxies=4)
    assert {name: output.shape for name, output in network.output.items()} == {
        "vector": (None, 9),
        "similarities": (None, 4),
    }
    plain = models.embedder(small_backbone(), dimension=9)
    assert {name: output.shape for name, output in plain.output.items()} == {"vector": (None, 9)}
    assert plain.levels == small_backbone().levels
    added = {"head_proxies/kernel": (9, 4)}
    shapes = [{each.path: tuple(each.shape) for each in model.weights} for model in (network, plain)]
    assert {path: shapes[0][path] for path in shapes[0].keys() - shapes[1].keys()} == added


SHAPES = {"stage_blocks": (1, 1, 1, 1), "width": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet", SHAPES),
        ("efficientnet-b0", {"width_coefficient": 0.25, "depth_coefficient": 0.3}),
        ("mobilenet-v3-small", {"width_coefficient": 0.35, "depth_coefficient": 0.5}),
        *(
            thorough(name, {})
            for name in (
                "resnet50",
                "efficientnet-lite0",
                "efficientnet-v2-b0",
                "mobilenet-v1",
                "mobilenet-v2",
                "convnext-tiny",
            )
        ),
        thorough("regnet-y-400mf", {}),
    ],
)
@pytest.mark.parametrize("size", [(48, 80), (33, 47)])
def test_a_resized_network_is_the_network_built_for_that_size(
    name: str, options: dict[str, object], size: tuple[int, int]
) -> None:
    network = models.build(name, num_classes=3, resolution=64, **options)
    other = models.resized(network, size)
    assert (other.size, network.size) == (size, (64, 64))
    assert [id(each) for each in other.weights] == [id(each) for each in network.weights]
    side = max(size)
    square, built = models.resized(network, (side, side)), models.build(name, num_classes=3, resolution=side, **options)
    built.set_weights(network.get_weights())
    x = np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype(np.float32)
    np.testing.assert_allclose(square(x), built(x), atol=1e-5)
    assert shapes(square) == shapes(built)
    maps = keras.Model(square.inputs, square.pyramid)(x), keras.Model(built.inputs, built.pyramid)(x)
    for level in built.levels:
        np.testing.assert_allclose(maps[0][level], maps[1][level], atol=1e-4)
    y = x[:, : size[0], : size[1]]
    assert np.isfinite(other(y)).all()
    assert np.isfinite(network(np.resize(x, (2, 64, 64, 3)))).all()  # which still takes images of its own size


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", ["yolo", "efficientdet", "faster_rcnn", thorough("anchor_yolo"), thorough("fast_rcnn")]
)
def test_a_resized_detector_predicts_at_the_positions_of_its_size(task: str) -> None:
    x = np.random.default_rng(0).uniform(0, 255, (1, 96, 96, 3)).astype(np.float32)
    described, network = detector(task, x[:, :64, :64])
    other = models.resized(network, (96, 96))
    assert [id(each) for each in other.weights] == [id(each) for each in network.weights]
    expected = models.build_detector(
        dataclasses.replace(
            network.description, backbone=dataclasses.replace(network.description.backbone, resolution=96)
        ),
        num_classes=3,
    )
    expected.set_weights(network.get_weights())
    batch = {"image": tf.constant(x)}
    if described.proposals is not None:
        boxes = tf.constant([[[10.0, 10.0, 60.0, 80.0], [5.0, 20.0, 40.0, 90.0]]])
        number = described.proposals.max_proposals - 2
        batch |= {PROPOSED: tf.pad(boxes, [[0, 0], [0, number], [0, 0]])}
        batch |= {PROPOSED_VALID: tf.range(number + 2)[tf.newaxis] < 2}
    found, wanted = (described.decode(described.forward(each, batch, training=False)) for each in (other, expected))
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-3)
    with pytest.raises(UserError, match="must be multiples of 32"):
        models.resized(network, (80, 80))


def test_a_dense_layer_on_all_positions_needs_its_size() -> None:
    network = backbone(32)
    x = keras.layers.Dense(3)(keras.layers.Flatten()(network.outputs[0]))
    whole = models.Network(network.inputs[0], x, name="flat")
    whole.levels = dict(network.levels)
    with pytest.raises(UserError, match="flat takes images of 32x32 pixels only"):
        models.resized(whole, (48, 48))


@pytest.mark.slow
def test_fusion_weights_of_pixels_belong_to_one_size(tmp_path: Path) -> None:
    small = {"neck_channels": 4, "neck_repeats": 1, "head_repeats": 1, "levels": ("P3", "P4"), "resolution": 64}
    options = {"num_classes": 2, "backbone": "resnet", "fusion_weights_per": "pixel", **small}
    network = models.build_detector("efficientdet-d0", **options)
    assert {tuple(each.shape) for each in network.weights if "_fusion/" in each.path} == {(2, 8, 8, 4), (2, 4, 4, 4)}
    with pytest.raises(UserError, match="takes images of 64x64 pixels only"):
        models.resized(network, (128, 128))
    network.save_weights(tmp_path / "trained.weights.h5")
    other = models.build_detector("efficientdet-d0", **options | {"resolution": 128})
    backbone = models.architecture("resnet", weights=str(tmp_path / "trained.weights.h5"), resolution=128)
    report = models.initialize(other, backbone, trained=models.Trained(network.description, 2), num_classes=2)
    assert isinstance(report, models.Inheritance)
    assert report.other == "fusion weights of the pixels of 128x128, instead of 64x64"
    for layer, equal in (("stage1_block1_conv1", True), ("neck_cell1_p3_out_conv_pointwise", False)):
        ours, theirs = (np.asarray(each.get_layer(layer).kernel) for each in (other, network))
        assert np.array_equal(ours, theirs) == equal
