"""Networks that compute the same have one hash, others have others."""

from collections.abc import Callable

import keras
import numpy as np

from tfeff.models.fingerprint import fingerprint


def network(*, epsilon: float = 1e-3, activation: str = "relu", rate: float = 0.1) -> keras.Model:
    images = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 3, kernel_initializer="ones")(images)
    x = keras.layers.Activation(activation)(keras.layers.BatchNormalization(epsilon=epsilon)(x))
    return keras.Model(images, keras.layers.Dropout(rate)(x))


def test_names_dropout_and_what_is_trained_change_nothing() -> None:
    first, second = network(), network(rate=0.5)
    assert first.layers[1].name != second.layers[1].name
    second.trainable = False
    assert fingerprint(first) == fingerprint(second)


def test_layers_weights_and_precision_count() -> None:
    changed = network()
    changed.layers[1].bias.assign(np.ones(2))
    others = [network(epsilon=1e-5), network(activation="gelu"), changed]
    keras.config.set_dtype_policy("mixed_bfloat16")
    others.append(network())
    keras.config.set_dtype_policy("float32")
    assert len({fingerprint(each) for each in (network(), *others)}) == 5


def wired(
    combine: Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor], *, dropout: bool = True
) -> keras.Model:
    """Returns a network whose layers are always the same, except for dropout."""
    images = keras.Input((4, 4, 3))
    first, second = (keras.layers.Conv2D(2, 3, kernel_initializer=each) for each in ("ones", "zeros"))
    x = keras.layers.Dropout(0.5)(images) if dropout else images
    return keras.Model(images, combine(first(x), second(x)))


def test_other_operations_and_their_inputs_count() -> None:
    networks = [
        wired(lambda x, y: keras.ops.relu(x) - y),
        wired(lambda x, y: keras.ops.tanh(x) - y),
        wired(lambda x, y: x - keras.ops.relu(y)),
        wired(lambda x, y: y - keras.ops.relu(x)),
        wired(lambda x, y: 2.0 * x - y),
        wired(lambda x, y: 3.0 * x - y),
        wired(lambda x, y: keras.ops.split(x, 2, axis=-1)[0] - y),
        wired(lambda x, y: keras.ops.split(x, 2, axis=-1)[1] - y),
    ]
    assert len({fingerprint(each) for each in networks}) == len(networks)
    for dropout in (True, False):
        assert fingerprint(networks[0]) == fingerprint(wired(lambda x, y: keras.ops.relu(x) - y, dropout=dropout))
