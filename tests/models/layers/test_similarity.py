"""Cosine similarities to learned vectors."""

import keras
import numpy as np

from tfeff.models.layers.similarity import CosineSimilarity


def test_similarities_are_cosines_whatever_the_lengths() -> None:
    layer = CosineSimilarity(5)
    x = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    found = layer(x).numpy()
    kernel = layer.kernel.numpy()
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(found, x @ kernel / lengths, atol=1e-6)
    layer.kernel.assign(10 * kernel)
    np.testing.assert_allclose(layer(3 * x), found, atol=1e-6)


def test_a_copy_has_the_same_shape() -> None:
    layer = CosineSimilarity.from_config(CosineSimilarity(4, name="proxies").get_config())
    assert layer(keras.Input((6,))).shape == (None, 4)
