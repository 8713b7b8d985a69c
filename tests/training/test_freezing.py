import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.tasks.classification import Classification
from tfeff.training import optimizers
from tfeff.training.averaging import Average
from tfeff.training.freezing import freeze, frozen_params
from tfeff.training.step import Step

STEM = ("stem*",)


def network() -> keras.Model:
    """Two convolutions with batch normalization, and a classifier."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 1))
    for name in ("stem", "stage"):
        x = keras.layers.Conv2D(4, 3, use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.5, name=f"{name}_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(keras.layers.Flatten()(x)))


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in model.weights}


def batch_of(images: np.ndarray | tf.Tensor) -> dict[str, tf.Tensor]:
    return {
        "image": tf.convert_to_tensor(images),
        "label": tf.one_hot(np.arange(len(images)) % 3, 3),
        "weight": tf.ones(len(images)),
    }


def step_of(model: keras.Model, average: Average | None = None, **options: float) -> Step:
    optimizer = optimizers.build("sgd", model, weight_decay=0.1, **options)
    return Step(model, optimizer, tf.distribute.get_strategy(), task=Classification(), batch_size=8, average=average)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(2, 3, (8, 6, 6, 1)).astype(np.float32)


def test_training_changes_everything_but_the_frozen_part(images: np.ndarray) -> None:
    model = network()
    paths = [weight.path for weight in model.weights]
    freeze(model, STEM)
    assert [weight.path for weight in model.weights] == paths
    average = Average(model, 0.5)
    step = step_of(model, average, clip_norm=1.0)
    assert len(step.optimizer.variables) == 2 + 5  # iteration and learning rate; momentum of the trained variables
    before = values(model)
    for index in range(3):
        step.train(batch_of(images), step=index, learning_rate=0.1)
    for (path, after), mean in zip(values(model).items(), average.variables, strict=True):
        same = path.startswith("stem")
        assert np.array_equal(after, before[path]) == same, path
        assert np.array_equal(mean.numpy(), before[path]) == same, path


def test_training_with_a_frozen_stem_is_training_the_rest_on_its_features(images: np.ndarray) -> None:
    whole, other = network(), network()
    for model in (whole, other):
        model.get_layer("stem_bn").moving_mean.assign([0.5, -0.5, 1.0, 2.0])
    freeze(whole, STEM)
    rest = keras.Model(other.get_layer("stem_relu").output, other.output)
    features = keras.Model(other.input, other.get_layer("stem_relu").output)(images, training=False)
    for model, batch in ((whole, batch_of(images)), (rest, batch_of(features))):
        step = step_of(model, clip_norm=0.5)
        for index in range(3):
            step.train(batch, step=index, learning_rate=0.1)
    found = values(whole)
    for path, expected in values(rest).items():
        np.testing.assert_allclose(found[path], expected, rtol=1e-5, atol=1e-6, err_msg=path)


def test_only_frozen_batch_normalization_runs_in_inference_mode(images: np.ndarray) -> None:
    model = network()
    freeze(model, ("stem*", "stage_bn/gamma"))  # beta of the second one is trained, so it stays in training mode
    outputs = [keras.Model(model.input, model.get_layer(f"{name}_bn").output) for name in ("stem", "stage")]
    same = [np.array_equal(output(images, training=True), output(images, training=False)) for output in outputs]
    assert same == [True, False]
    assert [variable.path for variable in model.trainable_variables] == [
        "stage_conv/kernel",
        "stage_bn/beta",
        "head/kernel",
        "head/bias",
    ]


def test_batch_normalization_inside_a_frozen_submodel(images: np.ndarray) -> None:
    inner = keras.Sequential([keras.layers.BatchNormalization(), keras.layers.Conv2D(2, 3)], name="inner")
    model = keras.Sequential([keras.Input((6, 6, 1)), inner, keras.layers.Flatten(), keras.layers.Dense(3)])
    freeze(model, ("*batch_normalization*",))
    model(images, training=True)
    np.testing.assert_array_equal(inner.layers[0].moving_mean, [0.0])
    assert len(model.trainable_variables) == 4


def test_frozen_params_include_statistics() -> None:
    model = network()
    freeze(model, STEM)
    assert frozen_params(model, STEM) == 3 * 3 * 4 + 4 * 4
    assert frozen_params(model, ()) == 0


def test_error_if_nothing_is_left_to_train() -> None:
    with pytest.raises(UserError, match="freezes all variables"):
        freeze(network(), ("st*", "head*"))


def test_statistics_cannot_be_frozen_alone() -> None:
    with pytest.raises(UserError, match="matches no variable that is trained"):
        freeze(network(), ("*/moving_mean",))
