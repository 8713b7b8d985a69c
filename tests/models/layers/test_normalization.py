"""The fused operators, and rescaling of rows, compute what Keras' layers compute."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.models.layers.normalization import BatchNormalization, Rescaling

TOLERANCES = {"float32": 1e-5, "mixed_bfloat16": 2e-2}


def passes(
    layer: keras.layers.BatchNormalization, inputs: np.ndarray, weights: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns (outputs and the gradients of sum(outputs * weights), variables after the step)."""
    images = tf.cast(inputs, layer.compute_dtype)
    layer.build(images.shape)
    channels = np.arange(images.shape[-1])
    layer.set_weights([1 + 0.1 * channels, -0.2 * channels, 0.3 + 0.0 * channels, 2 + 0.0 * channels])
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
    gradients = tape.gradient(loss, [images, *layer.trainable_variables])
    return [np.asarray(tf.cast(each, tf.float32)) for each in (outputs, *gradients)], layer.get_weights()


@pytest.mark.parametrize("policy", list(TOLERANCES))
@pytest.mark.parametrize("shape", [(8, 5, 7, 16), (1, 1, 1, 32), (2, 1, 1, 16)])
def test_both_passes_and_the_moving_statistics_equal_those_of_keras(shape: tuple[int, ...], policy: str) -> None:
    generator = np.random.default_rng(0)
    inputs, weights = generator.normal(3.0, 2.0, shape), generator.normal(size=shape).astype(np.float32)
    own, expected = (
        passes(kind(momentum=0.9, epsilon=1e-3, dtype=policy), inputs, weights)
        for kind in (BatchNormalization, keras.layers.BatchNormalization)
    )
    tolerance = TOLERANCES[policy]
    for found, right in zip(own[0], expected[0], strict=True):
        np.testing.assert_allclose(found, right, rtol=tolerance, atol=tolerance * max(1.0, np.abs(right).max()))
    for found, right in zip(own[1], expected[1], strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


def test_small_epsilons_are_kept() -> None:
    inputs, weights = 1e-3 * np.random.default_rng(0).normal(size=(4, 3, 3, 4)), np.ones((4, 3, 3, 4), np.float32)
    own, expected = (
        passes(kind(epsilon=1e-6), inputs, weights)[0][0]
        for kind in (BatchNormalization, keras.layers.BatchNormalization)
    )
    np.testing.assert_allclose(own, expected, rtol=1e-4)


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that the operator was called with."""
    shapes, operator = [], tf.raw_ops.FusedBatchNormV3

    def recorded(x: tf.Tensor, **options: Any) -> Any:
        shapes.append(tuple(x.shape))
        return operator(x=x, **options)

    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", recorded)
    return shapes


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 16), {}),
        ((4, 3, 3, 6), {}),
        ((4, 3, 3, 16), {"dtype": "float64"}),
        ((4, 3, 3, 16), {"dtype": "float16"}),
        ((4, 3, 3, 16), {"dtype": "bfloat16"}),
        ((4, 3, 3, 16), {"scale": False}),
        ((4, 3, 3, 16), {"center": False}),
        ((4, 16, 4, 8), {"axis": 1}),
        ((4, 3, 3, 16), {"synchronized": True}),
        ((4, 3, 3, 16), {"trainable": False}),
    ],
)
def test_inputs_that_the_operator_does_not_support_are_normalized_by_keras(
    shape: tuple[int, ...], options: dict[str, Any], fused: list[tuple[int, ...]]
) -> None:
    inputs = np.random.default_rng(0).normal(2.0, size=shape)
    own, expected = BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    np.testing.assert_array_equal(own(inputs, training=True), expected(inputs, training=True))
    for found, right in zip(own.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(found, right)
    assert not fused


def test_masked_inputs_are_normalized_by_keras(fused: list[tuple[int, ...]]) -> None:
    inputs, mask = np.random.default_rng(0).normal(size=(4, 3, 3, 16)), np.ones((4, 3, 3), bool)
    BatchNormalization()(inputs, training=True, mask=mask)
    assert not fused
    BatchNormalization()(inputs, training=True)
    assert fused == [(4, 3, 3, 16)]


@pytest.mark.parametrize("xla", [True, False])
def test_channels_with_a_large_mean_keep_their_precision(xla: bool, fused: list[tuple[int, ...]]) -> None:
    inputs = np.random.default_rng(0).normal(100.0, 0.1, (16, 14, 14, 16)).astype(np.float32)
    layer = BatchNormalization(epsilon=1e-5)
    layer.build(inputs.shape)
    outputs = tf.function(lambda images: layer(images, training=True), jit_compile=xla)(inputs)
    precise = inputs.astype(np.float64)
    expected = (precise - precise.mean(axis=(0, 1, 2))) / np.sqrt(precise.var(axis=(0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(outputs, expected, atol=5e-3)
    assert len(fused) == (0 if xla else 1)


def test_statistics_of_two_replicas_equal_those_of_keras(fused: list[tuple[int, ...]]) -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    halves = np.random.default_rng(0).normal(3.0, 2.0, (2, 4, 3, 3, 16)).astype(np.float32)
    batches = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(halves[context.replica_id_in_sync_group])
    )
    statistics = []
    for kind in (BatchNormalization, keras.layers.BatchNormalization):
        with strategy.scope():
            layer = kind(momentum=0.5)
            layer.build(halves.shape[1:])
        strategy.run(tf.function(lambda images, layer=layer: layer(images, training=True)), (batches,))
        variables = (layer.moving_mean.value, layer.moving_variance.value)
        statistics.append([local.numpy() for each in variables for local in strategy.experimental_local_results(each)])
    assert len(fused) == len(statistics[0]) / 2 == 2
    np.testing.assert_allclose(*statistics, rtol=1e-5)


def test_it_is_saved_with_its_settings(tmp_path) -> None:
    network = keras.Sequential([keras.Input((4, 4, 2)), BatchNormalization(momentum=0.8, epsilon=2e-3)])
    network.save(tmp_path / "network.keras")
    (layer,) = keras.models.load_model(tmp_path / "network.keras").layers
    assert (type(layer), layer.momentum, layer.epsilon) == (BatchNormalization, 0.8, 2e-3)


def test_a_training_step_has_one_operator_for_each_pass() -> None:
    layer = BatchNormalization()
    layer.build((2, 4, 4, 8))

    @tf.function
    def gradient(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=True)
        return tape.gradient(outputs, images)

    operators = [each.type for each in gradient.get_concrete_function(tf.zeros((2, 4, 4, 8))).graph.get_operations()]
    assert (operators.count("FusedBatchNormV3"), operators.count("FusedBatchNormGradV3")) == (1, 1)
    assert "SquaredDifference" not in operators


@pytest.mark.parametrize("policy", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(5, 7), (None, 7), (5, None)])
@pytest.mark.parametrize("channels", [1, 3])
def test_rescaling_is_that_of_keras(size: tuple[int | None, int | None], channels: int, policy: str) -> None:
    settings = {"scale": [0.3, 0.7, 1.9][:channels], "offset": [-1.0, 2.0, 0.1][:channels], "dtype": policy}
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, channels)).astype(np.float32)
    inputs = keras.Input((*size, channels))
    own, expected = (keras.Model(inputs, kind(**settings)(inputs)) for kind in (Rescaling, keras.layers.Rescaling))
    assert own.output.shape == expected.output.shape
    assert own.output.dtype == expected.output.dtype
    np.testing.assert_array_equal(own(images), expected(images))


def test_rescaling_with_numbers_is_that_of_keras() -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(Rescaling(1 / 127.5, -1.0)(images), keras.layers.Rescaling(1 / 127.5, -1.0)(images))
