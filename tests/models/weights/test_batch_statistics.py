import weakref

import keras
import numpy as np
import pytest

from tfeff import models
from tfeff.errors import UserError
from tfeff.models.graph import graph_of, walk
from tfeff.models.network import in_policy


def test_statistics_are_those_of_training_with_one_large_batch():
    network = models.build("efficientnet-b0", resolution=32, num_classes=3, width_coefficient=0.35, dropout=0.0)
    images = np.random.default_rng(0).uniform(0, 255, (24, 32, 32, 3)).astype(np.float32)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert models.recompute_statistics(network, [images]) == len(norms)
    # In inference mode, each normalized map has mean 0 and variance 1 now.
    outputs = keras.Model(network.inputs, [norm.output for norm in norms])([images])
    for norm, found in zip(norms, outputs, strict=True):
        rows = np.asarray(found).reshape(-1, found.shape[-1])
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-3, err_msg=norm.name)
        expected = norm.moving_variance / (norm.moving_variance + norm.epsilon)
        np.testing.assert_allclose(rows.var(axis=0), expected, atol=2e-3, err_msg=norm.name)


def test_statistics_of_batches_are_those_of_all_images_in_the_first_layer():
    network = models.build("resnet", resolution=16, num_classes=3)
    images = np.random.default_rng(0).uniform(0, 255, (24, 16, 16, 3)).astype(np.float32)
    models.recompute_statistics(network, np.split(images, [5, 13]))
    norm = network.get_layer("stem_conv_bn")
    rows = np.asarray(keras.Model(network.inputs, norm.input)(images)).reshape(-1, norm.moving_mean.shape[0])
    np.testing.assert_allclose(norm.moving_mean, rows.mean(axis=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, rows.var(axis=0), rtol=1e-3)
    with pytest.raises(UserError, match="no images"):
        models.recompute_statistics(network, [])


def test_layers_without_scale_or_offset_and_applied_twice():
    inputs, norm = keras.Input((8, 8, 3)), keras.layers.BatchNormalization(scale=False)
    once = keras.layers.BatchNormalization(center=False)(inputs)
    network = keras.Model(inputs, [norm(inputs), norm(inputs + 4.0), once])
    images = np.random.default_rng(0).uniform(0, 1, (24, 8, 8, 3)).astype(np.float32)
    assert models.recompute_statistics(network, np.split(images, [10])) == 2
    rows = images.reshape(-1, 3)
    np.testing.assert_allclose(norm.moving_mean, rows.mean(axis=0) + 2, rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, rows.var(axis=0) + 4, rtol=1e-4)


def test_mixed_precision_finds_the_statistics_of_float32():
    images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 3)).astype(np.float32)
    found = []
    for policy in ("float32", "mixed_bfloat16"):
        with in_policy(policy):
            keras.utils.set_random_seed(0)
            network = models.build("resnet", resolution=16, num_classes=3, width=4, stage_blocks=(1, 1))
        models.recompute_statistics(network, [images])
        found.append(np.asarray(network.get_layer("stage2_block1_conv1_bn").moving_variance))
    np.testing.assert_allclose(found[1], found[0], rtol=0.05)


def test_maps_are_dropped_after_their_last_reader():
    class Map:
        """Stands for a feature map."""

    layers = [keras.layers.Activation("relu") for _ in range(20)]
    maps = inputs = keras.Input((4, 4, 3))
    for layer in layers:
        maps = layer(maps)
    network = keras.Model(inputs, [maps, keras.layers.Add()([maps, layers[0].output])])
    alive, most = weakref.WeakSet(), []

    def call(operation, *args, **kwargs):
        alive.add(made := Map())
        most.append(len(alive))
        return made

    last, total = walk(graph_of(network), [Map()], call)
    assert len(most) == 21
    assert max(most) <= 5
    assert set(alive) == {last, total}


class Block(keras.layers.Layer):
    """A layer that contains batch normalization."""

    def __init__(self):
        super().__init__()
        self.norm = keras.layers.BatchNormalization()

    def call(self, maps, training=None):
        return self.norm(maps, training=training)


def test_layers_inside_other_layers_are_refused_and_nothing_changes():
    inputs, norm = keras.Input((4, 4, 3)), keras.layers.BatchNormalization()
    network = keras.Model(inputs, Block()(norm(inputs)))
    with pytest.raises(UserError, match=r"1 of 2 layers of batch normalization are inside other layers, such as"):
        models.recompute_statistics(network, [np.full((2, 4, 4, 3), 9, np.float32)])
    assert not np.asarray(norm.moving_mean).any()
