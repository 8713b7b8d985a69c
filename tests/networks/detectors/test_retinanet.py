"""RetinaNet: torchvision's numbers, and small variants."""

import numpy as np
import pytest

from tfeff import models
from tfeff.errors import UserError
from tfeff.models.cost.complexity import count

SMALL = {
    "backbone": models.architecture("resnet", width=4, stage_blocks=(1, 1, 1, 1), stem="7x7", resolution=96),
    "neck_channels": 8,
    "head_repeats": 1,
}


def test_parameters_are_those_of_torchvision() -> None:
    """Whose count for 91 classes leaves out batch normalization, which is frozen: 53,120 scales and offsets."""
    cost = models.estimate(models.detector("retinanet"), num_classes=91)
    assert cost.trainable_params - 53_120 == 34_014_999


def test_anchors_are_those_of_torchvision() -> None:
    """Their sides are whole numbers, and cells of images that the stride does not divide are, too."""
    described = models.detector("retinanet", resolution=320, aspect=1.25)
    assert described.size == (256, 320)
    anchors = described.anchors.boxes(described.size).reshape(-1, 9, 4)
    sides = (anchors[..., 2:] - anchors[..., :2]).astype(int)
    assert sides[0, :, 0].tolist() == [22, 32, 46, 28, 40, 56, 36, 50, 70]  # sizes 32, 40 and 50
    assert sides[-1, [1, 4, 7], 0].tolist() == [512, 644, 812]  # 512, 645 and 812, to even numbers
    last = (anchors[-6:, 0, :2] + anchors[-6:, 0, 2:]) / 2  # three cells of 320 // 3 pixels in a row
    assert last.tolist() == [[y, x] for y in (0, 128) for x in (0, 106, 212)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_norm": True, "neck": "bifpn", "separable": True, "levels": ("P4", "P5", "P6", "P7")},
        {"convolved_levels": 0, "levels": ("P4", "P5", "P6", "P7")},
        {"convolved_levels": 0, "levels": ("P4",)},
    ],
    ids=str,
)
def test_variants_have_their_cost_and_shapes(options: dict) -> None:
    described = models.detector("retinanet", **SMALL | options)
    network = models.build_detector(described, num_classes=3)
    assert models.estimate(described, num_classes=3) == count(network)
    outputs = network(np.zeros((2, *described.size, 3), np.float32))
    anchors = described.anchors.boxes(described.size)
    assert {name: tuple(each.shape) for name, each in outputs.items()} == {
        "logits": (2, len(anchors), 3),
        "codes": (2, len(anchors), 4),
    }
    assert list(network.pyramid) == list(described.levels)


def test_convolved_levels_leave_some_to_the_neck() -> None:
    with pytest.raises(UserError, match="convolved_levels 2: must be 0, or leave two of the 3 levels to the neck"):
        models.detector("retinanet", levels=("P3", "P4", "P5"))
    described = models.detector("retinanet", **SMALL, levels=("P3", "P4", "P5", "P6"))
    with pytest.raises(UserError, match="convolved_levels 2: the backbone has P5; set it to 1"):
        models.build_detector(described, num_classes=3)
