"""Functions whose variables are folded when they are exported."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff import models
from tfeff.serving import affine, folding
from tfeff.serving.folding import Folded

SPEC = tf.TensorSpec((None, 8, 8, 16), tf.float32)
IMAGES = tf.constant(np.random.default_rng(0).normal(size=(3, 8, 8, 16)), tf.float32)


@pytest.fixture(scope="module")
def function():
    """A convolution with batch normalization, then a loop that reads a weight."""
    rng = np.random.default_rng(1)
    convolution, normalization = keras.layers.Conv2D(64, 3), keras.layers.BatchNormalization()
    network = keras.Sequential([keras.Input(SPEC.shape[1:]), convolution, normalization])
    for weight in normalization.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    matrix = tf.Variable(rng.normal(size=(64, 64)), dtype=tf.float32)

    def run(inputs: dict[str, tf.Tensor]) -> dict[str, list[tf.Tensor]]:
        maps = network(inputs["image"], training=False)
        sums = tf.map_fn(lambda each: tf.reduce_sum(each @ matrix, axis=(0, 1)), maps)
        return {"found": [sums, tf.shape(maps)]}

    return tf.function(run, input_signature=[{"image": SPEC}])


@pytest.mark.parametrize(("limit", "count"), [(0, 2), (2**20, 0)])
def test_results_are_the_same_and_large_weights_are_variables(function, limit, count):
    folded = Folded(function, limit)
    (sums, shape), (expected, size) = (each({"image": IMAGES})["found"] for each in (folded, function))
    np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(shape, size)
    assert len(folded.weights) == count
    assert not any(weight.trainable for weight in folded.weights)


def test_batch_normalization_is_part_of_the_convolution(function):
    graph = tf.function(Folded(function, 0), input_signature=[{"image": SPEC}]).get_concrete_function().graph
    kinds = {node.op for each in graph.as_graph_def().library.function for node in each.node_def}
    assert "Conv2D" in kinds
    assert not kinds & {"Rsqrt", "Mul", "FusedBatchNormV3"}


def test_a_large_kernel_of_two_convolutions_is_kept_once(monkeypatch):
    monkeypatch.setattr(affine, "SMALL_KERNEL", 0)
    convolution = keras.layers.Conv2D(16, 3, padding="same")
    image = keras.Input(SPEC.shape[1:])
    normalizations = [keras.layers.BatchNormalization(), keras.layers.BatchNormalization()]
    outputs = [each(convolution(image)) for each in normalizations]
    for number, each in enumerate(normalizations):
        each.gamma.assign(np.full(16, 1.0 + number))
    network = keras.Model(image, outputs)
    function = tf.function(lambda images: network(images, training=False), input_signature=[SPEC])
    folded = Folded(function, 0)
    assert [tuple(each.shape) for each in folded.weights] == [(3, 3, 16, 16)]
    for one, other in zip(folded(IMAGES), function(IMAGES), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_results_that_wait_for_weights_are_saved(function, monkeypatch):
    """As the optimizer leaves those of a Faster R-CNN whose kernels several levels share."""

    def optimized(concrete):
        graph = original(concrete)
        waits = graph.node.add(name="NoOp", op="NoOp")
        waits.input.extend(f"^{node.name}" for node in graph.node if folding._is_weight(node))
        assert waits.input
        for node in graph.node:
            if node.name.startswith("Identity"):
                node.input.append("^NoOp")
        return graph

    original = folding._optimized
    monkeypatch.setattr(folding, "_optimized", optimized)
    folded = Folded(function, 0)
    assert len(folded.weights) == 2
    (sums, _), (expected, _) = (each({"image": IMAGES})["found"] for each in (folded, function))
    np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-3)


def test_views_of_an_image_share_folded_weights():
    network = models.build("resnet", width=8, stage_blocks=(1, 1), resolution=16, num_classes=3)
    for weight in network.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
    averaged = models.averaged(network, mirrored=True)
    one, two = (
        Folded(tf.function(lambda images, model=model: model(images, training=False), input_signature=[spec]), 0)
        for model, spec in ((each, tf.TensorSpec((None, 16, 16, 3), tf.float32)) for each in (network, averaged))
    )
    assert len(two.weights) == len(one.weights)
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)), tf.float32)
    np.testing.assert_allclose(two(images), averaged(images), rtol=1e-4, atol=1e-4)
    graph = tf.function(two, input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32)]).get_concrete_function()
    kinds = {node.op for each in graph.graph.as_graph_def().library.function for node in each.node_def}
    assert "Rsqrt" not in kinds


def test_weights_are_saved_and_loaded(function, tmp_path: Path):
    module = tf.Module()
    module.folded = Folded(function, 0)
    module.serve = tf.function(lambda image: module.folded({"image": image})["found"][0], input_signature=[SPEC])
    tf.saved_model.save(module, str(tmp_path), options=tf.saved_model.SaveOptions(experimental_custom_gradients=False))
    assert len(tf.train.list_variables(str(tmp_path / "variables" / "variables"))) == 1 + len(module.folded.weights)
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded.serve(IMAGES), module.serve(IMAGES))
