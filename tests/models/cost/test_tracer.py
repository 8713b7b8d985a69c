"""Estimated cost, compared with built networks and published implementations."""

import dataclasses
import math
import random
from typing import Any

import keras
import pytest

from tests.thoroughness import THOROUGH, thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.models import given
from tfeff.models.cost.complexity import count
from tfeff.networks.detectors.rcnn import RCNN

SPECS = THOROUGH or 2
"""Number of random networks per architecture. Building them takes most of the time."""


def random_options(name: str, rng: random.Random) -> dict[str, Any]:
    """Returns random options from the range that a search can try."""
    options: dict[str, Any] = {
        "width_coefficient": rng.uniform(0.2, 3.0),
        "depth_coefficient": rng.uniform(0.2, 2.0 if THOROUGH else 0.7),
        "resolution": rng.randint(8, 2 * models.architecture(name).resolution),
        "dropout": rng.choice((0.0, 0.2)),
    }
    if name == "resnet":
        options |= {
            "block": rng.choice(("basic", "bottleneck")),
            "stem": rng.choice(("3x3", "7x7", "3x3_3x3")),
            "batch_norm": rng.random() < 0.5,
            "conv_bias": rng.random() < 0.5,
            "width": rng.randint(1, 24),
            "stage_blocks": tuple(rng.randint(1, 4) for _ in range(4)),
        }
    elif name == "resnet50":  # has the most layers
        options |= {"depth_coefficient": min(1.2, options["depth_coefficient"]), "batch_norm": rng.random() < 0.5}
    elif name.startswith("convnext"):
        options |= {"survival_probability": rng.choice((0.8, 1.0)), "width": rng.randint(1, 96)}
    elif name.startswith("mobilenet-v3"):
        options |= {"minimalistic": rng.random() < 0.3}
    elif name.startswith("regnet"):
        options |= {"squeeze_ratio": rng.choice((0.0, 0.25)), "group_width": rng.choice((4, 8))}
    elif name.startswith("efficientnet"):
        options |= {"survival_probability": rng.choice((0.8, 1.0)), "squeeze_ratio": rng.choice((0.0, 0.1, 0.25))}
    return options


@pytest.mark.slow
@pytest.mark.timeout(0 if SPECS > 100 else 600)
@pytest.mark.parametrize(
    "name",
    [
        *("resnet", "efficientnet-b0", "convnext-tiny", "mobilenet-v3-large", "regnet-y-400mf", "efficientnet-v2-b0"),
        *map(thorough, ("mobilenet-v1", "mobilenet-v2", "mobilenet-v3-small", "efficientnet-lite0", "resnet50")),
    ],
)
def test_estimate_equals_the_count_of_the_built_network(name: str) -> None:
    rng = random.Random(name)
    for _ in range(SPECS):
        options, classes, channels = random_options(name, rng), rng.randint(1, 1000), rng.choice((1, 3))
        estimated = models.estimate(models.architecture(name, **options), num_classes=classes, channels=channels)
        network = models.build(name, num_classes=classes, channels=channels, **options)
        assert estimated == count(network), options
        keras.backend.clear_session()


def test_heads_for_training_cost_nothing_in_predictions() -> None:
    plain, whole = (models.detector("yolo", resolution=96, end_to_end=value) for value in (False, True))
    cost, before = (models.estimate(each, num_classes=3) for each in (whole, plain))
    network = models.build_detector(whole, num_classes=3)
    assert cost == count(network)
    assert cost.training_peak_bytes > before.training_peak_bytes
    assert cost.activation_bytes > before.activation_bytes
    heads = sum(math.prod(each.shape) for each in network.trainable_weights if each.path.startswith("one_to_many_"))
    assert cost.trainable_params == before.trainable_params + heads
    training = ("trainable_params", "activation_bytes", "training_peak_bytes")
    assert dataclasses.replace(cost, **{name: getattr(before, name) for name in training}) == before


@pytest.mark.parametrize("name", [*models.names("efficientnet"), *models.names("efficientnet-lite")])
def test_estimate_equals_the_published_implementation(name: str, golden_counts: dict[str, Any]) -> None:
    published = golden_counts["classification"][name]
    estimated = models.estimate(models.architecture(name))
    assert estimated.params == published["all_params"]
    assert estimated.trainable_params == published["trainable_params"]
    assert estimated.macs == published["macs"]


def test_survival_probabilities_that_round_to_one() -> None:
    options = {"width_coefficient": 0.1, "resolution": 16, "survival_probability": math.nextafter(1.0, 0.0)}
    estimated = models.estimate(models.architecture("efficientnet-b0", **options))
    assert estimated == count(models.build("efficientnet-b0", **options))


def test_precision_policy_does_not_change_the_estimate() -> None:
    described = models.architecture("mobilenet-v2")
    expected = models.estimate(described)
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert models.estimate(described) == expected


@pytest.mark.parametrize("name", ["own", "rcnn"])
def test_built_networks_are_counted_in_float32_and_without_initial_weights(name: str) -> None:
    if name == "own":
        images = keras.Input((32, 32, 3))
        backbone = keras.Model(images, keras.layers.Conv2D(4, 3, strides=2, padding="same")(images))
        described = dataclasses.replace(given.offer(backbone), resolution=32)
    else:
        described = RCNN(backbone=models.architecture("resnet", width=4, resolution=32), hidden=(8,))
    expected = models.estimate(described, num_classes=3)
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert models.estimate(described, num_classes=3) == expected
    weights = "nowhere.npz"
    if name == "own":
        described = dataclasses.replace(described, weights=weights)
    else:
        described = dataclasses.replace(described, backbone=dataclasses.replace(described.backbone, weights=weights))
    assert models.estimate(described, num_classes=3) == expected


@pytest.mark.parametrize(
    ("options", "arguments"),
    [({}, {"channels": 4}), ({}, {"num_classes": 0}), ({"mean": (1, 2)}, {}), ({"std": (1, 0, 1)}, {})],
)
def test_errors_equal_those_of_building(options: dict, arguments: dict) -> None:
    with pytest.raises(UserError) as building:
        models.build("resnet", **options, **arguments)
    with pytest.raises(UserError) as estimating:
        models.estimate(models.architecture("resnet", **options), **arguments)
    assert str(estimating.value) == str(building.value)
