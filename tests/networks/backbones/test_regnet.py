"""RegNet: published counts, the table and its parameters, scaling, and the outputs of torchvision's networks."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.weights import torchvision

# Of torchvision's metadata: parameters, billions of multiply-adds. Of its constructors (and of the paper's models,
# except for Y-128GF): depth, w_0, w_a, w_m and group width.
PUBLISHED = {
    "regnet-x-400mf": ((5_495_976, 0.4), (22, 24, 24.48, 2.54, 16)),
    "regnet-x-800mf": ((7_259_656, 0.8), (16, 56, 35.73, 2.28, 16)),
    "regnet-x-1.6gf": ((9_190_136, 1.6), (18, 80, 34.01, 2.25, 24)),
    "regnet-x-3.2gf": ((15_296_552, 3.2), (25, 88, 26.31, 2.25, 48)),
    "regnet-x-8gf": ((39_572_648, 8.0), (23, 80, 49.56, 2.88, 120)),
    "regnet-x-16gf": ((54_278_536, 15.9), (22, 216, 55.59, 2.1, 128)),
    "regnet-x-32gf": ((107_811_560, 31.7), (23, 320, 69.86, 2.0, 168)),
    "regnet-y-400mf": ((4_344_144, 0.4), (16, 48, 27.89, 2.09, 8)),
    "regnet-y-800mf": ((6_432_512, 0.8), (14, 56, 38.84, 2.4, 16)),
    "regnet-y-1.6gf": ((11_202_430, 1.6), (27, 48, 20.71, 2.65, 24)),
    "regnet-y-3.2gf": ((19_436_338, 3.2), (21, 80, 42.63, 2.66, 24)),
    "regnet-y-8gf": ((39_381_472, 8.5), (17, 192, 76.82, 2.19, 56)),
    "regnet-y-16gf": ((83_590_140, 15.9), (18, 200, 106.23, 2.48, 112)),
    "regnet-y-32gf": ((145_046_770, 32.3), (20, 232, 115.89, 2.53, 232)),
    "regnet-y-128gf": ((644_812_894, 127.5), (27, 456, 160.83, 2.52, 264)),
}


def test_all_members_are_published() -> None:
    assert models.names("regnet") == tuple(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name: str) -> None:
    cost = models.estimate(models.architecture(name))
    assert (cost.trainable_params, round(cost.macs / 1e9, 1)) == PUBLISHED[name][0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_follows_from_the_parameters_of_the_design_space(name: str) -> None:
    """Equations 2 to 4: widths grow linearly with the block, u_j = w_0 + w_a j; each is replaced by the nearest power
    of w_m times w_0, rounded to a multiple of 8, and then of the group width, but not down by more than 10 %."""
    depth, initial, slope, step, group = PUBLISHED[name][1]
    widths = list[int]()
    for block in range(depth):
        power = round(math.log((initial + slope * block) / initial) / math.log(step))
        widths.append(round(initial * step**power / 8) * 8)
    stages = sorted(set(widths))
    described = models.architecture(name)
    assert described.stage_blocks == tuple(widths.count(width) for width in stages)
    for width, ours, groups in zip(stages, described.widths, described.groups, strict=True):
        own = min(group, width)
        assert ours == own * groups
        assert abs(ours - width) <= own / 2 or ours - own < 0.9 * width < ours


def test_width_scales_the_groups_and_keeps_their_number() -> None:
    described = models.architecture("regnet-y-400mf", width_coefficient=1.5, depth_coefficient=0.5)
    assert described.groups == (6, 13, 26, 55)
    assert described.widths == (6 * 12, 13 * 12, 26 * 12, 55 * 12)
    assert described.blocks == (1, 1, 3, 3)
    network = models.build(described, num_classes=3)
    assert network.get_layer("stem_conv").filters == 48
    assert network.get_layer("stage3_block2_conv2").groups == 26
    assert models.architecture("regnet-x-8gf").groups == (1, 2, 6, 16)


def test_y_has_squeeze_and_excitation_to_a_quarter_of_the_inputs_of_a_block() -> None:
    network = models.build("regnet-y-400mf", resolution=32, depth_coefficient=0.5)
    assert network.get_layer("stage2_block1_squeeze_excite_reduce").filters == 48 // 4
    assert network.get_layer("stage3_block2_squeeze_excite_reduce").filters == 208 // 4
    names = [layer.name for layer in models.build("regnet-x-400mf", resolution=32, depth_coefficient=0.3).layers]
    assert not any("squeeze" in name for name in names)


def random_state(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns a state dict of torchvision's names and shapes, written down from the modules that it consists of."""
    described = models.architecture("regnet-y-400mf")
    state = dict[str, np.ndarray]()

    def convolution(name: str, outputs: int, inputs: int, side: int) -> None:
        state[f"{name}.weight"] = rng.normal(0, (2 / inputs / side**2) ** 0.5, (outputs, inputs, side, side))

    def unit(name: str, outputs: int, inputs: int, side: int) -> None:
        convolution(f"{name}.0", outputs, inputs, side)
        state[f"{name}.1.weight"], state[f"{name}.1.bias"] = rng.uniform(0.5, 0.9, outputs), rng.normal(size=outputs)
        state[f"{name}.1.running_mean"] = rng.normal(size=outputs)
        state[f"{name}.1.running_var"] = rng.uniform(0.5, 2, outputs)
        state[f"{name}.1.num_batches_tracked"] = np.array(7)

    unit("stem", 32, 3, 3)
    inputs = 32
    for stage, (blocks, width) in enumerate(zip(described.stage_blocks, described.stage_widths, strict=True), start=1):
        for block in range(blocks):
            name = f"trunk_output.block{stage}.block{stage}-{block}"
            if block == 0:
                unit(f"{name}.proj", width, inputs, 1)
            unit(f"{name}.f.a", width, inputs, 1)
            unit(f"{name}.f.b", width, described.group_width, 3)
            for number, (outputs, read) in enumerate(((inputs // 4, width), (width, inputs // 4)), start=1):
                convolution(f"{name}.f.se.fc{number}", outputs, read, 1)
                state[f"{name}.f.se.fc{number}.bias"] = rng.normal(size=outputs)
            unit(f"{name}.f.c", width, width, 1)
            inputs = width
    state["fc.weight"], state["fc.bias"] = rng.normal(0, 0.05, (10, inputs)), rng.normal(size=10)
    return {name: array.astype("float32" if array.ndim else "int64") for name, array in state.items()}


def reference(state: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Returns the forward pass of torchvision's module, group by group, from the arrays of its state dict."""

    def convolution(x: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        kernel = state[f"{name}.weight"]
        groups, padding = x.shape[-1] // kernel.shape[1], kernel.shape[2] // 2
        x = tf.pad(x, [[0, 0], [padding] * 2, [padding] * 2, [0, 0]])
        parts = zip(tf.split(x, groups, axis=-1), np.split(kernel, groups), strict=True)
        x = tf.concat([tf.nn.conv2d(each, k.transpose(2, 3, 1, 0), stride, "VALID") for each, k in parts], axis=-1)
        return x + state.get(f"{name}.bias", 0)

    def unit(x: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        x = convolution(x, f"{name}.0", stride)
        scale = state[f"{name}.1.weight"] / np.sqrt(state[f"{name}.1.running_var"] + 1e-5)
        return (x - state[f"{name}.1.running_mean"]) * scale + state[f"{name}.1.bias"]

    x = (images - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
    x = tf.nn.relu(unit(tf.constant(x, tf.float32), "stem", 2))
    blocks = dict.fromkeys(name.split(".f.")[0] for name in state if ".f." in name)
    for block in blocks:
        stride = 2 if f"{block}.proj.0.weight" in state else 1
        y = tf.nn.relu(unit(x, f"{block}.f.a"))
        y = tf.nn.relu(unit(y, f"{block}.f.b", stride))
        gate = tf.reduce_mean(y, axis=(1, 2), keepdims=True)
        gate = convolution(tf.nn.relu(convolution(gate, f"{block}.f.se.fc1")), f"{block}.f.se.fc2")
        y = unit(y * tf.sigmoid(gate), f"{block}.f.c")
        x = tf.nn.relu(y + (x if stride == 1 else unit(x, f"{block}.proj", 2)))
    return np.asarray(tf.reduce_mean(x, axis=(1, 2)) @ state["fc.weight"].T + state["fc.bias"])


@pytest.mark.parametrize("resolution", [64, thorough(65)])
def test_outputs_equal_torchvision(resolution: int) -> None:
    network = models.build("regnet-y-400mf", resolution=resolution, num_classes=10)
    rng = np.random.default_rng(0)
    state = random_state(rng)
    report = models.load_weights(network, torchvision.rename(network, state))
    assert not report.skipped
    assert len(report.loaded) == len(network.weights)
    images = rng.integers(0, 256, (2, resolution, resolution, 3)).astype("float32")
    expected = reference(state, images)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2  # outputs depend on the image
    np.testing.assert_allclose(network(images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_width": 0}, "group_width 0"),
        ({"stage_blocks": (1, 2, 3)}, r"stage_blocks \(1, 2, 3\): must have a number for each of the 4 stages"),
        ({"stage_widths": (48, 104, 208, 441)}, "must be multiples of group_width 8"),
        ({"stage_widths": (48, 104, 208, 0)}, "stage_widths: number of channels 0"),
        ({"squeeze_ratio": 1.5}, "squeeze_ratio 1.5"),
    ],
)
def test_wrong_options_raise_errors(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.architecture("regnet-y-400mf", **options)
