"""The optimizers of published trainings against the implementations that these used."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.models import build
from tfeff.models.layers.neck import WeightedFusion
from tfeff.training import optimizers
from tfeff.training.optimizers import ADAM_RATE, ConvolutionMuon

DECAY, STEPS = 1e-2, 4


@pytest.fixture
def network() -> keras.Model:
    """With a few variables of every kind: kernels, depthwise kernels, biases, batch normalization."""
    model = build("efficientnet-b0", num_classes=3, resolution=32, depth_coefficient=0.1, width_coefficient=0.25)
    for layer in model.layers:
        layer.trainable = layer.name.startswith(("stem", "stage1", "head_classifier"))
    return model


def gradients(model: keras.Model) -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(2)
    for _ in range(STEPS):
        yield [rng.normal(size=variable.shape).astype(np.float32) for variable in model.trainable_variables]


def test_rmsprop_as_efficientnets_were_trained_with(network: keras.Model) -> None:
    """`tf.train.RMSPropOptimizer` of TensorFlow 1, whose moving average of squares starts at 1, and the penalty of the
    reference implementation, `weight_decay * tf.nn.l2_loss(v)` for all variables except those of batch
    normalization."""
    start = [variable.numpy() for variable in network.trainable_variables]
    ours = optimizers.build(
        *("rmsprop", network),
        initial_accumulator=1.0,
        weight_decay=DECAY,
        decay_biases=True,
        l2=True,
    )
    paths = [variable.path for variable in network.trainable_variables]
    rates = list[float]()
    reference = tf.compat.v1.train.RMSPropOptimizer(lambda: rates[-1], decay=0.9, momentum=0.9, epsilon=1e-3)
    theirs = [tf.Variable(value) for value in start]
    decayed = [variable for variable, path in zip(theirs, paths, strict=True) if "_bn/" not in path]
    for step, values in enumerate(gradients(network)):
        rates.append(0.05 / (step + 1))
        ours.learning_rate = rates[-1]
        ours.apply([tf.constant(value) for value in values], network.trainable_variables)
        with tf.GradientTape() as tape:
            # The gradient of sum(v * g) is g.
            loss = tf.add_n([tf.reduce_sum(variable * value) for variable, value in zip(theirs, values, strict=True)])
            loss += DECAY * tf.add_n([tf.nn.l2_loss(variable) for variable in decayed])
        reference.apply_gradients(zip(tape.gradient(loss, theirs), theirs, strict=True))
    for path, before, value, variable in zip(paths, start, theirs, network.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), value.numpy(), rtol=1e-5, atol=1e-6, err_msg=path)
        assert np.abs(value.numpy() - before).max() > 0.01


@pytest.mark.parametrize("biases", [False, True])
def test_which_variables_decay(network: keras.Model, biases: bool) -> None:
    optimizer = optimizers.build("rmsprop", network, weight_decay=DECAY, decay_biases=biases)
    for variable, decay in zip(network.trainable_variables, optimizer.decays, strict=True):
        kind = variable.path.rpartition("/")[2]
        assert decay == (DECAY if kind == "kernel" or (biases and kind == "bias") else 0.0), variable.path
    assert {variable.path.rpartition("/")[2] for variable in network.trainable_variables} == {
        *("kernel", "bias", "gamma", "beta"),
    }


class Positions(keras.layers.Layer):
    """Adds a value to each position."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.positions = self.add_weight(shape=(1, *shape[1:]), name="positions")

    def call(self, maps: keras.KerasTensor) -> keras.KerasTensor:
        return maps + self.positions


def test_of_variables_with_several_axes_only_kernels_decay_and_are_orthogonalized() -> None:
    inputs = keras.Input((8, 8, 3))
    maps = Positions()(keras.layers.SeparableConv2D(4, 3, use_bias=False)(inputs))
    maps = WeightedFusion("fast", weights_per="channel")([maps, keras.layers.PReLU()(maps)])
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, use_bias=False)(maps))
    optimizer = optimizers.build("muon", model, weight_decay=DECAY)
    named = {variable.name: variable for variable in model.trainable_variables}
    assert named.keys() == {"depthwise_kernel", "pointwise_kernel", "positions", "alpha", "weights", "kernel"}
    decays = dict(zip((each.name for each in model.trainable_variables), optimizer.decays, strict=True))
    assert {name for name, decay in decays.items() if decay} == {"depthwise_kernel", "pointwise_kernel", "kernel"}
    by_adamw = {name for name, variable in named.items() if optimizer._should_use_adamw(variable)}
    assert by_adamw == {"depthwise_kernel", "positions", "alpha", "weights"}


RATE, DECAY_MUON, STEPS_MUON = 0.01, 0.1, 5


def trained(optimizer: keras.optimizers.Optimizer, variable: keras.Variable, gradients: np.ndarray) -> np.ndarray:
    optimizer.learning_rate = RATE
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
    return np.array(variable)


def updated(layer: keras.layers.Layer, shape: tuple[int, ...], gradients: np.ndarray, **settings: bool) -> np.ndarray:
    """Returns the layer's kernel after STEPS steps."""
    model = keras.Sequential([keras.Input(shape), layer])
    model.trainable_variables[0].assign(START[gradients.shape[1:]])
    optimizer = optimizers.build("muon", model, momentum=0.95, weight_decay=DECAY_MUON, **settings)
    return trained(optimizer, model.trainable_variables[0], gradients)


START = {
    shape: np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)
    for shape in ((3, 3, 4, 8), (1, 1, 2, 24), (3, 3, 6, 1), (10, 5))
}


def gradients_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(STEPS_MUON, *shape)).astype(np.float32)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(3, 3, 4, 8), (1, 1, 2, 24)])
def test_kernels_are_updated_as_matrices(shape: tuple[int, ...], nesterov: bool) -> None:
    gradients = gradients_of(shape)
    layer = keras.layers.Conv2D(shape[3], shape[0], use_bias=False)
    found = updated(layer, (9, 9, shape[2]), gradients, nesterov=nesterov)
    matrix = keras.Variable(START[shape].reshape(-1, shape[3]))
    theirs = keras.optimizers.Muon(momentum=0.95, weight_decay=DECAY_MUON, nesterov=nesterov)
    expected = trained(theirs, matrix, gradients.reshape(STEPS_MUON, -1, shape[3]))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape", "kernel"),
    [
        (keras.layers.DepthwiseConv2D(3, use_bias=False), (9, 9, 6), (3, 3, 6, 1)),
        (keras.layers.Dense(5, use_bias=False), (10,), (10, 5)),
    ],
)
def test_depthwise_kernels_and_the_classifier_are_updated_by_adamw(
    layer: keras.layers.Layer, shape: tuple[int, ...], kernel: tuple[int, ...]
) -> None:
    gradients = gradients_of(kernel)
    found = updated(layer, shape, gradients)
    variable = keras.Variable(START[kernel])
    # Keras' Muon multiplies the decay by the full learning rate.
    theirs = keras.optimizers.AdamW(beta_1=0.9, weight_decay=DECAY_MUON / ADAM_RATE)
    theirs.learning_rate = RATE * ADAM_RATE
    for gradient in gradients:
        theirs.apply([tf.constant(gradient)], [variable])
    np.testing.assert_allclose(found, np.array(variable), rtol=1e-5, atol=1e-7)


NAMES = ("sgd", "rmsprop", "adamw", "muon")
RATE_LAYERWISE, MOMENTUM, DECAY_LAYERWISE, STEPS_LAYERWISE = 0.02, 0.9, 0.3, 4


def network_layerwise() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 3, use_bias=False, name="stem_conv")(inputs)
    x = keras.layers.Conv2D(3, 2, name="stage1_conv")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.Flatten()(x)))


def gradients_of_layerwise(model: keras.Model) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(1)
    return [
        [rng.normal(size=v.shape).astype(np.float32) for v in model.trainable_variables] for _ in range(STEPS_LAYERWISE)
    ]


def trained_layerwise(
    optimizer: keras.optimizers.Optimizer, model: keras.Model, rate: float = RATE_LAYERWISE, penalty: float = 0.0
) -> dict[str, np.ndarray]:
    """Returns the variables after STEPS steps; `penalty` × variable is added to the gradients of kernels."""
    optimizer.learning_rate = rate
    variables = model.trainable_variables
    for gradients in gradients_of_layerwise(model):
        optimizer.apply(
            [
                tf.constant(gradient) + (penalty * variable.value if len(variable.shape) > 1 else 0.0)
                for gradient, variable in zip(gradients, variables, strict=True)
            ],
            variables,
        )
    return {variable.path: variable.numpy() for variable in variables}


def ours(name: str, rate: float = RATE_LAYERWISE, **options: Any) -> dict[str, np.ndarray]:
    model = network_layerwise()
    return trained_layerwise(optimizers.build(name, model, momentum=MOMENTUM, **options), model, rate)


def keras_optimizer(name: str, weight_decay: float | None = None) -> keras.optimizers.Optimizer:
    match name:
        case "sgd":
            return keras.optimizers.SGD(RATE_LAYERWISE, MOMENTUM, nesterov=True, weight_decay=weight_decay)
        case "rmsprop":
            return keras.optimizers.RMSprop(RATE_LAYERWISE, 0.9, MOMENTUM, epsilon=1e-3, weight_decay=weight_decay)
        case "adamw":
            return keras.optimizers.AdamW(RATE_LAYERWISE, weight_decay or 0.0, MOMENTUM)
    return ConvolutionMuon(
        RATE_LAYERWISE,
        momentum=MOMENTUM,
        adam_lr_ratio=ADAM_RATE,
        weight_decay=weight_decay,
        adam_weight_decay=weight_decay,
    )


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], rtol: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_allclose(found[path], array, rtol=rtol, atol=rtol / 10, err_msg=path)


@pytest.mark.parametrize("name", NAMES)
def test_decoupled_decay_is_that_of_keras(name: str) -> None:
    model = network_layerwise()
    optimizer = keras_optimizer(name, DECAY_LAYERWISE)
    optimizer.exclude_from_weight_decay([variable for variable in model.trainable_variables if len(variable.shape) < 2])
    assert_same(ours(name, weight_decay=DECAY_LAYERWISE), trained_layerwise(optimizer, model))


@pytest.mark.parametrize("name", NAMES)
def test_l2_adds_the_penalty_to_the_gradient(name: str) -> None:
    expected = trained_layerwise(keras_optimizer(name), network_layerwise(), penalty=DECAY_LAYERWISE)
    assert_same(ours(name, weight_decay=DECAY_LAYERWISE, l2=True), expected, rtol=1e-4)


@pytest.mark.parametrize("nesterov", [True, False])
def test_l2_is_the_formula_of_pytorch(nesterov: bool) -> None:
    """torch.optim.SGD: g = g + λw; b = μb + g; w = w - γ(g + μb) with Nesterov momentum, w - γb without."""
    model = network_layerwise()
    expected = [variable.numpy().astype(np.float64) for variable in model.trainable_variables]
    buffers = [np.zeros_like(array) for array in expected]
    for gradients in gradients_of_layerwise(model):
        for w, b, gradient in zip(expected, buffers, gradients, strict=True):
            g = gradient + (DECAY_LAYERWISE * w if w.ndim > 1 else 0)
            b[:] = MOMENTUM * b + g
            w -= RATE_LAYERWISE * (g + MOMENTUM * b if nesterov else b)
    found = ours("sgd", weight_decay=DECAY_LAYERWISE, l2=True, nesterov=nesterov)
    assert_same(found, dict(zip(found, expected, strict=True)), rtol=1e-4)


def test_the_penalty_is_added_after_clipping() -> None:
    model = network_layerwise()
    start = [variable.numpy() for variable in model.trainable_variables]
    optimizer = optimizers.build("sgd", model, momentum=0.0, weight_decay=DECAY_LAYERWISE, l2=True, clip_norm=0.5)
    optimizer.learning_rate = RATE_LAYERWISE
    gradients = gradients_of_layerwise(model)[0]
    optimizer.apply([tf.constant(gradient) for gradient in gradients], model.trainable_variables)
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    for variable, w, gradient in zip(model.trainable_variables, start, gradients, strict=True):
        penalty = DECAY_LAYERWISE * w if w.ndim > 1 else 0
        np.testing.assert_allclose(
            variable, w - RATE_LAYERWISE * (0.5 / norm * gradient + penalty), rtol=1e-5, atol=1e-6
        )


def test_an_l2_penalty_corresponds_to_a_decoupled_decay_divided_by_one_minus_the_momentum() -> None:
    def left(**options: Any) -> float:
        """Returns a weight, 1 at first, after 300 steps with a zero gradient."""
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


@pytest.mark.slow
@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_factor_is_another_learning_rate_for_its_variables(name: str, l2: bool) -> None:
    options = {"weight_decay": DECAY_LAYERWISE, "l2": l2}
    found = ours(name, learning_rate_factors=(("st*", 0.1), ("stage1*/bias", 3.0)), **options)
    rates = {
        "stem_conv/kernel": 0.1,
        "stage1_conv/kernel": 0.1,
        "stage1_conv/bias": 3,
        "head/kernel": 1,
        "head/bias": 1,
    }
    assert rates.keys() == found.keys()
    alone = {factor: ours(name, RATE_LAYERWISE * factor, **options) for factor in set(rates.values())}
    assert_same(found, {path: alone[factor][path] for path, factor in rates.items()}, rtol=1e-6)


def test_a_factor_survives_loss_scaling() -> None:
    options = {"weight_decay": DECAY_LAYERWISE, "learning_rate_factors": (("stem*", 0.25),)}
    model = network_layerwise()
    optimizer = optimizers.build("sgd", model, momentum=MOMENTUM, loss_scaling=True, **options)
    optimizer.dynamic_scale.assign(1.0)
    assert_same(trained_layerwise(optimizer, model), ours("sgd", **options))


def test_the_last_matching_pattern_applies() -> None:
    optimizer = optimizers.build(
        "sgd", network_layerwise(), learning_rate_factors=(("*", 0.1), ("st*", 0.3), ("stage*", 1.0))
    )
    assert list(optimizer.factors) == [0.3, 1.0, 1.0, 0.1, 0.1]


def test_a_pattern_of_frozen_variables_is_an_error() -> None:
    model = network_layerwise()
    model.get_layer("stem_conv").trainable = False
    with pytest.raises(UserError, match=r"optimizer.learning_rate_factors: 'stem\*' matches no variable"):
        optimizers.build("sgd", model, learning_rate_factors=(("stem*", 0.1),))


def test_a_pattern_of_variables_that_are_unfrozen_later_is_none() -> None:
    model = network_layerwise()
    model.get_layer("stem_conv").trainable = False
    factors = (("stem*", 0.1), ("head*", 2.0))
    optimizer = optimizers.build("sgd", model, learning_rate_factors=factors, later=["stem_conv/kernel"])
    assert list(optimizer.factors) == [1.0, 1.0, 2.0, 2.0]


def test_rmsprop_with_l2_equals_tensorflow_1() -> None:
    """TF1's kernel `ApplyRMSProp`: the accumulator starts at 1, and epsilon is inside the root. The penalty is that of
    all variables but those of batch normalization."""
    decay, momentum, epsilon, penalty, rate, steps = 0.9, 0.9, 1e-3, 0.1, 0.016, 50
    plain, rng = network_layerwise(), np.random.default_rng(2)
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
