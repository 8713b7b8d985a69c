"""EfficientDet: the published table, and small variants on every backbone with every neck."""

from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff import models
from tfeff.boxes import decode
from tfeff.models.cost.complexity import count

SMALL = {"width_coefficient": 0.25, "depth_coefficient": 0.1}
TINY: dict[str, Any] = {"neck_channels": 8, "neck_repeats": 1, "head_repeats": 1}
# Every neck, fusion and family of backbones once.
VARIANTS = [
    (
        "fpn",
        "sum",
        "resnet",
        {"width": 4, "stage_blocks": (1, 1, 1, 1), "levels": ("P2", "P3"), "resolution": 37},
    ),
    (
        "panet",
        "softmax",
        "mobilenet-v1",
        {"width_coefficient": 0.25, "resolution": 40, "fusion_weights_per": "channel"},
    ),
    ("simplified_panet", "unbounded", "resnet50", {"width": 4, "depth_coefficient": 0.3, "resolution": 33}),
    ("fully_connected", "fast", "mobilenet-v2", {"width_coefficient": 0.35, "resolution": 48, "separable": False}),
    ("bifpn", "fast", "efficientnet-b0", SMALL | {"survival_probability": 1.0, "resolution": 65, "neck_repeats": 2}),
    ("nas_fpn", "fast", "efficientnet-lite0", SMALL | {"resolution": 64}),
    (
        "classic_fpn",
        "sum",
        "convnext-tiny",
        {"width_coefficient": 0.1, "depth_coefficient": 0.3, "levels": ("P2", "P3", "P4", "P5"), "resolution": 65},
    ),
]


def build(neck: str) -> models.Network:
    """Returns the variant with that neck."""
    ((_, fusion, backbone, options),) = (variant for variant in VARIANTS if variant[0] == neck)
    return models.build_detector(
        "efficientdet-d0", backbone=backbone, neck=neck, fusion=fusion, num_classes=3, **TINY | options
    )


built = cache(build)
"""Networks that tests share."""


@pytest.fixture
def bifpn() -> models.Network:
    return built("bifpn")


def images(network: models.Network) -> np.ndarray:
    side = network.resolution
    return np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype("float32")


def test_the_table_and_its_cost_equal_the_reference(golden_counts: dict[str, Any]) -> None:
    published = golden_counts["detection"]
    families = "efficientdet", "efficientdet-lite"
    assert {name for family in families for name in models.detector_names(family)} == set(published)
    for name, facts in published.items():
        described = models.detector(name)
        backbone = models.architecture(facts["backbone"], resolution=facts["image_size"])
        for field in ("width_coefficient", "depth_coefficient", "resolution", "mean", "std"):
            assert getattr(described.backbone, field) == getattr(backbone, field), name
        assert described.resolution == facts["image_size"]
        assert described.levels == tuple(f"P{n}" for n in range(facts["min_level"], facts["max_level"] + 1))
        assert described.neck_channels == facts["fpn_channels"]
        assert (described.neck_repeats, described.head_repeats) == (facts["fpn_repeats"], facts["head_repeats"])
        assert described.anchor_size == facts["anchor_scale"]
        assert described.fusion == {"fastnorm": "fast"}.get(facts["fusion"], facts["fusion"])
        cost = models.estimate(described, num_classes=facts["num_classes"])
        assert cost.trainable_params == facts["trainable_params"], name
        for ours, theirs in ((cost.params, facts["all_params"]), (cost.macs, facts["macs"])):
            assert theirs is None or ours == theirs, name


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant[0])
def test_every_neck_on_every_family(variant: tuple[str, str, str, dict[str, Any]]) -> None:
    neck, fusion, backbone, options = variant
    described = models.detector("efficientdet-d0", backbone=backbone, neck=neck, fusion=fusion, **TINY | options)
    network = built(neck)
    assert models.estimate(described, num_classes=3) == count(network)
    side = network.resolution
    anchors = described.anchors.boxes((side, side))
    outputs = network(images(network))
    assert outputs["logits"].shape == (2, len(anchors), 3)
    assert outputs["codes"].shape == (2, len(anchors), 4)
    assert all(np.isfinite(output).all() for output in outputs.values())
    assert list(network.levels) == list(described.levels)
    for level, feature_map in network.pyramid.items():
        assert feature_map.shape[1:] == (-(-side // 2 ** int(level[1:])),) * 2 + (8,)


def test_every_weight_has_a_gradient(bifpn: models.Network) -> None:
    with tf.GradientTape() as tape:
        outputs = bifpn(images(bifpn), training=True)
        loss = sum(tf.reduce_sum(tf.sin(output) ** 2) for output in outputs.values())
    weights = bifpn.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        assert gradient is not None, weight.path
        # Batch normalization cancels the biases before it.
        if not (weight.path.endswith("/bias") and "predict" not in weight.path):
            assert np.any(np.asarray(gradient) != 0), weight.path


def test_initial_probabilities_and_boxes() -> None:
    """Every class has a probability of about 0.01, and boxes are close to their anchors."""
    network = built("fully_connected")  # plain convolutions
    outputs = network(images(network))
    np.testing.assert_allclose(keras.ops.sigmoid(outputs["logits"]), 0.01, atol=0.01)
    anchors = models.detector("efficientdet-d0").anchors.boxes((network.resolution,) * 2)
    boxes = decode(np.asarray(outputs["codes"]), anchors)
    assert np.abs(boxes - anchors).max() < 0.5 * (anchors[:, 2:] - anchors[:, :2]).max()


def test_levels_share_convolutions_and_have_their_own_batch_normalization(bifpn: models.Network) -> None:
    names = {weight.path for weight in bifpn.weights if weight.path.startswith("box_head")}
    assert names == {
        "box_head_conv1_depthwise/kernel",
        *(
            f"box_head_{layer}_pointwise/{variable}"
            for layer in ("conv1", "predict")
            for variable in ("kernel", "bias")
        ),
        "box_head_predict_depthwise/kernel",
        *(
            f"box_head_conv1_p{n}_bn/{variable}"
            for n in range(3, 8)
            for variable in ("gamma", "beta", "moving_mean", "moving_variance")
        ),
    }


@pytest.mark.slow
def test_saved_and_loaded(tmp_path: Path, bifpn: models.Network) -> None:
    bifpn.save(tmp_path / "detector.keras")
    loaded = keras.saving.load_model(tmp_path / "detector.keras")
    assert loaded.levels == bifpn.levels
    outputs = loaded(images(bifpn))
    for name, output in bifpn(images(bifpn)).items():
        np.testing.assert_allclose(outputs[name], output, rtol=1e-5, atol=1e-5)


def test_outputs_are_float32_under_half_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = build("bifpn")
    assert {output.dtype for output in network.outputs} == {"float32"}
    assert network.pyramid["P3"].dtype == "bfloat16"
