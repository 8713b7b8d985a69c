"""Weight decay and learning-rate factors against Keras' own optimizers and against formulas."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.training import optimizers
from tfeff.training.muon import ADAM_RATE, ConvolutionMuon

NAMES = ("sgd", "rmsprop", "adamw", "muon")
RATE, MOMENTUM, DECAY, STEPS = 0.02, 0.9, 0.3, 4


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 3, use_bias=False, name="stem_conv")(inputs)
    x = keras.layers.Conv2D(3, 2, name="stage1_conv")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.Flatten()(x)))


def gradients_of(model: keras.Model) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(1)
    return [[rng.normal(size=v.shape).astype(np.float32) for v in model.trainable_variables] for _ in range(STEPS)]


def trained(
    optimizer: keras.optimizers.Optimizer, model: keras.Model, rate: float = RATE, penalty: float = 0.0
) -> dict[str, np.ndarray]:
    """The variables after STEPS steps; `penalty` × variable is added to the gradients of kernels."""
    optimizer.learning_rate = rate
    variables = model.trainable_variables
    for gradients in gradients_of(model):
        optimizer.apply(
            [
                tf.constant(gradient) + (penalty * variable.value if len(variable.shape) > 1 else 0.0)
                for gradient, variable in zip(gradients, variables, strict=True)
            ],
            variables,
        )
    return {variable.path: variable.numpy() for variable in variables}


def ours(name: str, rate: float = RATE, **options: Any) -> dict[str, np.ndarray]:
    model = network()
    return trained(optimizers.build(name, model, momentum=MOMENTUM, **options), model, rate)


def keras_optimizer(name: str, weight_decay: float | None = None) -> keras.optimizers.Optimizer:
    match name:
        case "sgd":
            return keras.optimizers.SGD(RATE, MOMENTUM, nesterov=True, weight_decay=weight_decay)
        case "rmsprop":
            return keras.optimizers.RMSprop(RATE, 0.9, MOMENTUM, epsilon=1e-3, weight_decay=weight_decay)
        case "adamw":
            return keras.optimizers.AdamW(RATE, weight_decay or 0.0, MOMENTUM)
    return ConvolutionMuon(
        RATE, momentum=MOMENTUM, adam_lr_ratio=ADAM_RATE, weight_decay=weight_decay, adam_weight_decay=weight_decay
    )


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], rtol: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_allclose(found[path], array, rtol=rtol, atol=rtol / 10, err_msg=path)


@pytest.mark.parametrize("name", NAMES)
def test_decoupled_decay_is_that_of_keras(name: str) -> None:
    model = network()
    optimizer = keras_optimizer(name, DECAY)
    optimizer.exclude_from_weight_decay([variable for variable in model.trainable_variables if len(variable.shape) < 2])
    assert_same(ours(name, weight_decay=DECAY), trained(optimizer, model))


@pytest.mark.parametrize("name", NAMES)
def test_l2_adds_the_penalty_to_the_gradient(name: str) -> None:
    expected = trained(keras_optimizer(name), network(), penalty=DECAY)
    assert_same(ours(name, weight_decay=DECAY, l2=True), expected, rtol=1e-4)


@pytest.mark.parametrize("nesterov", [True, False])
def test_l2_is_the_formula_of_pytorch(nesterov: bool) -> None:
    """torch.optim.SGD: g = g + λw; b = μb + g; w = w - γ(g + μb) with Nesterov momentum, w - γb without."""
    model = network()
    expected = [variable.numpy().astype(np.float64) for variable in model.trainable_variables]
    buffers = [np.zeros_like(array) for array in expected]
    for gradients in gradients_of(model):
        for w, b, gradient in zip(expected, buffers, gradients, strict=True):
            g = gradient + (DECAY * w if w.ndim > 1 else 0)
            b[:] = MOMENTUM * b + g
            w -= RATE * (g + MOMENTUM * b if nesterov else b)
    found = ours("sgd", weight_decay=DECAY, l2=True, nesterov=nesterov)
    assert_same(found, dict(zip(found, expected, strict=True)), rtol=1e-4)


def test_the_penalty_is_added_after_clipping() -> None:
    model = network()
    start = [variable.numpy() for variable in model.trainable_variables]
    optimizer = optimizers.build("sgd", model, momentum=0.0, weight_decay=DECAY, l2=True, clip_norm=0.5)
    optimizer.learning_rate = RATE
    gradients = gradients_of(model)[0]
    optimizer.apply([tf.constant(gradient) for gradient in gradients], model.trainable_variables)
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    for variable, w, gradient in zip(model.trainable_variables, start, gradients, strict=True):
        penalty = DECAY * w if w.ndim > 1 else 0
        np.testing.assert_allclose(variable, w - RATE * (0.5 / norm * gradient + penalty), rtol=1e-5, atol=1e-6)


def test_an_l2_penalty_corresponds_to_a_decoupled_decay_divided_by_one_minus_the_momentum() -> None:
    def left(**options: Any) -> float:
        """What is left of a kernel after 300 steps without a gradient of the loss."""
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
        (kernel,) = model.trainable_variables
        kernel.assign(np.ones((3, 2), np.float32))
        optimizer = optimizers.build("sgd", model, momentum=MOMENTUM, **options)
        optimizer.learning_rate = 0.02
        for _ in range(300):
            optimizer.apply([tf.zeros((3, 2))], [kernel])
        return float(kernel[0, 0])

    penalized, decoupled = left(weight_decay=0.01, l2=True), left(weight_decay=0.01 / (1 - MOMENTUM))
    assert decoupled == pytest.approx((1 - 0.02 * 0.1) ** 300, rel=1e-4)
    weight, velocity = 1.0, 0.0
    for _ in range(300):
        gradient = 0.01 * weight
        velocity = MOMENTUM * velocity - 0.02 * gradient
        weight += MOMENTUM * velocity - 0.02 * gradient  # Nesterov's momentum
    assert penalized == pytest.approx(weight, rel=1e-4)
    assert penalized == pytest.approx(decoupled, rel=0.01)


@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_factor_is_another_learning_rate_for_its_variables(name: str, l2: bool) -> None:
    options = {"weight_decay": DECAY, "l2": l2}
    found = ours(name, learning_rate_factors=(("st*", 0.1), ("stage1*/bias", 3.0)), **options)
    rates = {
        "stem_conv/kernel": 0.1,
        "stage1_conv/kernel": 0.1,
        "stage1_conv/bias": 3,
        "head/kernel": 1,
        "head/bias": 1,
    }
    assert rates.keys() == found.keys()
    alone = {factor: ours(name, RATE * factor, **options) for factor in set(rates.values())}
    assert_same(found, {path: alone[factor][path] for path, factor in rates.items()}, rtol=1e-6)


def test_a_factor_survives_loss_scaling() -> None:
    options = {"weight_decay": DECAY, "learning_rate_factors": (("stem*", 0.25),)}
    model = network()
    optimizer = optimizers.build("sgd", model, momentum=MOMENTUM, loss_scaling=True, **options)
    optimizer.dynamic_scale.assign(1.0)
    assert_same(trained(optimizer, model), ours("sgd", **options))


def test_the_last_matching_pattern_applies() -> None:
    optimizer = optimizers.build("sgd", network(), learning_rate_factors=(("*", 0.1), ("st*", 0.3), ("stage*", 1.0)))
    assert list(optimizer.factors) == [0.3, 1.0, 1.0, 0.1, 0.1]


def test_a_pattern_of_frozen_variables_is_an_error() -> None:
    model = network()
    model.get_layer("stem_conv").trainable = False
    with pytest.raises(UserError, match=r"optimizer.learning_rate_factors: 'stem\*' matches no variable"):
        optimizers.build("sgd", model, learning_rate_factors=(("stem*", 0.1),))


def test_rmsprop_with_l2_equals_tensorflow_1() -> None:
    """TF1's kernel `ApplyRMSProp`: the accumulator starts at 1, and epsilon is inside the root. The penalty is that of
    all variables but those of batch normalization."""
    decay, momentum, epsilon, penalty, rate, steps = 0.9, 0.9, 1e-3, 0.1, 0.016, 50
    plain, rng = network(), np.random.default_rng(2)
    model = keras.Model(plain.input, keras.layers.BatchNormalization(name="head_bn")(plain.output))
    expected = {variable.path: variable.numpy().astype(np.float64) for variable in model.trainable_variables}
    squares = {path: np.ones_like(value) for path, value in expected.items()}
    moments = {path: np.zeros_like(value) for path, value in expected.items()}
    optimizer = optimizers.build(
        "rmsprop",
        model,
        decay=decay,
        momentum=momentum,
        epsilon=epsilon,
        initial_accumulator=1.0,
        weight_decay=penalty,
        decay_biases=True,
        l2=True,
    )
    optimizer.learning_rate = rate
    for _ in range(steps):
        gradients = [rng.normal(size=variable.shape).astype(np.float32) for variable in model.trainable_variables]
        optimizer.apply([tf.constant(each) for each in gradients], model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            path = variable.path
            total = gradient + (0.0 if path.startswith("head_bn/") else penalty * expected[path])
            squares[path] += (1 - decay) * (total**2 - squares[path])
            moments[path] = momentum * moments[path] + rate * total / np.sqrt(squares[path] + epsilon)
            expected[path] -= moments[path]
    for variable in model.trainable_variables:
        np.testing.assert_allclose(variable.numpy(), expected[variable.path], rtol=1e-6, atol=1e-6)
