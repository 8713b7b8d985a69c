"""Blocks and widths of architectures, compared with published tables and built networks."""

import math
import re

import pytest

from tfeff import models
from tfeff.errors import UserError


def test_published_tables() -> None:
    b3 = models.architecture("efficientnet-b3")
    assert b3.blocks == (2, 3, 3, 5, 5, 6, 2)
    assert b3.widths == (24, 32, 48, 96, 136, 232, 384)
    lite4 = models.architecture("efficientnet-lite4")
    assert lite4.blocks == (1, 4, 4, 6, 6, 8, 1)  # the first and last stages are not scaled
    assert models.architecture("resnet101").blocks == (3, 4, 23, 3)
    assert models.architecture("mobilenet-v1", width_coefficient=0.5).widths == (32, 64, 128, 256, 512)
    assert models.architecture("mobilenet-v2").widths == (16, 24, 32, 64, 96, 160, 320)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("resnet", "mobilenet-v1", "mobilenet-v2", "efficientnet-b0", "efficientnet-lite0", "convnext-tiny"),
        *("efficientnet-v2-b0", "mobilenet-v3-large", "regnet-y-400mf"),
    ],
)
def test_built_network_has_the_described_blocks_and_widths(name: str) -> None:
    options = {"width_coefficient": 0.3, "depth_coefficient": 1.3, "resolution": 16}
    described, network = models.architecture(name, **options), models.build(name, **options)
    last_of_block = {  # the last layer of a block overwrites the others
        tuple(map(int, block.groups())): layer.output.shape[-1]
        for layer in network.layers
        if (block := re.match(r"stage(\d+)_block(\d+)_", layer.name))
    }
    stages = range(1, 1 + max(stage for stage, _ in last_of_block))
    assert described.blocks == tuple(sum(number == stage for number, _ in last_of_block) for stage in stages)
    assert described.widths == tuple(last_of_block[stage, 1] for stage in stages)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("width_coefficient", math.inf), ("depth_coefficient", math.inf), ("bn_epsilon", math.inf)),
        *(("mean", (math.nan,)), ("std", (math.inf,)), ("std", (1.0, math.nan, 1.0))),
    ],
)
def test_values_that_are_not_finite_are_refused(option: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^resnet: {option} .*must be .*finite"):
        models.architecture("resnet", **{option: value})
