"""Stochastic depth."""

import keras
import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.models.layers.residual import StochasticDepth


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_whole_examples_are_dropped_and_the_expectation_is_preserved(policy: str) -> None:
    layer = StochasticDepth(0.8, seed=3, dtype=policy)
    x = np.ones((4000, 2, 2, 3), "float32")
    y = keras.ops.cast(layer(x, training=True), "float32").numpy().reshape(4000, -1)
    kept = y[:, 0] > 0
    np.testing.assert_allclose(y[kept], 1.25, rtol=1e-2)
    assert (y[~kept] == 0).all()
    assert abs(kept.mean() - 0.8) < 4 * np.sqrt(0.8 * 0.2 / 4000)


def test_inference_and_survival_probability_one_are_identities() -> None:
    x = np.random.default_rng(0).normal(size=(8, 2, 2, 3)).astype("float32")
    np.testing.assert_array_equal(StochasticDepth(0.2)(x), x)
    np.testing.assert_array_equal(StochasticDepth(1.0)(x, training=True), x)


def test_the_seed_determines_the_masks_and_each_call_draws_new_ones() -> None:
    x = np.ones((64, 1, 1, 1), "float32")
    one, other = StochasticDepth(0.5, seed=7), StochasticDepth.from_config(StochasticDepth(0.5, seed=7).get_config())
    first, second = (np.asarray(one(x, training=True)) for _ in range(2))
    np.testing.assert_array_equal(other(x, training=True), first)
    assert (first != second).any()


def test_probabilities_out_of_range_are_errors() -> None:
    for probability in (0.0, 1.1):
        with pytest.raises(UserError, match="survival_probability"):
            StochasticDepth(probability)
