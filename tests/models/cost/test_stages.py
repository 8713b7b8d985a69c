"""Stages of networks are those of their papers, and cost what the networks cost."""

import pytest

from tfeff import models
from tfeff.models.cost.stages import stages

NAMES = ("resnet50", "efficientnet-b0", "efficientnet-v2-s", "mobilenet-v2", "mobilenet-v3-small", "regnet-y-400mf")


@pytest.mark.parametrize("name", [*NAMES, "convnext-tiny"])
def test_costs_add_up(name):
    described = models.architecture(name, resolution=64)
    found, whole = stages(described, num_classes=10), models.estimate(described, num_classes=10)
    assert sum(each.macs for each in found) == whole.macs
    assert sum(each.params for each in found) == whole.params


def test_efficientnet_b0_is_that_of_the_paper():
    """arXiv:1905.11946, table 1."""
    stem, *found, head = stages(models.architecture("efficientnet-b0"), num_classes=1000)
    assert (stem.size, stem.channels) == ((112, 112), 32)
    assert [each.channels for each in found] == [16, 24, 40, 80, 112, 192, 320]
    assert [each.blocks for each in found] == [1, 2, 2, 3, 3, 4, 1]
    assert [each.size[0] for each in found] == [112, 56, 28, 14, 14, 7, 7]
    kernels = [next(name for name in each.operators if name.startswith("depthwise"))[-3:] for each in found]
    assert kernels == ["3x3", "3x3", "5x5", "3x3", "5x5", "5x5", "3x3"]
    assert (head.operators, head.size) == (["conv 1x1", "dense"], ())


def test_resnet50_is_that_of_the_paper():
    """arXiv:1512.03385, table 1."""
    found = stages(models.architecture("resnet50"), num_classes=1000)
    assert [each.operators for each in found[1:5]] == [["conv 1x1", "conv 3x3", "conv 1x1"]] * 4
    assert [(each.size[0], each.channels, each.blocks) for each in found[1:5]] == [
        (56, 256, 3),
        (28, 512, 4),
        (14, 1024, 6),
        (7, 2048, 3),
    ]
