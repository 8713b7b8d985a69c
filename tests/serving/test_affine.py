"""Scales and offsets that follow convolutions, as TensorFlow's optimizer leaves them."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tfeff.serving import affine
from tfeff.serving.portable import freeze

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (2, 8, 9, 3)).astype(np.float32)


def constant(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.uniform(0.5, 1.5, shape), tf.float32)


def kernel(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(0, 1, shape), tf.float32)


def folded(compute) -> tuple[Counter, list[np.ndarray], list[np.ndarray]]:
    """Returns the numbers of operations after folding, and the results before and after."""
    function = tf.function(compute, input_signature=[tf.TensorSpec((None, 8, 9, 3))], autograph=False)
    frozen = freeze(function, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    names = [each.name for each in frozen.outputs]
    affine.fold(graph, names)

    def run(images):
        return tf.graph_util.import_graph_def(graph, {frozen.inputs[0].name: images}, names, name="")

    after = tf.function(run, input_signature=[tf.TensorSpec((None, 8, 9, 3))], autograph=False)
    before = tf.nest.flatten(function(tf.constant(IMAGES)))
    results = [np.asarray(each) for each in after(tf.constant(IMAGES))]
    read = {name.partition(":")[0] for node in graph.node for name in (*node.input, *names)}
    assert {node.name for node in graph.node if node.op == "Const"} <= read
    return Counter(node.op for node in graph.node), [np.asarray(each) for each in before], results


def assert_equal(before: list[np.ndarray], after: list[np.ndarray]) -> None:
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_scales_of_depthwise_convolutions(multiplier: int) -> None:
    weights, scale, offset = kernel(3, 3, 3, multiplier), constant(3 * multiplier), constant(1, 1, 1, 3 * multiplier)
    counts, before, after = folded(
        lambda x: tf.nn.relu(tf.nn.depthwise_conv2d(x, weights, (1, 1, 1, 1), "SAME") * scale + offset)
    )
    assert_equal(before, after)
    assert counts["BiasAdd"] == 1
    assert not {"Mul", "AddV2"} & counts.keys()


def test_chains_of_scales_and_offsets() -> None:
    weights, values, bias = kernel(3, 3, 3, 5), [constant(5) for _ in range(3)], constant(5)
    counts, before, after = folded(
        lambda x: values[0] + 2.0 * (tf.nn.bias_add(tf.nn.conv2d(x, weights, 2, "SAME"), bias) * values[1] + values[2])
    )
    assert_equal(before, after)
    assert (counts["BiasAdd"], counts["Mul"], counts["AddV2"]) == (1, 0, 0)


@pytest.mark.parametrize(("limit", "scales"), [(9, 0), (8, 2)])
def test_kernels_of_several_convolutions_are_copied_if_they_are_small(limit, scales, monkeypatch) -> None:
    monkeypatch.setattr(affine, "SMALL_KERNEL", limit)
    weights, values = kernel(1, 1, 3, 3), [constant(3), constant(3)]
    counts, before, after = folded(lambda x: [tf.nn.conv2d(x, weights, 1, "SAME") * each + 1.0 for each in values])
    assert_equal(before, after)
    assert counts["Mul"] == scales
    assert counts["BiasAdd"] == (0 if scales else 2)


def test_what_others_read_or_does_not_belong_to_channels_stays() -> None:
    weights, scale, places, bias = kernel(1, 1, 3, 3), constant(3), constant(1, 8, 9, 1), constant(3)

    def compute(x):
        plain = tf.nn.bias_add(tf.nn.conv2d(x, weights, 1, "SAME"), bias)
        return plain, plain * scale, tf.nn.conv2d(x, weights * 2.0, 1, "SAME") * places

    counts, before, after = folded(compute)
    assert_equal(before, after)
    assert counts["BiasAdd"] == 1
    assert counts["Mul"] >= 2


def test_only_channels_that_are_last_are_meant() -> None:
    """A width of as many pixels as there are channels is no channel."""
    weights, columns = kernel(1, 1, 3, 9), constant(9, 1)
    counts, before, after = folded(lambda x: tf.nn.conv2d(x, weights, 1, "SAME") * columns)
    assert_equal(before, after)
    assert counts["Mul"] == 1


def test_results_inside_a_chain_stay() -> None:
    """Also if nothing but the results stands between the operations."""
    graph, weights = tf.Graph(), RNG.normal(0, 1, (1, 1, 3, 3))
    with graph.as_default():
        images = tf.compat.v1.placeholder(tf.float32, (None, 8, 9, 3), name="images")
        first = tf.nn.conv2d(images, tf.constant(weights, tf.float32), 1, "SAME", name="first")
        tf.multiply(first, constant(3), name="second")
    changed = graph.as_graph_def()
    affine.fold(changed, ["first:0", "second:0"])
    assert changed == graph.as_graph_def()
