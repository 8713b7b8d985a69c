"""Structure and scaling of the ResNet."""

import keras
import numpy as np
import pytest

from tfeff import models
from tfeff.models.cost.complexity import count


def layers(network: keras.Model, kind: type) -> list[keras.Layer]:
    return [layer for layer in network.layers if isinstance(layer, kind)]


def stack_widths(network: models.Network) -> list[int]:
    return [network.get_layer(f"stage{stage}_block1_out").output.shape[-1] for stage in (1, 2, 3, 4)]


def test_baseline() -> None:
    network = models.build("resnet")
    assert network.resolution == 95
    assert stack_widths(network) == [12, 24, 48, 96]
    assert [network.get_layer(f"stage{stage}_block2_out").output.shape[1] for stage in (1, 2, 3, 4)] == [95, 48, 24, 12]
    # 16 convolutions in blocks, the stem, and a projection at the start of each later stack.
    assert len(layers(network, keras.layers.Conv2D)) == 16 + 1 + 3


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_three_stacks_are_the_networks_for_cifar10(depth: int, millions: float) -> None:
    """Table 6 of the paper, whose shortcuts have no parameters."""
    blocks = (depth - 2) // 6
    cost = models.estimate(
        models.architecture("resnet", width=16, stage_blocks=(blocks,) * 3, resolution=32), num_classes=10
    )
    shortcuts = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert round((cost.trainable_params - shortcuts) / 1e6, 1 if depth == 110 else 2) == millions


def test_width_scales_the_first_stack_and_doubles_in_the_others() -> None:
    assert stack_widths(models.build("resnet", resolution=16, width_coefficient=1.3)) == [16, 32, 64, 128]


def test_depth_scales_the_total_number_of_blocks() -> None:
    deep = models.build("resnet", resolution=16, depth_coefficient=1.2)  # 9.6 -> 10
    assert len(layers(deep, keras.layers.Add)) == 10


def test_doubling_the_width_quadruples_the_macs_of_inner_convolutions() -> None:
    one, two = (models.build("resnet", resolution=32, width=width, include_top=False) for width in (16, 32))
    stem = 32 * 32 * 9 * 3 * 16
    assert count(two).macs - 2 * stem == 4 * (count(one).macs - stem)


def test_without_batch_normalization_convolutions_have_biases() -> None:
    network = models.build("resnet", resolution=16, batch_norm=False)
    assert not layers(network, keras.layers.BatchNormalization)
    assert all(conv.use_bias for conv in layers(network, keras.layers.Conv2D))


@pytest.mark.parametrize("stem", ["7x7", "3x3_3x3"])
def test_larger_stems_divide_the_resolution_by_four(stem: str) -> None:
    network = models.build("resnet", resolution=63, stem=stem)
    assert {level: map_.shape[1] for level, map_ in network.pyramid.items()} == {
        "P1": 32,
        "P2": 16,
        "P3": 8,
        "P4": 4,
        "P5": 2,
    }


def test_synchronized_applies_to_every_batch_normalization() -> None:
    for name in ("resnet", "efficientnet-b0", "mobilenet-v1"):
        network = models.build(name, resolution=16, synchronized=True)
        assert all(layer.synchronized for layer in layers(network, keras.layers.BatchNormalization))


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_with_zero_gamma_every_block_starts_as_its_shortcut(block: str) -> None:
    keras.utils.set_random_seed(0)
    sizes = {"block": block, "width": 4, "stage_blocks": (3, 2), "resolution": 16, "num_classes": 3}
    network = models.build("resnet", zero_gamma=True, **sizes)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)

    def output(name: str) -> np.ndarray:
        return keras.ops.convert_to_numpy(keras.Model(network.input, network.get_layer(name).output)(images))

    for stage, blocks in ((1, 3), (2, 2)):
        for index in range(2, blocks + 1):
            name = f"stage{stage}_block{index}"
            np.testing.assert_array_equal(output(f"{name}_out"), output(f"stage{stage}_block{index - 1}_out"))
    usual = models.build("resnet", **sizes)
    assert [weight.path for weight in usual.weights] == [weight.path for weight in network.weights]
    changed = {
        weight.path
        for weight, other in zip(network.weights, usual.weights, strict=True)
        if weight.path.endswith("gamma") and not np.array_equal(weight, other)
    }
    last = "conv2" if block == "basic" else "conv3"
    assert changed == {f"stage{s}_block{b}_{last}_bn/gamma" for s, n in ((1, 3), (2, 2)) for b in range(1, n + 1)}
