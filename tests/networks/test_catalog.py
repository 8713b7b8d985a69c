"""Detectors by name: options of the detector and of its backbone."""

import math
from typing import Any

import keras
import numpy as np
import pytest

from tfeff import models
from tfeff.errors import UserError
from tfeff.models.layers.kinds import KerasLayers
from tfeff.networks.backbones.architecture import ACTIVATIONS, known_activation
from tfeff.networks.catalog import published, unchanged

SMALL = {"width_coefficient": 0.2, "depth_coefficient": 0.1}


def test_options_belong_to_the_detector_or_else_to_its_backbone() -> None:
    described = models.detector(
        "efficientdet-d1", resolution=96, width_coefficient=0.5, depth_coefficient=None, neck_repeats=2
    )
    assert (described.resolution, described.backbone.resolution) == (96, 96)
    assert (described.backbone.width_coefficient, described.backbone.depth_coefficient) == (0.5, 1.1)
    assert (described.neck_channels, described.neck_repeats) == (88, 2)
    resnet = models.detector("efficientdet-d1", backbone="resnet", stage_blocks=[1, 2, 3, 4], levels=["P4", "P3"])
    assert resnet.backbone.blocks == (1, 2, 3, 4)
    assert resnet.levels == ("P3", "P4")


def test_a_depth_that_rounding_removes_is_said() -> None:
    described = models.architecture("efficientnet-lite0", depth_coefficient=0.8)
    assert unchanged(described) == (
        "efficientnet-lite0: depth_coefficient=0.8 has the same blocks as 1, because of rounding"
    )
    assert unchanged(models.architecture("efficientnet-lite0", depth_coefficient=0.6)) is None
    assert unchanged(models.architecture("efficientnet-b1")) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("resnet50-v1.5", {"weights": "resnet50", "width_coefficient": 0.5}, "conv_bias False instead of True"),
        ("efficientnet-lite0", {"weights": "efficientnet-b0"}, "activation relu6 instead of silu"),
        ("efficientnet-b0", {"weights": "imagenet", "squeeze_ratio": 0.0}, r"squeeze_ratio 0\.0 instead of 0\.25"),
        ("mobilenet-v3-small", {"weights": "mobilenet-v3-large"}, "table small instead of large"),
        ("regnet-x-400mf", {"weights": "regnet-y-400mf"}, r"squeeze_ratio 0\.0 instead of 0\.25"),
    ],
)
def test_published_weights_of_other_layers_are_refused(name: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError, match=rf'weights "{options["weights"]}": .* has other layers than {name} \({field}'):
        models.build(name, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("efficientnet-lite0", {"weights": "efficientnet-lite2", "fixed_ends": False, "survival_probability": 1.0}),
        ("efficientnet-b0", {"weights": "efficientnet-b3", "resolution": 64, "dropout": 0.5, "bn_momentum": 0.9}),
        ("efficientnet-v2-b0", {"weights": "efficientnet-v2-s", "width_coefficient": 0.5}),
        ("resnet50", {"weights": "resnet101", "width": 16, "stage_blocks": (1, 1, 1, 1), "zero_gamma": True}),
        ("regnet-y-400mf", {"weights": "regnet-y-800mf", "group_width": 16, "stage_widths": (32, 64, 96, 128)}),
        ("convnext-tiny", {"weights": "convnext-base", "layer_scale": 1.0, "mean": (127.0,)}),
    ],
)
def test_published_weights_of_other_sizes_are_inherited(name: str, options: dict[str, Any]) -> None:
    assert published(models.architecture(name, **options)) == models.architecture(options["weights"])


@pytest.mark.parametrize(
    ("aspect", "size"), [(1.0, (96, 96)), (4 / 3, (72, 96)), (0.5, (96, 48)), (1.9, (51, 96)), (8.0, (12, 96))]
)
def test_the_resolution_is_the_longer_side(aspect: float, size: tuple[int, int]) -> None:
    described = models.detector(
        "efficientdet-lite0", resolution=96, aspect=aspect, **SMALL, neck_repeats=1, head_repeats=1
    )
    assert described.size == size
    network = models.build_detector(described, num_classes=2)
    assert (network.size, network.resolution) == (size, 96)
    assert network.inputs[0].shape[1:] == (*size, 3)
    for level, features in network.pyramid.items():
        assert features.shape[1:3] == tuple(-(-side // 2 ** int(level[1])) for side in size)
    assert network.output["codes"].shape[1] == len(described.anchors.boxes(size))


def test_yolo_with_anchors_predicts_objectness_and_classes_for_each_anchor() -> None:
    network = models.build_detector(
        "anchor-yolo", num_classes=5, resolution=64, backbone="resnet", width=4, stage_blocks=(1, 1, 1, 1)
    )
    count = 3 * (8 * 8 + 4 * 4 + 2 * 2)
    assert network.output["logits"].shape == (None, count, 1 + 5)
    assert network.output["codes"].shape == (None, count, 4)


def test_the_anchors_of_yolo_are_distributed_over_the_levels() -> None:
    sides = [side / 20 for side in range(1, 13)]
    described = models.detector("anchor-yolo", levels=("P3", "P4"), anchors=sides)
    assert described.anchors == tuple(sides)
    assert described.per_position == 3
    np.testing.assert_array_equal(described.shapes, np.reshape(sides, (2, 3, 2)))


@pytest.mark.parametrize("levels", [("P4",), ("P3", "P4"), ("P2", "P3", "P4", "P5")])
def test_any_levels_have_placeholders_until_anchors_are_found(levels: tuple[str, ...]) -> None:
    described = models.detector("anchor-yolo", levels=levels)
    assert described.anchors == ()
    assert described.shapes.shape == (len(levels), 3, 2)
    assert (np.diff(described.shapes.reshape(-1)[::2]) > 0).all()


@pytest.mark.parametrize(
    ("depth", "width", "sizes"),
    [(1, 1, (64, 3, 3)), (2, 1.4, (88, 6, 6)), (0.5, 0.5, (32, 2, 2)), (0.1, 0.1, (8, 1, 1))],
)
def test_the_neck_and_the_heads_are_scaled(depth: float, width: float, sizes: tuple[int, int, int]) -> None:
    options = {"neck_depth_coefficient": depth, "neck_width_coefficient": width}
    assert models.detector("efficientdet-d0", **options).neck_sizes == sizes
    assert models.detector("efficientdet-d0", **options, head_repeats=0).neck_sizes == (*sizes[:2], 0)


def test_a_detector_offers_its_stages() -> None:
    """The neck's maps feed other heads."""
    described = models.detector(
        "efficientdet-lite0", resolution=32, **SMALL, neck_channels=8, neck_repeats=1, head_repeats=1
    )
    network = models.build_detector(described, num_classes=2)
    outputs = described.predictions(KerasLayers(), network.pyramid, num_classes=5)
    other = models.Network(network.inputs[0], outputs)
    assert other.output["logits"].shape[1:] == (network.output["logits"].shape[1], 5)
    assert other.get_layer("stem_conv") is network.get_layer("stem_conv")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("efficientdet-d9", {}, 'no detector "efficientdet-d9"; did you mean "efficientdet-d'),
        ("efficientdet-d0", {"backbone": "resnet5"}, 'no network "resnet5"'),
        ("efficientdet-d0", {"width": 4}, 'no option "width"'),
        ("efficientdet-d0", {"aspect": 9.0}, "efficientdet-d0: aspect 9.0: must be from 1/8 to 8"),
        ("efficientdet-d0", {"neck": "fpm"}, 'efficientdet-d0: no neck "fpm"'),
        ("efficientdet-d0", {"resolution": 4}, "efficientdet-d0: resolution 4"),
        ("efficientdet-d0", {"width_coefficient": 0}, "efficientdet-d0: width_coefficient 0"),
        ("efficientdet-d0", {"head_repeats": -1}, "efficientdet-d0: head_repeats -1"),
        ("efficientdet-d0", {"neck_channels": 0}, "neck_channels 0: must be an integer, at least 1"),
        ("efficientdet-d0", {"neck_repeats": 0}, "neck_repeats 0: must be an integer, at least 1"),
        ("efficientdet-d0", {"neck_width_coefficient": 0.0}, r"neck_width_coefficient 0\.0: must be above 0"),
        ("efficientdet-d0", {"neck_depth_coefficient": -1.0}, r"neck_depth_coefficient -1\.0: must be above 0"),
        (
            "efficientdet-d0",
            {"neck_depth_coefficient": math.inf},
            "neck_depth_coefficient inf: must be above 0 and finite",
        ),
        ("efficientdet-d0", {"depth_coefficient": math.inf}, "depth_coefficient inf: must be above 0 and finite"),
        ("efficientdet-d0", {"bn_momentum": 1.5}, r"bn_momentum 1\.5: must be in \(0, 1\)"),
        ("efficientdet-d0", {"bn_epsilon": -1.0}, r"bn_epsilon -1\.0: must be above 0"),
        ("efficientdet-d0", {"activation": "swosh"}, 'activation .swosh.: did you mean "swish"'),
        ("efficientdet-d0", {"anchor_size": 0}, "efficientdet-d0: anchor_size 0"),
        ("efficientdet-d0", {"anchor_scales": ()}, r"anchor_scales \(\): every value must be above 0"),
        ("efficientdet-d0", {"anchor_scales": (1.0, math.nan)}, r"anchor_scales \(1\.0, nan\): every value"),
        ("faster-rcnn", {"anchor_aspects": (1.0, -1.0)}, r"anchor_aspects \(1\.0, -1\.0\): every value"),
        ("anchor-yolo", {"anchors": (0.1, 0.2, 0.3, 0.0, 0.5, 0.6)}, "must be heights and widths above 0"),
        ("anchor-yolo", {"anchors": (0.1, 0.2, 0.3, math.inf, 0.5, 0.6)}, "must be heights and widths above 0"),
        ("anchor-yolo", {"anchors": (0.1, 0.2)}, "as many pairs for each of the 3 levels"),
    ],
)
def test_wrong_names_and_options_are_errors(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.detector(name, **options)


def test_each_known_activation_is_one_of_keras_and_acts_on_single_values() -> None:
    values = np.linspace(-3, 3, 12, dtype=np.float32).reshape(2, 6)
    for name in ACTIVATIONS:
        function = keras.activations.get(name)
        np.testing.assert_allclose(np.asarray(function(values)).T, function(values.T), rtol=1e-6, err_msg=name)
        assert known_activation(name) == function.__name__


def test_another_name_of_an_activation_describes_the_same_network() -> None:
    published = models.architecture("efficientnet-b0")
    alias = models.architecture("efficientnet-b0", activation="swish")
    assert alias == published
    detectors = [models.detector("efficientdet-d0", activation=name) for name in ("hard_swish", "hard_silu")]
    assert detectors[0] == detectors[1]


def test_an_activation_of_the_users_own_is_used() -> None:
    options = {"resolution": 32, **SMALL, "neck_channels": 8, "neck_repeats": 1, "head_repeats": 1}
    named, own = (
        models.build_detector("efficientdet-lite0", num_classes=2, activation=activation, **options)
        for activation in ("tanh", keras.ops.tanh)
    )
    own.set_weights(named.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(own(images)["logits"], named(images)["logits"])


@pytest.mark.parametrize("levels", [("P3",), ("P3", "P4")])
def test_a_backbone_without_levels_is_an_error(levels: tuple[str, ...]) -> None:
    backbone = models.architecture("resnet", stage_blocks=(1,), resolution=32)
    with pytest.raises(UserError, match=r"the backbone has no pyramid level, .*; give it more stages"):
        models.estimate(models.detector("yolo", backbone=backbone, levels=levels), num_classes=2)


def test_errors_of_estimating_equal_those_of_building() -> None:
    described = models.detector("efficientdet-d0", backbone="mobilenet-v2", levels=("P2", "P3"), resolution=32)
    for options in ({"num_classes": 0}, {"num_classes": 2, "channels": 2}):
        with pytest.raises(UserError) as building:
            models.build_detector(described, **options)
        with pytest.raises(UserError) as estimating:
            models.estimate(described, **options)
        assert str(estimating.value) == str(building.value)
    with pytest.raises(UserError, match="takes no options; given neck"):
        models.build_detector(described, num_classes=2, neck="fpn")


def test_unknown_families_are_errors() -> None:
    with pytest.raises(UserError, match='no family "efficientdat"; did you mean "efficientdet"'):
        models.detector_names("efficientdat")
    assert len(models.detector_names("efficientdet")) == 9
    assert models.detector_names("efficientdet-lite")[0] == "efficientdet-lite0"
