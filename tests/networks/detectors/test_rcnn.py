import keras
import numpy as np
import pytest

from tfeff import models
from tfeff.errors import UserError
from tfeff.models.cost import complexity


def test_parameters_are_those_of_torchvision_without_the_proposal_network() -> None:
    """torchvision 0.29, fasterrcnn_resnet50_fpn with 91 classes: 41,755,286 parameters."""
    proposal_network = (9 * 256 * 256 + 256) + (256 * 3 + 3) + (256 * 12 + 12)
    frozen = 53_120  # scales and shifts of batch normalization, which torchvision counts as buffers
    background_codes = 4 * (1024 + 1)  # torchvision predicts a box of the background, too
    cost = models.estimate(models.detector("fast-rcnn-fpn"), num_classes=90)
    assert cost.trainable_params == 41_755_286 - proposal_network + frozen - background_codes


@pytest.mark.parametrize("name", models.detector_names("rcnn"))
def test_cost_is_counted_for_a_number_of_regions(name: str) -> None:
    options = {"backbone": "resnet", "width": 4, "stage_blocks": (1, 1, 1), "resolution": 64, "hidden": (16, 8)}
    options |= {"levels": ("P2",)} if name == "fast-rcnn" else {"levels": ("P2", "P3"), "neck_channels": 8}
    few, many = (models.detector(name, **options, regions=count) for count in (10, 30))
    network = models.build_detector(few, num_classes=3)
    channels = network.pyramid[few.levels[0]].shape[-1]
    assert complexity.count(network, regions=network.regions).macs == models.estimate(few, num_classes=3).macs
    difference = models.estimate(many, num_classes=3).macs - models.estimate(few, num_classes=3).macs
    assert difference == 20 * (49 * channels * 16 + 16 * 8 + 8 * (4 + 12))


def test_the_neck_depth_scales_the_convolutions_of_the_proposal_network() -> None:
    options = {"backbone": "resnet", "width": 4, "stage_blocks": (1, 1, 1), "resolution": 64, "neck_channels": 8}
    network = models.build_detector(
        "faster-rcnn", **options, levels=("P2", "P3"), hidden=(8,), neck_depth_coefficient=3.0, num_classes=2
    )
    assert [name for layer in network.layers if (name := layer.name).startswith("rpn_conv")] == [
        f"rpn_conv{number}" for number in (1, 2, 3)
    ]


def test_outputs_are_those_of_the_regions() -> None:
    network = models.build_detector(
        "fast-rcnn", backbone="resnet", width=4, levels=("P3",), hidden=(8,), resolution=64, aspect=1.0, num_classes=5
    )
    boxes = np.array([[[0, 0, 64, 64], [10, 10, 40, 30], [0, 0, 64, 64]]], np.float32)
    outputs = network([np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)), boxes])
    assert {name: value.shape for name, value in outputs.items()} == {"logits": (1, 3, 6), "codes": (1, 3, 20)}
    logits = keras.ops.convert_to_numpy(outputs["logits"])
    np.testing.assert_array_equal(logits[0, 0], logits[0, 2])
    assert (logits[0, 0] != logits[0, 1]).any()


def test_max_pooling_of_several_levels_is_an_error() -> None:
    with pytest.raises(UserError, match="fast-rcnn: pooling max: reads a single level; given P3, P4"):
        models.detector("fast-rcnn", levels=("P3", "P4"))
