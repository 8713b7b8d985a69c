"""A backbone with classifier and box regressor: outputs, grid, weights of a classifier, cost."""

import keras
import numpy as np
import pytest

from tfeff import models

OPTIONS = {"width": 4, "stage_blocks": (1, 1, 1, 1), "resolution": 32, "channels": 1}


def backbone(**options):
    return models.build("resnet", include_top=False, **OPTIONS | options)


def images(count=3, side=32):
    return np.random.default_rng(0).uniform(0, 255, (count, side, side, 1)).astype("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_and_boxes_are_relative(policy):
    keras.config.set_dtype_policy(policy)
    network = models.localizer(backbone(), num_classes=7, dropout=0.1)
    outputs = network(images())
    assert outputs.keys() == {"logits", "box"}
    for name, width in (("logits", 7), ("box", 4)):
        assert tuple(outputs[name].shape) == (3, width)
        assert keras.backend.standardize_dtype(outputs[name].dtype) == "float32"
    box = np.asarray(outputs["box"])
    assert ((box > 0) & (box < 1)).all()


@pytest.mark.parametrize(("resolution", "grid", "inputs"), [(32, 4, 4 * 4), (32, 2, 2 * 2), (16, 4, 2 * 2), (40, 3, 9)])
def test_the_box_regressor_reads_a_grid(resolution, grid, inputs):
    plain = backbone(resolution=resolution)
    channels = plain.output_shape[-1]
    network = models.localizer(plain, num_classes=2, grid=grid, hidden=(5,))
    assert network.get_layer("box_hidden1").kernel.shape == (inputs * channels, 5)
    assert network.resolution == resolution
    assert network.pyramid.keys() == plain.pyramid.keys()


def test_without_hidden_layers_the_box_regressor_is_linear():
    network = models.localizer(backbone(), num_classes=2, hidden=())
    grid = keras.Model(network.inputs[0], network.get_layer("box_flatten").output)(images())
    layer = network.get_layer("box_regressor")
    linear = np.asarray(grid) @ np.asarray(layer.kernel) + np.asarray(layer.bias)
    np.testing.assert_allclose(network(images())["box"], 1 / (1 + np.exp(-linear)), atol=1e-6)


def test_weights_of_a_classifier_can_be_loaded():
    classifier = models.build("resnet", num_classes=5, **OPTIONS)
    network = models.localizer(backbone(), num_classes=5)
    loaded = models.load_weights(network, classifier)
    assert {skipped.name.split("/")[0] for skipped in loaded.skipped} == {"box_hidden1", "box_regressor"}
    np.testing.assert_allclose(network(images())["logits"], classifier(images()), atol=1e-5)


def test_cost_is_that_of_the_classifier_plus_the_box_regressor():
    classifier = models.complexity.count(models.build("resnet", num_classes=5, **OPTIONS))
    network = models.localizer(backbone(), num_classes=5, hidden=(6,))
    counted, inputs = models.complexity.count(network), 4 * 4 * 32
    assert counted.params - classifier.params == inputs * 6 + 6 + 6 * 4 + 4
    assert counted.macs - classifier.macs == inputs * 6 + 6 * 4


def test_saving_and_loading_preserve_outputs_and_levels(tmp_path):
    network = models.localizer(backbone(), num_classes=5)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.levels == network.levels
    for name, out in network(images()).items():
        np.testing.assert_array_equal(loaded(images())[name], out)
