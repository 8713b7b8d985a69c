"""Quantized training against NumPy's rounding and against LiteRT."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.test_loop import assert_same_arrays, experiment, final, measures
from tfeff import config, models, training
from tfeff.errors import UserError
from tfeff.serving import litert
from tfeff.tasks import EmbeddingTask
from tfeff.tasks.classification import ClassificationTask
from tfeff.tasks.grid import GridTask
from tfeff.training import checks, quantization
from tfeff.training.assembly import AssemblyCache
from tfeff.training.quantization import Quantized, fake_quantized, fake_quantized_kernel

L = keras.layers


def test_maps_round_as_numpy_does() -> None:
    x = tf.constant(np.random.default_rng(0).uniform(-3, 6, (50, 4)), tf.float32)
    low, high = -1.0, 4.0
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = fake_quantized(x, low, high)
    scale = (high - low) / 255
    zero = np.rint(-128 - low / scale)
    expected = (np.clip(np.rint(x / scale) + zero, -128, 127) - zero) * scale
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(np.unique(found)) > 60
    np.testing.assert_array_equal(tape.gradient(found, x), (x > low) & (x < high))
    assert fake_quantized(tf.zeros(3), low, high).numpy().tolist() == [0, 0, 0]


def test_kernels_round_as_numpy_does() -> None:
    kernel = tf.constant(np.random.default_rng(0).normal(0, [0.01, 1, 100, 0], (3, 3, 5, 4)), tf.float32)
    upstream = np.random.default_rng(1).normal(size=kernel.shape)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        found = fake_quantized_kernel(kernel)
        loss = tf.reduce_sum(found * upstream)
    scale = np.abs(kernel).max((0, 1, 2)) / 127
    expected = np.rint(kernel / np.maximum(scale, 1e-30)) * scale
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, kernel), upstream, rtol=1e-6)  # the largest weights included


def residual(batch_norm: bool = True) -> keras.Model:
    return models.build(
        "resnet", num_classes=5, resolution=32, channels=3, width=8, stage_blocks=(1, 1), batch_norm=batch_norm
    )


def swish() -> keras.Model:
    """Rescaling, swish, squeeze-and-excitation, h-swish, depthwise convolution, concatenation, pooling and padding."""
    images = keras.Input((32, 32, 3), name="images")
    x = L.Rescaling([1 / 50, 1 / 61, 1 / 73], offset=[-2.0, -1.1, 0.5])(images)
    x = L.Activation("silu")(L.BatchNormalization()(L.Conv2D(8, 3, strides=2, use_bias=False)(x)))
    squeezed = L.Conv2D(8, 1, activation="hard_sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply()([x, squeezed])
    left = L.ReLU(6.0)(L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=2)(L.ZeroPadding2D(1)(x))))
    right = L.Activation("hard_silu")(L.BatchNormalization()(L.Conv2D(4, 1)(x)))
    x = L.MaxPooling2D()(L.Concatenate()([left, right]))
    x = L.BatchNormalization()(x)  # after no kernel
    x = L.AveragePooling2D(2)(L.Activation("relu")(x))
    return keras.Model(images, L.Dense(5)(L.Flatten()(x)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "bound"),
    [(residual, 0.6), (lambda: residual(batch_norm=False), 0.1), (swish, 0.9)],
    ids=["bn", "", "swish"],
)
def test_outputs_are_those_of_litert(build, bound, monkeypatch) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    keras.utils.set_random_seed(0)
    network = build()
    rng = np.random.default_rng(0)
    images = tf.image.resize(rng.uniform(0, 255, (32, 4, 4, 3)), (32, 32)).numpy() + rng.normal(0, 20, (32, 32, 32, 3))
    images = np.clip(images, 0, 255).astype(np.float32)
    for layer in network.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.momentum = 0.0
    network(images, training=True)  # batch normalization takes over these statistics
    # The decoding, which is not empty, is in float32.
    monkeypatch.setattr(ClassificationTask, "decode", lambda _, outputs: {"logits": tf.reverse(outputs, [1])})
    contents = litert.convert(network, ClassificationTask(), lambda: ({"images": each[None]} for each in images))
    exported = interpreter(model_content=contents[litert.FILE])
    exported.allocate_tensors()
    run = exported.get_signature_runner()
    expected = np.concatenate([run(images=each[None])["logits"][:, ::-1] for each in images])

    quantized = Quantized(network)
    with monkeypatch.context() as patch:  # calibrated as the converter does: on the network in float32
        patch.setattr(quantization, "fake_quantized", lambda maps, *_: maps)
        patch.setattr(quantization, "fake_quantized_kernel", lambda kernel: kernel)
        quantized(tf.constant(images), training=True)
    found = quantized(tf.constant(images)).numpy()
    step = (max(expected.max(), 0) - min(expected.min(), 0)) / 255

    def error(outputs):
        return np.sqrt(np.mean((outputs - expected) ** 2)) / step

    assert np.abs(found - expected).max() < 2.5 * step
    # The runtime multiplies sums of products by a rounded factor, so that a few values differ by one step.
    assert error(found) < bound < 0.7 * error(network(images, training=False))


def test_training_passes_extend_ranges_and_leave_batch_statistics_alone() -> None:
    images = keras.Input((4, 4, 1))
    normalization = L.BatchNormalization()
    network = keras.Model(images, normalization(L.Conv2D(1, 1, kernel_initializer="ones", use_bias=False)(images)))
    normalization.epsilon = 0.0
    quantized = Quantized(network)
    assert quantized.ranges.shape == (2, 2)
    quantized(tf.fill((1, 4, 4, 1), 3.0), training=True)
    np.testing.assert_allclose(quantized.ranges, [[0, 3], [0, 3]], rtol=1e-5)
    quantized(tf.fill((1, 4, 4, 1), -1.0), training=True)
    np.testing.assert_allclose(quantized.ranges, [[-1, 3 * 0.95], [-1, 3 * 0.95]], rtol=1e-2)
    assert (quantized(tf.fill((1, 4, 4, 1), 9.0)).numpy() < 3).all()  # clipped
    assert float(normalization.moving_mean.numpy()[0]) == 0.0
    assert quantized.input_shape == network.input_shape


@pytest.mark.slow
def test_heads_behind_the_end_of_a_gradient_round_like_others() -> None:
    """Of equal weights, both pairs of heads of a detector compute what those of a detector with one pair do."""
    backbone = models.architecture("resnet", resolution=32, width=4, stage_blocks=(1, 1, 1))
    options = {"levels": ("P3", "P4"), "neck": "fpn", "neck_channels": 4, "neck_repeats": 1, "head_repeats": 1}
    plain, whole = (
        models.build_detector(models.detector("yolo", backbone=backbone, end_to_end=value, **options), num_classes=2)
        for value in (False, True)
    )
    models.load_weights(whole, plain)
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)), tf.float32)
    found = []
    for network in (plain, whole):
        quantized = Quantized(network)
        quantized(images, training=True)
        found.append(quantized(images))
    for heads in ("", "one_to_many_"):
        for name, values in found[0].items():
            assert np.ptp(values) > 0
            np.testing.assert_array_equal(found[1][heads + name], values)


@pytest.mark.parametrize(
    "task",
    [
        GridTask(config.GridSettings()),
        EmbeddingTask(config.EmbeddingSettings(dimension=8, loss="supervised_contrastive")),
    ],
    ids=["grid", "embedding"],
)
def test_a_single_output_keeps_its_name(task) -> None:
    described = models.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=32)
    network = task.network(task.section.describe(described), num_classes=2, channels=3)
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)), tf.float32)
    quantized = Quantized(network)
    (name, expected), *others = network(images).items()
    found = quantized(images, training=True)
    assert (list(found), others) == ([name], [])
    assert found[name].shape == expected.shape


def test_layers_without_a_simulation_are_refused() -> None:
    images = keras.Input((4, 4, 3))
    for layer in (L.LayerNormalization(name="mine"), L.Conv2D(2, 1, activation="elu"), L.ReLU(2.0, name="mine")):
        with pytest.raises(UserError, match=r"training.quantization: .*(mine|elu)"):
            Quantized(keras.Model(images, layer(images)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return training.train(experiment("training.epochs=4"), tmp_path_factory.mktemp("trained"))


@pytest.mark.slow
def test_a_run_in_parts_is_the_whole_run(tmp_path, trained) -> None:
    changes = f"model.weights={trained.path}", "training.quantization=int8", "training.deterministic=true"
    whole = training.train(experiment(*changes), tmp_path / "whole")
    training.train(experiment(*changes), tmp_path / "parts", until_epoch=1)
    parts = training.train(experiment(*changes), tmp_path / "parts")
    assert_same_arrays(final(whole), final(parts))
    assert measures(whole) == measures(parts)
    before, after = final(trained), final(whole)
    statistics = [name for name in after if "moving" in name]
    assert statistics
    assert all(np.array_equal(before[name], after[name]) for name in statistics)
    assert not np.array_equal(before["model/stem_conv/kernel"], after["model/stem_conv/kernel"])
    assert measures(training.train(experiment(*changes[::2]), tmp_path / "plain")) != measures(whole)


@pytest.mark.slow
def test_a_reused_assembly_starts_with_empty_ranges(tmp_path, trained) -> None:
    settings = experiment(f"model.weights={trained.path}", "training.quantization=int8", "training.deterministic=true")
    cache = AssemblyCache()
    first, second = (training.train(settings, tmp_path / name, assemblies=cache) for name in "ab")
    assert measures(first) == measures(second)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((), "set model.weights"),
        (("training.rematerialize=true",), "does not go with training.rematerialize"),
        (("training.feature_variants=2", "optimizer.frozen=stem*"), "does not go with training.feature_variants"),
        (("training.swa_epochs=1",), "does not go with training.swa_epochs"),
        (("training.precision=mixed_bfloat16",), "computes in float32"),
        (("task.name=faster_rcnn",), "whose network reads regions"),
    ],
    ids=str,
)
def test_errors(changes, message) -> None:
    settings = experiment("training.quantization=int8", *changes)
    with pytest.raises(UserError, match=f"config: training.quantization.*{message}"):
        checks.check(training.Plan.of(settings), 1, new_run=False)


def test_several_devices_are_refused(trained) -> None:
    settings = experiment("training.quantization=int8", f"model.weights={trained.path}")
    with pytest.raises(UserError, match=r"training.quantization: several devices"):
        checks.check(training.Plan.of(settings), 2, new_run=False)
