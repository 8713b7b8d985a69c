"""Counts, compared with published implementations, keras.applications and TensorFlow graphs."""

import math
from typing import Any

import keras
import pytest
import tensorflow as tf
from keras import layers

from tests.thoroughness import thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.cost.complexity import count

MEMBERS = (*models.names("efficientnet"), *models.names("efficientnet-lite"))


@pytest.mark.parametrize("name", ["efficientnet-b0", thorough("efficientnet-b3"), "efficientnet-lite0"])
def test_equals_the_published_implementation(name: str, golden_counts: dict[str, Any]) -> None:
    published = golden_counts["classification"][name]
    network = models.build(name)
    counted = count(network)
    assert network.resolution == published["resolution"]
    assert counted.params == published["all_params"]
    assert counted.trainable_params == published["trainable_params"]
    assert counted.macs == published["macs"]
    described = models.architecture(name)
    for field in ("width_coefficient", "depth_coefficient", "dropout"):
        assert getattr(described, field) == published[field]


def test_all_published_members_exist(golden_counts: dict[str, Any]) -> None:
    assert set(MEMBERS) == set(golden_counts["classification"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "application"),
    [
        ("resnet50", "ResNet50"),
        thorough("resnet101", "ResNet101"),
        thorough("resnet152", "ResNet152"),
        ("mobilenet-v1", "MobileNet"),
        ("mobilenet-v2", "MobileNetV2"),
        ("mobilenet-v3-small", "MobileNetV3Small"),
        ("mobilenet-v3-large", "MobileNetV3Large"),
        thorough("efficientnet-v2-b0", "EfficientNetV2B0"),
        thorough("efficientnet-v2-s", "EfficientNetV2S"),
    ],
)
def test_equals_keras_applications(name: str, application: str) -> None:
    ours = models.estimate(models.architecture(name))
    theirs = count(getattr(keras.applications, application)(weights=None), models.architecture(name).resolution)
    assert (ours.params, ours.trainable_params, ours.macs) == (theirs.params, theirs.trainable_params, theirs.macs)


@pytest.mark.parametrize("alpha", [0.25, thorough(0.5), 0.75])
def test_mobilenet_widths_equal_keras_applications(alpha: float) -> None:
    for name, application in (("mobilenet-v1", "MobileNet"), ("mobilenet-v2", "MobileNetV2")):
        ours = models.estimate(models.architecture(name, resolution=128, width_coefficient=alpha))
        theirs = getattr(keras.applications, application)(alpha=alpha, input_shape=(128, 128, 3), weights=None)
        assert ours.params == theirs.count_params()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet", {}),
        ("resnet50", {"stage_blocks": (1, 2, 1, 1)}),
        ("efficientnet-b0", {"depth_coefficient": 0.5, "survival_probability": 1.0}),
        thorough("efficientnet-lite0", {"depth_coefficient": 0.5, "survival_probability": 1.0}),
        thorough("mobilenet-v2", {"depth_coefficient": 0.5}),
        ("convnext-tiny", {"depth_coefficient": 0.3, "survival_probability": 1.0}),
        ("mobilenet-v3-large", {"depth_coefficient": 0.5}),
        ("regnet-y-400mf", {"depth_coefficient": 0.5}),
    ],
)
def test_activation_bytes_equal_what_tensorflow_keeps(name: str, options: dict[str, Any]) -> None:
    """Compares with the tensors that TensorFlow's forward function passes to its backward function.

    Dropout and stochastic depth are disabled, because their masks are not outputs of layers. Maps with one channel are
    statistics of layer normalization.
    """
    network = models.build(name, resolution=33, num_classes=7, dropout=0.0, **options)
    function = tf.function(lambda x: network(x, training=True), jit_compile=False)
    forward, _ = function.get_concrete_function(
        tf.TensorSpec((1, 33, 33, 3))
    )._delayed_rewrite_functions.forward_backward()
    others = ("ReadVariableOp", "StopGradient", "Placeholder")  # kernels, batch means, the images themselves
    kept = {}
    for output in forward.graph.outputs:
        # How a custom gradient (that of SiLU) passes its arguments, dense layers their input, and rescaling its rows.
        tensor = output
        while tensor.op.type in ("IdentityN", "Reshape"):
            tensor = tensor.op.inputs[tensor.value_index]
        shapes = [each.shape for each in (output, tensor) if each.shape.rank and each.shape.rank > 1]
        activation = tensor.dtype.is_floating and any(shape[0] == 1 and shape[-1] > 1 for shape in shapes)
        if activation and tensor.op.type not in others:
            kept[tensor.name] = math.prod(tensor.shape) * tensor.dtype.size
    assert count(network).activation_bytes == sum(kept.values())


def test_half_precision_halves_inner_activations() -> None:
    full = count(models.build("resnet", resolution=32, include_top=False)).activation_bytes
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = count(models.build("resnet", resolution=32, include_top=False)).activation_bytes
    standardized = 32 * 32 * 3 * 4  # stays in float32
    assert half - standardized == (full - standardized) / 2


def test_peak_of_a_small_network() -> None:
    image = keras.Input((4, 4, 2))  # 128 bytes
    a = layers.Conv2D(3, 1)(image)  # 192
    b = layers.Conv2D(5, 1)(image)  # 320; alive: image, a, b = 640
    flat = layers.Flatten()(layers.Concatenate()([a, b]))  # 512; alive: a, b, both = 1024
    out = layers.Dense(10)(flat)  # 40; alive: 512 + 40
    counted = count(keras.Model(image, out))
    assert counted.peak_bytes == 1024
    # Training keeps image, concatenation and output, and adds the gradients of the last two.
    assert counted.training_peak_bytes == (128 + 512 + 40) + (512 + 40)


def test_macs_of_each_kind_of_layer() -> None:
    image = keras.Input((8, 8, 4))
    x = layers.SeparableConv2D(6, 3, padding="same")(image)
    x = layers.Conv2DTranspose(5, 2, strides=2)(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.Conv2D(4, 1, groups=2)(x)
    x = layers.Dense(3)(x)
    separable = 8 * 8 * (9 * 4 + 4 * 6)
    transposed = 8 * 8 * 4 * 6 * 5
    depthwise = 14 * 14 * 9 * 10
    grouped = 14 * 14 * 5 * 4
    dense = 14 * 14 * 4 * 3
    assert count(keras.Model(image, x)).macs == separable + transposed + depthwise + grouped + dense


def test_shared_and_nested_models_count_macs_per_call_and_parameters_once() -> None:
    inner = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(3, 3, padding="same"), layers.ReLU()])
    image = keras.Input((8, 8, 3))
    small = layers.AveragePooling2D(2)(image)
    model = keras.Model(image, [inner(inner(image)), inner(small)])
    counted = count(model)
    assert counted.params == 3 * 3 * 3 * 3 + 3
    assert counted.macs == 81 * (64 + 64 + 16)


def test_counting_at_another_resolution() -> None:
    network = models.build("mobilenet-v1", resolution=64, include_top=False)
    assert (
        count(network, resolution=128).macs
        == count(models.build("mobilenet-v1", resolution=128, include_top=False)).macs
    )


def test_uncountable_models_raise_errors() -> None:
    class Subclassed(keras.Model):
        pass

    with pytest.raises(UserError, match="no graph"):
        count(Subclassed())
    image = keras.Input((8, 8, 4))
    with pytest.raises(UserError, match="MultiHeadAttention"):
        count(keras.Model(image, layers.MultiHeadAttention(2, 2)(image, image)))
    square = keras.Input((8, 8))
    with pytest.raises(UserError, match="Matmul"):
        count(keras.Model(square, keras.ops.matmul(square, square)))
    free = keras.Input((None, None, 4))
    with pytest.raises(UserError, match="resolution"):
        count(keras.Model(free, layers.Conv2D(1, 1)(free)))


@keras.saving.register_keras_serializable("tests")
class Block(keras.layers.Layer):
    """Layers inside a layer."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.first, self.second = layers.Conv2D(8, 3, padding="same"), layers.Conv2D(4, 1)

    def call(self, inputs, training=None):
        return keras.ops.relu(self.second(self.first(inputs)) + inputs)


def test_layers_inside_a_layer_count() -> None:
    image = keras.Input((8, 8, 4))
    counted = count(keras.Model(image, Block()(image)))
    assert counted.macs == 8 * 8 * (3 * 3 * 4 * 8 + 8 * 4)
    assert counted.params == 3 * 3 * 4 * 8 + 8 + 8 * 4 + 4
