import keras
import numpy as np
import pytest

from tfeff import models
from tfeff.reports.activation import cam, grad_cam


@pytest.fixture(scope="module")
def network():
    return models.build("resnet", width=6, stage_blocks=(1, 1), resolution=20, num_classes=4, channels=3)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (5, 20, 20, 3)).astype(np.float32)


CLASSES = np.array([0, 3, 3, 1, 2])


def last_maps(network, images):
    pooling = network.get_layer("head_pool")
    return np.asarray(keras.Model(network.input, pooling.input)(images), np.float64)


def test_cam_is_its_definition(network, images):
    maps, kernel = last_maps(network, images), np.asarray(network.get_layer("head_classifier").kernel, np.float64)
    result = cam(network, images, CLASSES)
    for n, label in enumerate(CLASSES):
        expected = sum(kernel[k, label] * maps[n, :, :, k] for k in range(maps.shape[3]))
        np.testing.assert_allclose(result[n], expected, atol=1e-5)


def test_the_mean_of_cam_and_the_bias_is_the_logit(network, images):
    bias = np.asarray(network.get_layer("head_classifier").bias)
    logits = np.asarray(network(images, training=False))[np.arange(5), CLASSES]
    np.testing.assert_allclose(cam(network, images, CLASSES).mean(axis=(1, 2)) + bias[CLASSES], logits, atol=1e-5)


def test_cam_of_a_network_with_normalized_features_is_the_logit_of_each_cell(images):
    network = models.build("convnext-tiny", width_coefficient=0.1, depth_coefficient=0.3, resolution=20, num_classes=4)
    norm, classifier = (network.get_layer(name) for name in ("head_norm", "head_classifier"))
    result, maps = cam(network, images, CLASSES), last_maps(network, images)
    for n, label in enumerate(CLASSES):
        for y, x in np.ndindex(result.shape[1:]):
            logits = classifier(norm(maps[n, y, x][np.newaxis])) - classifier.bias
            np.testing.assert_allclose(result[n, y, x], logits[0, label], atol=1e-5)


def test_with_global_pooling_grad_cam_is_the_positive_part_of_cam(network, images):
    expected = np.maximum(cam(network, images, CLASSES), 0)
    cells = np.prod(expected.shape[1:])
    np.testing.assert_allclose(grad_cam(network, images, CLASSES), expected / cells, atol=1e-5)


def small_network():
    """Feature maps `maps` -> a tail of two dense layers whose gradient is written down below."""
    inputs = keras.Input((6, 7, 2))
    maps = keras.layers.Conv2D(3, 3, activation="relu", name="maps")(inputs)
    hidden = keras.layers.Dense(5, activation="tanh", name="hidden")(keras.layers.Flatten()(maps))
    return keras.Model(inputs, keras.layers.Dense(4, name="logits")(hidden))


def test_grad_cam_equals_gradients_computed_by_hand():
    network = small_network()
    images = np.random.default_rng(1).normal(size=(5, 6, 7, 2)).astype(np.float32)
    maps = np.asarray(keras.Model(network.input, network.get_layer("maps").output)(images), np.float64)
    (first, bias), (second, _) = (
        [np.asarray(value, np.float64) for value in network.get_layer(name).get_weights()]
        for name in ("hidden", "logits")
    )
    result = grad_cam(network, images, CLASSES, layer="maps")
    assert result.shape == (5, 4, 5)
    for n, label in enumerate(CLASSES):
        hidden = np.tanh(maps[n].ravel() @ first + bias)
        gradient = (first @ ((1 - hidden**2) * second[:, label])).reshape(maps[n].shape)
        expected = np.maximum((gradient.mean(axis=(0, 1)) * maps[n]).sum(axis=2), 0)
        np.testing.assert_allclose(result[n], expected, atol=1e-5)
    assert result.max() > 1e-3


def test_grad_cam_of_an_inner_layer_equals_finite_differences(network, images):
    layer = next(iter(network.levels.values()))
    start = network.get_layer(layer).output
    tail = keras.Model(start, network.output)
    maps = np.asarray(keras.Model(network.input, start)(images[:2]), np.float32)
    step, weights = 1e-2, np.zeros((2, maps.shape[3]))
    for k in range(maps.shape[3]):  # moving a whole map by a step adds up its gradients
        moved = np.zeros_like(maps)
        moved[..., k] = step
        change = np.asarray(tail(maps + moved), np.float64) - np.asarray(tail(maps - moved), np.float64)
        weights[:, k] = change[np.arange(2), CLASSES[:2]] / (2 * step) / (maps.shape[1] * maps.shape[2])
    expected = np.maximum(np.einsum("nhwk,nk->nhw", maps, weights), 0)
    result = grad_cam(network, images[:2], CLASSES[:2], layer=layer)
    np.testing.assert_allclose(result, expected, atol=0.02 * expected.max())


def test_frozen_networks_can_be_explained(images):
    network = models.build("resnet", width=4, stage_blocks=(1,), resolution=20, num_classes=4)
    before = grad_cam(network, images, CLASSES)
    network.trainable = False
    np.testing.assert_allclose(grad_cam(network, images, CLASSES), before, atol=1e-6)
