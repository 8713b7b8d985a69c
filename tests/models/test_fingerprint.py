"""Networks that compute the same have one hash, others have others."""

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
