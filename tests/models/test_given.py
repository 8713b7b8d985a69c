"""Own backbones: copies compute what the given model computes, levels have their strides, names repeat."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.models.own_backbones import (
    by_level,
    keras_cv_darknet,
    keras_cv_mobilenet,
    keras_cv_yolo,
    made,
    mobilenet,
    nested,
    of_the_package,
    sequential,
)
from tests.thoroughness import thorough
from tfeff import config, models
from tfeff.errors import UserError
from tfeff.models import given
from tfeff.models.given import Backbone

L = keras.layers
MODELS = {
    mobilenet: {"P1": 48, "P2": 48, "P3": 96, "P4": 192, "P5": 1280},  # channels of the levels
    keras_cv_mobilenet: {"P1": 16, "P2": 8, "P3": 16, "P4": 24},
    keras_cv_yolo: {"P2": 8, "P3": 16, "P4": 32, "P5": 64},  # it names a map of stride 4 P1
    keras_cv_darknet: {"P2": 8, "P3": 16, "P4": 32, "P5": 64},
    sequential: {"P1": 8, "P2": 16},
    nested: {"P1": 8, "P2": 8},
    of_the_package: {"P1": 8, "P2": 16},
    by_level: {"P3": 8},  # the map P2 leads to no classifier
}


EACH = pytest.mark.parametrize("make", [thorough(make) if make is keras_cv_darknet else make for make in MODELS])
MOST = pytest.mark.parametrize(
    "make", [thorough(make) if make in (mobilenet, keras_cv_darknet) else make for make in MODELS]
)


def described(model, size=64, **options):
    return dataclasses.replace(given.offer(Backbone(model, **options)), resolution=size)


def images(size=64):
    return np.random.default_rng(2).uniform(0, 255, (2, size, size, 3)).astype("float32")


def last(outputs):
    return np.asarray(outputs["P3"] if isinstance(outputs, dict) else outputs)


@pytest.mark.slow
@MOST
@pytest.mark.parametrize("training", [False, thorough(True)])
def test_a_copy_computes_what_the_model_computes(make, training):
    if training and make is sequential:
        pytest.skip("dropout is random")
    model = made(make)
    expected = last(model((images() - 127.5) / 50, training=training))
    before = [np.array(weight) for weight in made(make).weights]
    network = models.build(described(made(make), mean=127.5, std=(50.0, 50.0, 50.0)), include_top=False)
    np.testing.assert_allclose(network(images(), training=training), expected, rtol=1e-4, atol=1e-4)
    for weight in network.weights:
        weight.assign(weight * 0)
    if not training:
        assert all(np.array_equal(*pair) for pair in zip(before, model.weights, strict=True))


@pytest.mark.slow
@EACH
def test_level_n_has_stride_two_to_the_n(make):
    network = models.build(described(made(make)), num_classes=3)
    assert network.output.shape == (None, 3)
    assert {level: tensor.shape[1:] for level, tensor in network.pyramid.items()} == {
        level: (64 >> int(level[1]), 64 >> int(level[1]), channels) for level, channels in MODELS[make].items()
    }


@pytest.mark.slow
@MOST
def test_names_do_not_depend_on_what_was_built_before(make):
    first = described(made(make))
    paths = [weight.path for weight in models.build(first).weights]
    L.Conv2D(1, 1), L.BatchNormalization(), L.ReLU(), keras.Sequential()
    again = described(made(make))
    assert again == first
    assert [weight.path for weight in models.build(again).weights] == paths
    other = described(made(make, seed=1))
    assert (other.graph, other.initial == first.initial) == (first.graph, False)


def test_other_layers_have_another_name():
    def network(**options):
        inner = keras.Input((32, 32, 3))
        return described(keras.Model(inner, L.Conv2D(4, 3, name="only", **options)(inner))).graph

    assert network() == network()
    assert len({network(), network(strides=2), network(activation="relu"), network(trainable=False)}) == 4


class _Twice(L.Layer):
    def call(self, inputs):
        return 2 * inputs


def test_generated_names_count_from_the_beginning_and_others_are_kept():
    def block():
        inner = keras.Input((None, None, 4))
        return keras.Model(inner, _Twice()(L.Conv2D(4, 3, padding="same", name="mine_7")(inner)))

    images = keras.Input((32, 32, 3))
    model = keras.Model(images, block()(block()(L.Conv2D(4, 3, strides=2, padding="same")(images))))
    layers = [layer.name for layer in models.build(described(model, size=32), include_top=False).layers]
    assert layers[-6:] == ["conv2d", "mine_7", "__twice", "mine_7_1", "__twice_1", "backbone_p1"]


def test_levels_have_the_names_of_the_model():
    L.Conv2D(1, 1)  # so that the names that Keras generates do not begin with the first number
    images = keras.Input((32, 32, 3))
    layers = [L.Conv2D(channels, 3, strides=strides, padding="same") for channels, strides in ((3, 2), (5, 1), (7, 1))]
    x = images
    for layer in layers:
        x = layer(x)
    backbone = described(keras.Model(images, x), size=32, levels={"P1": layers[1].name})
    assert models.build(backbone, include_top=False).pyramid["P1"].shape[-1] == 5


def test_the_first_call_of_a_layer_is_its_level():
    images, shared = keras.Input((32, 32, 3)), L.Conv2D(3, 3, strides=2, padding="same", name="shared")
    model = keras.Model(images, shared(shared(images)))
    ones = np.ones((1, 32, 32, 3))
    network = models.build(described(model, size=32, levels={"P1": "shared"}), include_top=False)
    assert network.pyramid["P1"].shape == (None, 16, 16, 3)
    np.testing.assert_allclose(network(ones), model(ones), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo", "efficientdet-d0", thorough("anchor-yolo"), "faster-rcnn"])
def test_detectors_read_the_levels(name):
    backbone, levels = made(keras_cv_yolo), ("P3", "P4", "P5")
    options = {"levels": levels, "neck_channels": 16, "aspect": 1.0, "backbone": described(backbone)}
    network = models.build_detector(name, num_classes=2, **options)
    assert {level: tensor.shape[1:3] for level, tensor in network.pyramid.items()} == {
        "P3": (8, 8), "P4": (4, 4), "P5": (2, 2)
    }  # fmt: skip
    features = keras.Model(network.inputs[0], network.get_layer("backbone_p5").output)
    np.testing.assert_allclose(features(images()), backbone(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_costs_are_those_of_the_model_and_the_head():
    for make in (keras_cv_mobilenet, keras_cv_darknet):  # blocks with layers inside, too
        model = made(make)
        own, cost = models.complexity.count(model, 64), models.estimate(described(model), num_classes=7)
        channels = model.output.shape[-1]
        assert cost.macs == own.macs + 7 * channels
        assert cost.params == own.params + 7 * (channels + 1)


def test_the_precision_of_the_run_applies_except_to_raw_pixels():
    model = made(sequential)
    digest = described(model).graph
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        network = models.build(described(model))
        assert described(made(sequential)).graph == digest
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert network.get_layer("conv2d").compute_dtype == "bfloat16"
    assert network.get_layer("rescaling").compute_dtype == "float32"


def test_a_trained_backbone_keeps_its_normalization():
    data = config.Data(normalization="dataset")
    config.Experiment(model=described(made(sequential), pretrained=False), data=data)
    with pytest.raises(UserError, match=r"data\.normalization.*trained networks and presets come with their own"):
        config.Experiment(model=described(made(sequential)), data=data)


def test_a_frozen_layer_stays_frozen():
    model = made(nested)
    model.layers[1].trainable = False
    frozen = [weight.path for weight in models.build(described(model)).non_trainable_weights]
    assert "conv2d/kernel" in frozen
    assert "conv2d_1/kernel" not in frozen


def test_a_saved_network_loads(tmp_path):
    network = models.build(described(made(keras_cv_yolo)), num_classes=3)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert loaded.levels == network.levels
    np.testing.assert_allclose(loaded(images()), network(images()), rtol=1e-5, atol=1e-5)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


@keras.saving.register_keras_serializable("tests")
class WithoutConfig(keras.layers.Layer):
    def __init__(self, filters):
        super().__init__()
        self.filters = filters

    def call(self, inputs):
        return inputs


def with_weights_for_each_pixel():
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, L.LayerNormalization(axis=(1, 2, 3))(inputs))


def unsaved():
    inputs = keras.Input((64, 64, 3))
    return keras.Model(inputs, L.Conv2D(4, 3)(WithoutConfig(3)(inputs)))


def without_padding():
    inputs = keras.Input((64, 64, 3))
    return keras.Model(inputs, L.Conv2D(4, 3, strides=2)(L.Conv2D(4, 3, strides=2)(inputs)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Backbone(Subclassed()), "is no functional or sequential Keras model"),
        (lambda: Backbone(keras.applications.MobileNetV2(weights=None)), r"include_top=False"),
        (lambda: Backbone(mobilenet(64), levels={"P3": "block_6_expand_rel"}), 'did you mean "block_6_expand_relu"'),
        (
            lambda: models.build(dataclasses.replace(described(mobilenet(64)), levels=("P3=block_6_expand_rel",))),
            'did you mean "block_6_expand_relu"',
        ),
        (
            lambda: models.build(described(mobilenet(64), levels={"P3": "block_3_expand_relu"})),
            r"at 64x64 pixels: the map of block_3_expand_relu is \(16, 16\), but P3 is \(8, 8\)",
        ),
        (lambda: models.build(described(mobilenet()), channels=1), "data.channels is 1; the backbone mobile takes 3"),
        (lambda: models.build(described(mobilenet(), size=33)), "set model.resolution to a multiple of 32"),
        (lambda: models.build(described(unsaved())), "the layer without_config.* cannot be copied"),
        (lambda: models.build(described(with_weights_for_each_pixel())), "weights of layer_normalization depend on"),
        (
            lambda: models.build_detector("yolo", backbone=described(without_padding()), num_classes=1),
            'no pyramid level, .* rounded up; .* of an own backbone padding="same"',
        ),
        (lambda: given.find("other-123"), r"give it again: tfeff.train\(\.\.\., backbone=\.\.\.\)"),
        (lambda: models.build("given", resolution=32), "model.graph is ''"),
    ],
)
def test_messages_say_what_to_do(make, message):
    with pytest.raises(UserError, match=message):
        make()
